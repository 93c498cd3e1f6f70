"""`wsgi.input` for bodies that stream: a pipe between the loop and the application.

Threads: `feed`, `feed_eof` and `fail` are called on the loop thread and never block; the
reading methods are called by the application, in its worker thread or any other, and block
until bytes, the end or an error arrive. One condition guards everything.

Small bodies never come here: they are collected before a thread is taken and handed to the
application as `io.BytesIO`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final, Protocol

__all__ = ["StreamBody"]

# How long a reader waits before it says so: most clients are quicker, and saying it costs more.
_PATIENCE_SECONDS: Final = 0.005


class Waiter(Protocol):
    """Is told when a reader waits for the client. Called in the application's thread."""

    def waits(self) -> None:
        """It begins to wait; must not block."""
        ...

    def goes_on(self) -> None:
        """It has something, or nothing will come; must not block."""
        ...


class StreamBody:
    """A readable stream with bounded memory.

    Args:
        high_water: Bytes to hold before the sender is paused.
        on_first_read: Called once, when the application first wants bytes: the moment to
            send `100 Continue`. Called in the application's thread; must not block.
        on_resume: Called when the buffer has drained after `feed` said that it was full.
            Called in the application's thread; must not block.
        waiter: Told when a reader has to wait for longer than a moment.
        threads: Where locks are made; what else has the names of `threading`.
    """

    def __init__(
        self,
        high_water: int,
        on_first_read: Callable[[], object],
        on_resume: Callable[[], object],
        waiter: Waiter | None = None,
        threads: ModuleType = threading,
    ) -> None:
        self._waiter = waiter
        self._high_water = high_water
        self._on_first_read: Callable[[], object] | None = on_first_read
        self._on_resume = on_resume
        self._changed = threads.Condition(threads.Lock())
        self._pieces: deque[bytes] = deque()
        self._position = 0  # in the first piece: reading byte by byte must not copy the rest
        self._size = 0
        self._eof = False
        self._error: Exception | None = None
        self._paused = False

    # -- loop thread ---------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Add bytes.

        Returns:
            Whether more may come now; after False wait for `on_resume`.
        """
        with self._changed:
            self._pieces.append(data)
            self._size += len(data)
            self._paused = self._size >= self._high_water
            self._changed.notify_all()
            return not self._paused

    def feed_eof(self) -> None:
        """The body is complete."""
        with self._changed:
            self._eof = True
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """The body will never be complete: reading raises `error` once the bytes are used up."""
        with self._changed:
            if not self._eof:
                self._error = error
            self._changed.notify_all()

    # -- application's thread ------------------------------------------------------------

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, blocking until they are there; all of them without a size.

        Raises:
            ClientDisconnected: The client left before the body was complete.
            RemoteProtocolError: The client broke the body's framing.
        """
        if size is None or size < 0:
            return self._gather(None)
        return self._gather(size) if size else b""

    def readline(self, size: int | None = -1, /) -> bytes:
        """Up to and including the next line feed, at most `size` bytes; raises as `read`."""
        return self._gather(None if size is None or size < 0 else size, line=True)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """All lines, or as many as `hint` bytes take; raises as `read`."""
        lines: list[bytes] = []
        size = 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        """The lines; raises as `read`."""
        return iter(self.readline, b"")

    def close(self) -> None:
        """Nothing to do: the connection belongs to the server."""

    def _gather(self, size: int | None, *, line: bool = False) -> bytes:
        parts: list[bytes] = []
        while size is None or size > 0:
            piece = self._next_piece(size, line)
            parts.append(piece)
            if not piece or (line and piece.endswith(b"\n")):
                break
            if size is not None:
                size -= len(piece)
        return b"".join(parts)

    def _next_piece(self, limit: int | None, line: bool) -> bytes:
        """The next bytes, at most `limit` and, with `line`, up to a line feed; none at the end."""
        with self._changed:
            if not self._pieces and not self._eof:
                self._wait_for_bytes()
            if not self._pieces:
                if self._error is not None:
                    raise self._error
                return b""
            first, start = self._pieces[0], self._position
            end = len(first) if limit is None else min(len(first), start + limit)
            if line:
                end = first.find(b"\n", start, end) + 1 or end
            if end == len(first):
                self._pieces.popleft()
                self._position = 0
            else:
                self._position = end
            self._size -= end - start
            resume = self._paused and self._size <= self._high_water // 2
            if resume:
                self._paused = False
        if resume:
            self._on_resume()
        return first if end - start == len(first) else first[start:end]

    def _wait_for_bytes(self) -> None:
        if self._on_first_read is not None:
            first_read, self._on_first_read = self._on_first_read, None
            first_read()
        if self._changed.wait_for(self._is_ready, _PATIENCE_SECONDS):
            return
        if self._waiter is not None:
            self._waiter.waits()
        try:
            self._changed.wait_for(self._is_ready)
        finally:
            if self._waiter is not None:
                self._waiter.goes_on()

    def _is_ready(self) -> bool:
        return bool(self._pieces) or self._eof or self._error is not None
