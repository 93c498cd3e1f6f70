"""Linux's own file events (inotify(7)), without a wait and without a cost while nothing happens.

A library that collects events in steps is noticed on each save: with steps of 10 ms it adds 20 ms
to a reload of 21 ms. Only what the watcher needs is here: directories without what is below them,
and the names of files that were closed behind a write, moved, made or removed. A file that is only
being written is no event: it would be read half.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["AVAILABLE", "Inotify"]

AVAILABLE: Final = sys.platform == "linux"

# <sys/inotify.h>
_CLOSE_WRITE: Final = 0x8
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLY_DIRECTORIES: Final = 0x0100_0000
_MASK: Final = (
    _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
)

_EVENT: Final = struct.Struct("iIII")
_SIZE: Final = 65_536


class Inotify:
    """Watches directories. One thread.

    Raises:
        OSError: There are no more instances, or no such thing.
    """

    def __init__(self) -> None:
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error("inotify_init1")
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._paths: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def watch(self, directories: Iterable[str]) -> None:
        """Watch these and no others; what cannot be read is left out.

        Raises:
            OSError: There are no more watches (ENOSPC).
        """
        wanted = set(directories)
        for path in self._numbers.keys() - wanted:
            number = self._numbers.pop(path)
            # The same directory may be watched by another name: a link to it, or its target.
            other = next((name for name, n in self._numbers.items() if n == number), None)
            if other is not None:
                self._paths[number] = other
                continue
            self._paths.pop(number, None)
            self._libc.inotify_rm_watch(self._fd, number)
        for path in wanted - self._numbers.keys():
            number = self._libc.inotify_add_watch(
                self._fd, os.fsencode(path), _MASK | _ONLY_DIRECTORIES
            )
            if number >= 0:
                # A link to a directory that is watched already has the same number.
                self._numbers[path] = number
                self._paths.setdefault(number, path)
            elif ctypes.get_errno() not in (2, 13, 20):  # gone, forbidden, no directory
                raise _error(path)

    def read(self, timeout: float) -> list[str] | None:
        """Paths that something happened to within `timeout` seconds; None when some were lost."""
        if not self._poll.poll(timeout * 1000):
            return []
        found: dict[str, None] = {}
        try:
            while True:
                if not self._take(os.read(self._fd, _SIZE), found):
                    return None
        except BlockingIOError:
            return list(found)

    def _take(self, data: bytes, found: dict[str, None]) -> bool:
        position = 0
        while position < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, position)
            start = position + _EVENT.size
            position = start + length
            if mask & _OVERFLOW:
                return False
            folder = self._paths.get(number)
            if folder is None:
                continue
            if mask & _IGNORED:  # the directory is gone; it may come back
                self._paths.pop(number, None)
                self._numbers = {p: n for p, n in self._numbers.items() if n != number}
            name = data[start:position].rstrip(b"\0")
            found[os.path.join(folder, os.fsdecode(name)) if name else folder] = None
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
