"""What a process has open, to compare before and after."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["collect", "descriptors", "nothing_is_left", "other_tasks"]

# Seconds until a thread that should end counts as one that does not.
_PATIENCE = 30

# Trio keeps its threads for ten seconds, for the next call.
_KEPT = "Trio thread"


def descriptors() -> dict[str, str]:
    """The open descriptors of this process, and what each of them is."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        # One of them is the directory that is being read.
        with contextlib.suppress(OSError):
            found[link.name] = str(link.readlink())
    return found


@contextlib.contextmanager
def nothing_is_left() -> Iterator[None]:
    """Fail when the block leaves a thread or a descriptor behind. Of a task: see `all_tasks`."""
    threads, before = set(threading.enumerate()), descriptors()
    yield
    for thread in set(threading.enumerate()) - threads:
        if not thread.name.startswith(_KEPT):
            thread.join(_PATIENCE)  # at most on its last instructions
            assert not thread.is_alive(), thread
    assert descriptors() == before


def collect() -> None:
    """Have every forgotten socket and task say so: warnings are errors."""
    for _ in range(2):
        gc.collect()


def other_tasks() -> set[asyncio.Task[object]]:
    """The tasks of the running loop, without the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
