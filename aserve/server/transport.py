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
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

from ..safe_log import get_logger
from .channel import Channel, waiting_in_kernel
from .own_loop import OwnLoop

__all__ = ["MOMENT", "READ_SIZE", "SocketTransport"]

_log: Final = get_logger("aserve.error")

# What one read takes at most: less than 128 KiB, beyond which malloc may map memory for each.
READ_SIZE: Final = 98_304

# Reads in one turn, of a client that sends a lot.
_MOST_READS: Final = 8

# Until the loop looks again whether a worker is sending. To look in each turn would only keep the
# interpreter lock from it.
MOMENT: Final = 0.001

_NOBODY: Final = asyncio.Protocol()


class SocketTransport(asyncio.Transport):
    """See `asyncio.Transport`; begins with reading paused, and without calling the protocol.

    Args:
        loop: The loop that has `add_reader`.
        sock: A connected, non-blocking socket; owned and closed by the transport.
        peername: Its other end, as `accept` told it.
        protocol: Told of everything but `connection_made`, which the caller does.
        channel: What to read from and write to, when it is more than the socket.

    Attributes:
        into: Where the next bytes go, of which `buffer_updated` is told; None for `data_received`.
    """

    # Whether nothing stands between this and the socket: see `send_now` and `into`.
    is_plain: ClassVar[bool] = True

    __slots__ = (
        "_buffer",
        "_closing",
        "_ended",
        "_eof_due",
        "_fd",
        "_high",
        "_is_sending",
        "_is_watched",
        "_loop",
        "_low",
        "_paused",
        "_protocol",
        "_reading",
        "_sock",
        "_written_late",
        "channel",
        "into",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        peername: Any,
        protocol: asyncio.Protocol,
        channel: Channel | None = None,
    ) -> None:
        super().__init__({"socket": sock, "sockname": sock.getsockname(), "peername": peername})
        self._loop = loop
        self._sock = sock
        self.channel: Channel = channel or sock
        self.into: memoryview | None = None
        self._fd = sock.fileno()
        self._protocol = protocol
        self._buffer = bytearray()
        self._reading = self._is_watched = False  # the loop may be a turn behind
        self._paused = False  # the protocol was told to stop writing
        self._eof_due = self._closing = self._ended = False  # last: `connection_lost` is due
        self._high, self._low = 65_536, 16_384
        self._written_late = 0  # bytes that had to wait for the client
        self._is_sending = False

    # -- reading -------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self._reading

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`. From here on the loop does not look at the socket."""
        self._reading = False
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if not self._reading and not self._closing:
            self._reading = True
            if isinstance(self._loop, OwnLoop):
                self._loop.at_end_of_turn.append(self._watch)
            else:
                self._watch()

    def _watch(self) -> None:
        if self._reading and not self._is_watched:
            self._is_watched = True
            tells_once = type(self._loop).__module__.startswith("uvloop")
            callback = self._on_readable_once if tells_once else self._on_readable
            try:
                self._loop.add_reader(self._fd, callback)
            except OSError as error:  # the system watches no more
                self._is_watched = False
                self._end(error)

    def read_now(self) -> None:
        """Look for data without being told of any: a new client has often spoken already."""
        self._on_readable()

    def has_unread(self) -> bool:
        """Whether bytes have come that nobody has read."""
        try:
            return bool(self.channel.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def has_ended(self) -> bool:
        """Whether nothing more will come, and all that came was read."""
        try:
            return not self.channel.recv(1, socket.MSG_PEEK)
        except OSError:
            return False

    def _on_readable(self) -> None:
        """Read what has come; the kernel has more than one read of somebody who sends a lot."""
        for _ in range(_MOST_READS):
            try:
                if self.into is None:
                    data = self.channel.recv(READ_SIZE)
                    size = len(data)
                else:
                    data, size = b"", self._sock.recv_into(self.into)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error)
                return
            try:
                if data:
                    self._protocol.data_received(data)
                elif size:
                    cast(asyncio.BufferedProtocol, self._protocol).buffer_updated(size)
                elif self._protocol.eof_received():
                    self.pause_reading()
                else:
                    self.close()
            except Exception as error:
                _log.exception("The server failed in the middle of a request, which is cut")
                self._end(error)
            if size < READ_SIZE or not self._reading:
                return

    def _on_readable_once(self) -> None:
        """As `_on_readable`, for uvloop, which tells of a socket with an error one time only.

        It watches it no more then, and the error may stand behind data that is read first.
        """
        self._on_readable()
        if self._reading:
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        if not self._reading:
            return
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self._on_readable_once()

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

    def send_now(self, make: Callable[[], bytes | None]) -> bytes | None:
        """Send what `make` returns, and return what the kernel has not taken. A worker thread.

        Args:
            make: Called when the transport can send; None leaves it alone.

        Returns:
            None when nothing was made. Whatever else: it is the caller's to tell the loop.
        """
        self._is_sending = True
        try:
            if self._closing or self._buffer or (data := make()) is None:
                return None
            try:
                return data[self._sock.send(data) :]
            except OSError:
                return data  # the loop tries again, and sees what is wrong
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
