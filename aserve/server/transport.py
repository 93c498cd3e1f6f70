"""A connected socket as an asyncio transport that can be set aside.

asyncio's own costs a task and two turns of the loop to make, and can neither be handed over to
another process nor tell what the client has taken. This one is ready at once.

Everything here runs on the loop thread, except `send_now`. For that there are two flags, each
written by one side only. The worker sets `_is_sending` and then looks whether the transport has
ended; the loop ends it and then looks whether somebody is sending. So one of the two sees the
other: a descriptor is never closed, and its number never used again, under a `send`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, cast

from .channel import Channel, waiting_in_kernel
from .read_side import ReadSide

__all__ = ["MOMENT", "SocketTransport"]

# Until the loop looks again whether a worker is sending. To look in each turn would only keep the
# interpreter lock from it.
MOMENT: Final = 0.001

_NOBODY: Final = asyncio.Protocol()

_HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")  # not on Windows


def _send(sock: socket.socket, pieces: tuple[bytes, ...]) -> bytes:
    """Send two pieces as one; returns what the kernel has not taken."""
    first, second = pieces
    if not second:
        return first[sock.send(first) :]
    if not _HAS_SENDMSG:
        return (data := first + second)[sock.send(data) :]
    sent = sock.sendmsg(pieces)
    return b"" if sent == len(first) + len(second) else (first + second)[sent:]


class SocketTransport(ReadSide):
    """See `asyncio.Transport`; begins with reading paused, and without calling the protocol.

    Args:
        loop: The loop that has `add_reader`.
        sock: A connected, non-blocking socket; owned and closed by the transport.
        peername: Its other end, as `accept` told it.
        protocol: Told of everything but `connection_made`, which the caller does.
        channel: What to read from and write to, when it is more than the socket.
    """

    # Whether nothing stands between this and the socket: see `send_now` and `into`.
    is_plain: ClassVar[bool] = True

    __slots__ = (
        "_buffer",
        "_ended",
        "_eof_due",
        "_high",
        "_is_sending",
        "_low",
        "_paused",
        "_written_late",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        peername: Any,
        protocol: asyncio.Protocol,
        channel: Channel | None = None,
    ) -> None:
        super().__init__(loop, sock, peername, protocol, channel)
        self._buffer = bytearray()
        self._paused = False  # the protocol was told to stop writing
        self._eof_due = False
        self._ended = False  # `connection_lost` has been called, or will be in the next turn
        self._high, self._low = 65_536, 16_384
        self._written_late = 0  # bytes that had to wait for the client
        self._is_sending = False

    # -- writing -------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell somebody else from here on."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def write(self, data: Any) -> None:
        """See `asyncio.WriteTransport`."""
        if self._ended or not data:
            return
        if not self._buffer:
            try:
                sent = self.channel.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._on_writable)
        self._buffer += data
        self._maybe_pause()

    def writelines(self, pieces: Iterable[Any]) -> None:
        """See `asyncio.WriteTransport`; two large pieces are not copied together."""
        pieces = tuple(pieces)
        if self.is_plain and len(pieces) == 2 and not (self._buffer or self._ended):
            try:
                pieces = (_send(self._sock, pieces),)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._end(error)
                return
        self.write(b"".join(pieces))

    def _on_writable(self) -> None:
        try:
            sent = self.channel.send(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        del self._buffer[:sent]
        self._written_late += sent
        if not self._buffer:
            self._loop.remove_writer(self._fd)
            if self._closing:
                self._say_goodbye()
                self._end(None)
                return
            if self._eof_due:
                self._shut_down()
        if self._paused and len(self._buffer) <= self._low:
            self._paused = False
            self._protocol.resume_writing()

    def taken(self) -> int:
        """A number that changes while the client takes something of what waits."""
        return self._written_late - waiting_in_kernel(self._fd)

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return True

    def write_eof(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._eof_due = True
        if not self._buffer:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            self.channel.shutdown(socket.SHUT_WR)
        except OSError as error:  # the client was faster
            self._end(error)

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return len(self._buffer)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`: low, high."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._high = 65_536 if high is None else high
        self._low = self._high // 4 if low is None else low
        self._maybe_pause()

    def _maybe_pause(self) -> None:
        if not self._paused and len(self._buffer) > self._high:
            self._paused = True
            self._protocol.pause_writing()

    # -- a worker's exception ------------------------------------------------------------

    @property
    def is_sending(self) -> bool:
        """Whether a worker is in `send_now`, for a moment."""
        return self._is_sending

    def send_now(self, make: Callable[[], tuple[bytes, bytes] | None]) -> bytes | None:
        """Send what `make` returns, and return what the kernel has not taken. A worker thread.

        Args:
            make: Called when the transport can send; returns two pieces, of which the second may be
                empty, or None to leave the transport alone.

        Returns:
            None when nothing was made. Whatever else: it is the caller's to tell the loop.
        """
        self._is_sending = True
        try:
            if self._closing or self._buffer or (pieces := make()) is None:
                return None
            try:
                return _send(self._sock, pieces)
            except OSError:
                return b"".join(pieces)  # the loop tries again, and sees what is wrong
        finally:
            self._is_sending = False

    # -- the end -------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._closing

    def close(self) -> None:
        """See `asyncio.BaseTransport`: what waits is still written."""
        if not self._closing:
            self.pause_reading()
            self._closing = True
            if not self._buffer:
                self._say_goodbye()
                self._end(None)

    def abort(self) -> None:
        """See `asyncio.WriteTransport`: what waits is thrown away."""
        self._end(None)

    def _say_goodbye(self) -> None:
        """Everything is written, and the end is an orderly one."""

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self.pause_reading()
        self._closing = self._ended = True
        if self._buffer:
            self._loop.remove_writer(self._fd)
            # Not cleared: the error that ends it may hold a view of it, in its traceback.
            self._buffer = bytearray()
        # In the next turn, as asyncio does it: the protocol may be in the middle of something.
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        if self._is_sending:
            self._loop.call_later(MOMENT, self._tell, error)
            return
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()
            self._forget()

    def detach(self) -> socket.socket:
        """Leave the socket, open, to the caller; the protocol is told nothing."""
        self.pause_reading()
        self._closing = self._ended = True
        self._forget()
        return self._sock

    def _forget(self) -> None:
        # Without the circle a connection is freed at once, and not by the collector: with it, a
        # sixth of the time of short connections was spent there.
        self._protocol = _NOBODY
