"""The half of a transport that reads. Loop thread."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from typing import Any, Final, cast

from ..safe_log import get_logger
from .channel import Channel
from .own_loop import OwnLoop

__all__ = ["READ_SIZE", "ReadSide"]

_log: Final = get_logger("aserve.error")

# What one read takes at most: less than 128 KiB, beyond which malloc may map memory for each.
READ_SIZE: Final = 98_304

# Reads in one turn, of a client that sends a lot.
_MOST_READS: Final = 8


class ReadSide(asyncio.Transport):
    """See `asyncio.ReadTransport`; begins with reading paused.

    Args:
        loop: The loop that has `add_reader`.
        sock: A connected, non-blocking socket.
        peername: Its other end, as `accept` told it.
        protocol: Told of what comes.
        channel: What to read from, when it is more than the socket.

    Attributes:
        into: Where the next bytes go, of which `buffer_updated` is told; None for `data_received`.
    """

    __slots__ = (
        "_closing",
        "_fd",
        "_is_watched",
        "_loop",
        "_protocol",
        "_reading",
        "_sock",
        "channel",
        "into",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        peername: Any,
        protocol: asyncio.Protocol,
        channel: Channel | None,
    ) -> None:
        super().__init__({"socket": sock, "sockname": _own_name(sock), "peername": peername})
        self._loop = loop
        self._sock = sock
        self.channel: Channel = channel or sock
        self.into: memoryview | None = None
        self._fd = sock.fileno()
        self._protocol = protocol
        self._reading = False
        self._is_watched = False  # by the loop; may be a turn behind
        self._closing = False

    @abstractmethod
    def _end(self, error: Exception | None) -> None:
        """End now, because of this."""

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

    def _watch(self) -> bool:
        """Have the loop look at the socket; True when that cannot be had."""
        if self._reading and not self._is_watched:
            self._is_watched = True
            tells_once = type(self._loop).__module__.startswith("uvloop")
            callback = self._on_readable_once if tells_once else self._on_readable
            try:
                self._loop.add_reader(self._fd, callback)
            except OSError as error:  # the system watches no more
                self._is_watched = False
                self._end(error)
                return True
        return False

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


def _own_name(sock: socket.socket) -> Any:
    """Its end of the connection; None, as asyncio has it, where a client has left already."""
    try:
        return sock.getsockname()
    except OSError:  # pragma: no cover - macOS says so of a connection that was reset
        return None
