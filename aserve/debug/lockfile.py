"""A file that one process at a time may use."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["locked", "read_all"]

# Whoever holds the lock writes a few bytes; only one that was stopped keeps it for longer.
_PATIENCE: Final = 10.0
_PAUSE: Final = 0.002


@contextmanager
def locked(path: str) -> Iterator[int]:
    """Open the file, made if needed for this user only, with an exclusive lock on it.

    Blocks this thread for at most 10 seconds. Threads of one process exclude each other, too.

    Yields:
        A descriptor to read and to write.

    Raises:
        OSError: It cannot be opened, or not be locked in time.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = os.open(path, flags, 0o600)
    try:
        _lock(fd, time.monotonic() + _PATIENCE)
        try:
            yield fd
        finally:
            # Closing is not enough: a fork by another thread may have taken a copy.
            _unlock(fd)
    finally:
        os.close(fd)


def read_all(fd: int, limit: int) -> bytes:
    """The content from its beginning, up to `limit` bytes."""
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, limit)


if sys.platform == "win32":
    import msvcrt

    def _try(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _unlock(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

    # Locked bytes cannot be read by others, so it is one behind the content.
    _FAR: Final = 1 << 30
else:
    import fcntl

    def _try(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _lock(fd: int, deadline: float) -> None:
    while True:
        try:
            _try(fd)
            return
        except (BlockingIOError, PermissionError):
            if time.monotonic() > deadline:
                raise TimeoutError("the file stays locked") from None
            time.sleep(_PAUSE)
