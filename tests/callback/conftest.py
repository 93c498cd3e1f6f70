"""Every loop that a program may wait on, and a look at what is left behind."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..helpers import PATIENCE


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Every async test of this folder runs on all of them."""
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def _open_sockets() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        # One of them is the directory that is being read.
        with contextlib.suppress(OSError):
            found.add(str(link.readlink()))
    return {target for target in found if target.startswith("socket:")}


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """Compares threads and sockets before and after."""
    threads, sockets = set(threading.enumerate()), _open_sockets()
    yield
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("aserve"):
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread
    # The loop's own pair of sockets is gone only after this fixture.
    if not _open_sockets() <= sockets:
        gc.collect()  # what a client of the test has left; too slow to be done each time
        assert _open_sockets() <= sockets
