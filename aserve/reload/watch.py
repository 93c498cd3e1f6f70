"""A thread that tells when a file is not what was loaded.

Events come from Linux itself, elsewhere through watchfiles, or from looking at the files in turn
where neither works (network drives, some containers). Either way an event is only a hint: what
counts is whether the bytes are different, so neither `touch` nor a save without a change reloads.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from . import inotify
from .snapshot import Change, Interest, Snapshot

__all__ = ["Watcher"]

# watchfiles looks at its queue of events this often, which is the delay of a reload and the cost
# of a minute without one: 5 ms take 0.46 s of processor time per minute, 50 ms take 0.06 s.
_STEP_MS: Final = 10
# Behind the first event, the rest of the same save.
_DEBOUNCE_MS: Final = 10
_TIMEOUT_MS: Final = 200
# How often it is looked for what the system did not tell, and at how many files each time.
_NET_SECONDS: Final = 1.0
_NET_FILES: Final = 300
_WRITING_SECONDS: Final = 0.01


class Watcher:
    """Watches from `start` to `close`.

    Args:
        interest: Which files matter beside those that are loaded.
        on_change: Called in the watcher's thread with what is different.
        polling: Seconds between two looks at all files; None for events.
        portable: Leave it to watchfiles on Linux, too.
        on_fallback: Called in the watcher's thread, with the reason, when there are no events.
    """

    def __init__(
        self,
        interest: Interest,
        on_change: Callable[[list[Change]], object],
        *,
        polling: float | None = None,
        portable: bool = False,
        on_fallback: Callable[[str], object] = str,
    ) -> None:
        self._on_fallback = on_fallback
        self._snapshot = Snapshot(interest)
        self._lock = threading.Lock()  # of the snapshot
        self._on_change = on_change
        self._polling = polling
        self._is_portable = portable or not inotify.AVAILABLE
        self._must_scan = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aserve-watcher", daemon=True)

    def start(self) -> None:
        """Begin; what is on the disk now counts as loaded."""
        self._thread.start()

    def adopt(
        self, loaded: Mapping[str, str], roots: tuple[str, ...], told: tuple[str, ...] = ()
    ) -> list[Change]:
        """A generation was loaded: what is different already? Reads the disk; any thread."""
        with self._lock:
            before = self._snapshot.interest
            changes = self._snapshot.adopt(loaded, roots, told)
            watched = set(self._snapshot.directories)
            is_new = self._snapshot.interest != before or any(
                os.path.dirname(path) not in watched for path in loaded
            )
            self._must_scan |= is_new
        return changes

    def is_told(self, path: str) -> bool:
        """Whether the app itself is to be told of this file. Any thread."""
        return self._snapshot.is_told(path)

    def close(self) -> None:
        """End; returns when the thread has ended."""
        self._closing.set()
        self._thread.join()

    # -- the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        self._scan()
        while not self._closing.is_set():
            if self._polling is None:
                try:
                    self._watch_portably() if self._is_portable else self._watch()
                except (OSError, RuntimeError) as error:
                    # No more watches (ENOSPC), or no events here: look at the files instead.
                    self._polling = _NET_SECONDS
                    self._on_fallback(_reason(error))
            else:
                self._scan()
                self._look_around(1 << 30)
                self._closing.wait(self._polling)

    def _watch(self) -> None:
        """Until the end."""
        events = inotify.Inotify()
        watched: tuple[str, ...] | None = None
        looked = monotonic()
        try:
            while not self._closing.is_set():
                directories = self._snapshot.directories
                events.watch(directories)
                if self._must_scan or directories != watched:
                    watched = directories
                    # Also for what was made in a new directory before its watch began: `mkdir -p`
                    # and a file in it are quicker than we are.
                    self._scan()
                    if self._snapshot.directories != directories:
                        continue
                paths = events.read(_TIMEOUT_MS / 1000)
                if paths is None:
                    self._scan()
                    self._look_around(1 << 30)
                elif paths:
                    self._see(paths)
                if monotonic() - looked > _NET_SECONDS:
                    looked = monotonic()
                    self._look_around(_NET_FILES)
        finally:
            events.close()

    def _watch_portably(self) -> None:
        """Until the set of directories is another one."""
        import watchfiles

        with self._lock:
            directories = self._snapshot.directories
        found = watchfiles.watch(
            *(path for path in directories if os.access(path, os.R_OK)),
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=_TIMEOUT_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            stop_event=self._closing,
            recursive=False,
            ignore_permission_denied=True,
        )
        looked = 0.0
        for changes in found:
            if changes:
                self._see([path for _, path in changes])
            if self._must_scan or not looked:
                self._scan()  # also for what happened before the watch began
            if monotonic() - looked > _NET_SECONDS:
                looked = monotonic()
                self._look_around(_NET_FILES)
            if self._closing.is_set() or self._snapshot.directories != directories:
                return

    def _see(self, paths: list[str]) -> None:
        with self._lock:
            changes = self._snapshot.compare(paths)
            known = self._snapshot.directories
            if any(path in known or os.path.isdir(path) for path in paths):
                changes += self._snapshot.scan()
        self._tell(changes)

    def _scan(self) -> None:
        with self._lock:
            self._must_scan = False
            changes = self._snapshot.scan()
        self._tell(changes)

    def _look_around(self, most: int) -> None:
        with self._lock:
            paths = self._snapshot.look_around(most)
        if not paths:
            return
        # A file that is being written is empty first; an event would have waited for its end.
        self._closing.wait(_WRITING_SECONDS)
        with self._lock:
            changes = self._snapshot.compare(paths)
        self._tell(changes)

    def _tell(self, changes: list[Change]) -> None:
        if changes:
            self._on_change(changes)


def _reason(error: Exception) -> str:
    """Why there are no events; the system's own word for a missing watch is about disks."""
    limits = {errno.ENOSPC: "max_user_watches", errno.EMFILE: "max_user_instances"}
    limit = limits.get(getattr(error, "errno", None) or 0)
    return f"no more watches, see fs.inotify.{limit}" if limit else str(error)
