"""Tells when a file is not what was loaded: a task on the supervisor's loop.

watchfiles has the events of the system, and where there are none (network drives, some containers)
the files are looked at in turn. Either way an event is only a hint: what counts is whether the
bytes are different, so neither `touch` nor a save without a change reloads.

```text
awatch(directories) --paths--> compare --changes--> on_change
    ^                             |  the file is empty, so perhaps half written
    |  stop_event                 '--> a moment later --> compare, for good
another set of directories <-- scan <-- at the start, a new directory, a new generation
                   once a second <-- look at some of the loaded files
```

watchfiles drops some events: of a file that is made right behind its directory, of the target of a
link, of a queue that is full. So directories are watched one by one, without what is below them;
what is new is looked through once its watch has begun; and there is the look once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .. import native
from .snapshot import Change, Interest, Snapshot

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["Watcher"]

# watchfiles looks at its queue of events this often: it tells of a save behind one or two steps,
# and 5 ms take 0.4 s of processor time in a minute without one (2 ms 0.8 s).
_STEP_MS: Final = 5
# The most that it waits for more events of the same kind.
_DEBOUNCE_MS: Final = 50
# With so many at once the system's queue may have been full.
_MANY: Final = 1000
# How often it is looked for what the system did not tell, and at how many files each time.
_NET_SECONDS: Final = 1.0
_NET_FILES: Final = 300
# watchfiles' number of an edit; a supervisor imports it only when it is at work.
_MODIFIED: Final = 2
# Who writes a file anew empties it first, and may take a moment for the rest.
_WRITING_SECONDS: Final = 0.25


class Watcher:
    """Watches while `run` runs. On the loop.

    Args:
        interest: Which files matter beside those that are loaded.
        on_change: Called with what is different.
        polling: Seconds between two looks at all files; None for events.
        on_fallback: Called, with the reason, when there are no events.
    """

    def __init__(
        self,
        interest: Interest,
        on_change: Callable[[list[Change]], object],
        *,
        polling: float | None = None,
        on_fallback: Callable[[str], object] = str,
    ) -> None:
        self._on_change = on_change
        self._on_fallback = on_fallback
        self._polling = polling
        self._snapshot = Snapshot(interest)
        # One at a time reads the disk for it, in a thread of its own.
        self._reading = asyncio.Lock()
        self._group: TaskGroup | None = None
        self._places_changed = asyncio.Event()

    async def begin(self) -> None:
        """What is on the disk now counts as loaded: to be called before anything is loaded.

        A process that dies at its first import cannot tell what it has read.
        """
        await self._scan()

    async def run(self) -> None:
        """Until it is cancelled; behind `begin`."""
        import anyio  # together with watchfiles 50 ms, which a supervisor at work does not have

        # It logs each event; where that goes to a file of the project, this would never end.
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        await self._scan()
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._work)
            try:
                await anyio.sleep_forever()
            finally:
                # watchfiles waits in a thread, which no cancellation reaches.
                self._places_changed.set()

    async def adopt(
        self, loaded: Mapping[str, str], roots: tuple[str, ...], told: tuple[str, ...] = ()
    ) -> list[Change]:
        """A generation was loaded: what is different already?"""
        snapshot = self._snapshot
        before = snapshot.interest
        changes = await self._read(lambda: snapshot.adopt(loaded, roots, told))
        watched = set(snapshot.directories)
        if snapshot.interest != before or any(
            os.path.dirname(path) not in watched for path in loaded
        ):
            self._start_soon(self._scan)
        return changes

    def is_told(self, path: str) -> bool:
        """Whether the app itself is to be told of this file."""
        return self._snapshot.is_told(path)

    async def _work(self) -> None:
        reason = "threads are greenlets in this program" if native.is_patched() else ""
        if self._polling is None and not reason:
            self._start_soon(self._look_around_for_ever)
            reason = await self._watch()
        if self._polling is None:
            self._polling = _NET_SECONDS
            self._on_fallback(reason)
        while True:
            await self._scan()
            await self._look_around(1 << 30)
            await asyncio.sleep(self._polling)

    # -- events --------------------------------------------------------------------------

    async def _watch(self) -> str:
        """Until there are no more watches to be had; returns why."""
        missed: tuple[str, ...] = ()
        while True:
            directories = self._snapshot.directories
            self._places_changed = asyncio.Event()
            # A task runs when this one waits: then the watch has begun, and what was made in a new
            # directory before that is found. `mkdir -p` and a file in it are quicker than we are.
            self._start_soon(self._scan)
            try:
                await self._hear(directories)
            except (OSError, RuntimeError) as error:
                is_gone = isinstance(error, FileNotFoundError | PermissionError)
                if not is_gone or missed == directories:
                    return _reason(error)
                missed = directories  # one of them, since they were looked through
                await self._scan()

    async def _hear(self, directories: tuple[str, ...]) -> None:
        """Until the set of directories is another one."""
        import watchfiles

        events = watchfiles.awatch(
            *directories,
            watch_filter=self._may_matter,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._places_changed,
            recursive=False,
            # It would ignore that there are no more watches, too; what may not be read is left out.
            ignore_permission_denied=False,
        )
        async with contextlib.aclosing(events):
            async for changes in events:
                await self._see([path for _, path in changes])

    def _may_matter(self, change: int, path: str) -> bool:
        # A log that grows is written to all the time. What is new or gone may be a directory.
        return change != _MODIFIED or self._snapshot.matters(path)

    async def _see(self, paths: list[str]) -> None:
        snapshot = self._snapshot

        def compare() -> list[Change]:
            changes = snapshot.compare(paths)
            known = snapshot.directories
            if len(paths) > _MANY or any(path in known or os.path.isdir(path) for path in paths):
                changes += snapshot.scan()
            return changes

        await self._read_and_tell(compare)

    # -- looking -------------------------------------------------------------------------

    async def _scan(self) -> None:
        await self._read_and_tell(self._snapshot.scan)

    async def _look_around_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_NET_SECONDS)
            await self._look_around(_NET_FILES)

    async def _look_around(self, most: int) -> None:
        snapshot = self._snapshot
        await self._read_and_tell(lambda: snapshot.compare(snapshot.look_around(most)))

    async def _look_again(self, paths: Iterable[str]) -> None:
        await asyncio.sleep(_WRITING_SECONDS)
        await self._read_and_tell(lambda: self._snapshot.compare(paths, is_whole=True))

    async def _read_and_tell(self, look: Callable[[], list[Change]]) -> None:
        if changes := await self._read(look):
            self._on_change(changes)

    async def _read(self, look: Callable[[], list[Change]]) -> list[Change]:
        async with self._reading:
            watched = self._snapshot.directories
            changes = await native.in_thread(look)
            if self._snapshot.directories != watched:
                self._places_changed.set()
            if half_written := self._snapshot.take_half_written():
                self._start_soon(self._look_again, half_written)
        return changes

    def _start_soon(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self._group is not None:  # else it has not begun, and begins with a scan
            self._group.start_soon(function, *arguments)


def _reason(error: Exception) -> str:
    """Why there are no events; the system's own word for a missing watch is about disks."""
    text = str(error)
    for word, limit in (("limit", "max_user_watches"), ("open files", "max_user_instances")):
        if word in text:
            return f"no more watches, see fs.inotify.{limit}"
    return text
