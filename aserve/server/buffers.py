"""Buffers that bodies are received into, kept from one request to the next.

To get a megabyte from the system, page by page, costs more than to receive one. So some are kept.
Any thread.
"""

from __future__ import annotations

import io
from collections import deque
from typing import Any, Final

__all__ = ["BUFFER_SIZE", "Buffers", "KeptBody"]

# What the largest body that is received like that may have.
BUFFER_SIZE: Final = 1 << 20

# How many are kept; more of them are in use only while so many bodies come at once.
_MOST_KEPT: Final = 8


class Buffers:
    """Those of one server that nobody uses."""

    def __init__(self) -> None:
        self._kept: deque[bytearray] = deque(maxlen=_MOST_KEPT)

    def take(self) -> bytearray:
        """One of `BUFFER_SIZE` bytes, with anything in it; `give_back` is owed, but by no means."""
        try:
            return self._kept.pop()
        except IndexError:
            return bytearray(BUFFER_SIZE)

    def give_back(self, buffer: bytearray) -> None:
        """Nobody uses it any more."""
        self._kept.append(buffer)


class KeptBody(io.RawIOBase):
    """A complete body in such a buffer, to be read through an `io.BufferedReader`.

    Args:
        buffers: Where the buffer belongs.
        buffer: Where the body is.
        size: How many bytes it has.
    """

    def __init__(self, buffers: Buffers, buffer: bytearray, size: int) -> None:
        super().__init__()
        self._buffers = buffers
        self._buffer = buffer
        self._view: memoryview | None = memoryview(buffer)[:size]
        self._position = 0

    def release(self) -> None:
        """The request is over: what still reads fails, because another one has the buffer."""
        if self._view is not None:
            self._view = None
            self._buffers.give_back(self._buffer)

    def _check(self) -> memoryview:
        if self._view is None:
            raise ValueError("wsgi.input is read behind the end of its request")
        return self._view

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, target: Any, /) -> int:
        """See `io.RawIOBase`."""
        piece = self._check()[self._position : self._position + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        """See `io.RawIOBase`."""
        piece = self._check()[self._position :]
        self._position += len(piece)
        return bytes(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.IOBase`."""
        start = (0, self._position, len(self._check()))[whence]
        self._position = max(0, start + offset)
        return self._position
