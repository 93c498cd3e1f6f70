"""A connection that the application has taken for itself: a WebSocket, or any other upgrade.

The app gets a blocking socket, `environ["werkzeug.socket"]`, when a request asks for an upgrade.
With its first use the connection is the app's: what the client sends, also what was read already,
comes out of that socket, and what the app writes goes to the client as it is. The socket is one end
of a pair; the loop holds the other, so it is the same over TLS, and closing it ends nothing else.

```text
client <--> transport <--> Tunnel (loop thread) <--> pair of sockets <--> the app (its thread)
```
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..native import socket

__all__ = ["FrameMeter", "OfferedSocket", "Traveller", "Tunnel"]

_READ_SIZE: Final = 65_536
# How long who holds the app's socket may keep it when the app has returned.
_HOLDER_SECONDS: Final = 1.0
# What the app has not read yet, until the client is held back.
_HIGH_WATER: Final = 65_536

# RFC 6455 sections 5.5.1 and 7.4.1: a close frame with "going away".
_GOING_AWAY: Final = b"\x88\x02\x03\xe9"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")


def _first_use(name: str) -> Any:
    method = getattr(socket.socket, name)

    def use(self: OfferedSocket, *arguments: Any, **named: Any) -> Any:
        self.take()
        return method(self, *arguments, **named)

    use.__name__ = name
    use.__doc__ = method.__doc__
    return use


class OfferedSocket(socket.socket):
    """A blocking socket that takes the connection with its first use. The app's thread.

    Args:
        descriptor: One end of a pair; owned.
        on_take: Called with the first use.
    """

    def __init__(self, descriptor: int, on_take: Callable[[], object]) -> None:
        super().__init__(fileno=descriptor)
        self._on_take: Callable[[], object] | None = on_take

    def take(self) -> None:
        """The connection is the app's from here on. Idempotent."""
        on_take, self._on_take = self._on_take, None
        if on_take is not None:
            on_take()

    def __del__(self) -> None:
        # Whoever was handed it last has dropped it; that it was not closed is no mistake of theirs.
        self.close()

    def setsockopt(self, *arguments: Any) -> None:
        """As for the connection itself, whose options of TCP a pair does not have."""
        if arguments and arguments[0] != socket.IPPROTO_TCP:
            super().setsockopt(*arguments)


for _name in (
    "recv", "recv_into", "recvfrom", "recvmsg", "send", "sendall", "sendmsg", "sendfile",
    "fileno", "makefile", "dup", "detach", "shutdown",
):  # fmt: skip
    setattr(OfferedSocket, _name, _first_use(_name))


class FrameMeter:
    """Follows what the app writes: the head of its answer, then frames (RFC 6455 section 5.2)."""

    def __init__(self) -> None:
        self.status_code = 0
        self._head = bytearray()
        self._frame = bytearray()  # of a frame, as much of its head as has come
        self._left = 0  # bytes of its payload that have not

    @property
    def is_between_frames(self) -> bool:
        """Whether a frame may be put in here."""
        return self.status_code == 101 and not (self._head or self._frame or self._left)

    def feed(self, data: bytes) -> None:
        """The app has written this."""
        if not self.status_code:
            self._head += data
            head, end, rest = bytes(self._head).partition(b"\r\n\r\n")
            if not end:
                return
            found = _STATUS.match(head)
            self.status_code = int(found[1]) if found else 101
            self._head.clear()
            data = rest
        if self.status_code == 101:
            self._feed_frames(data)

    def _feed_frames(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._left:
                skipped = min(self._left, len(data) - at)
                self._left -= skipped
                at += skipped
                continue
            self._frame.append(data[at])
            at += 1
            size = _payload_size(self._frame)
            if size is not None:
                self._left = size
                self._frame.clear()


def _payload_size(head: bytearray) -> int | None:
    """Of a frame with this head; None while the head is not complete."""
    if len(head) < 2:
        return None
    short = head[1] & 0x7F
    extra = {126: 2, 127: 8}.get(short, 0)
    mask = 4 if head[1] & 0x80 else 0
    if len(head) < 2 + extra + mask:
        return None
    return int.from_bytes(head[2 : 2 + extra]) if extra else short


class Traveller(Protocol):
    """The exchange, as far as the tunnel has to do with it."""

    status_code: int
    sent: int


class Tunnel(asyncio.Protocol):
    """The loop's half. A member of its server, in the place of the connection. Loop thread.

    Args:
        loop: The loop.
        transport: To the client; the tunnel becomes its protocol.
        sock: The loop's end of the pair; owned.
        exchange: Is told the status and the bytes that are sent.
        on_end: Called when both sides are closed.
    """

    arriving = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        sock: socket.socket,
        exchange: Traveller,
        on_end: Callable[[Tunnel], object],
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._sock = sock
        self._exchange = exchange
        self._on_end = on_end
        self._meter = FrameMeter()
        self._unread = bytearray()  # of the client's, not in the pair yet
        self._has_eof = False
        self._is_open = True
        self._is_told_to_go = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self, data: bytes) -> None:
        """Begin; `data` was read from the client already."""
        self._sock.setblocking(False)
        self._transport.set_protocol(self)
        self._loop.add_reader(self._sock.fileno(), self._read_app)
        self._transport.resume_reading()
        if data:
            self.data_received(data)

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        self._transport.get_extra_info("socket").close()
        self._sock.close()

    # -- asyncio.Protocol ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`: from the client to the app."""
        if self._is_open and not self._has_eof:
            self._unread += data
            self._write_app()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: the app reads the end, and may still write."""
        self._has_eof = True
        if self._is_open:
            self._write_app()
        return self._is_open

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._is_open:
            self._loop.remove_reader(self._sock.fileno())

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._is_open:
            self._loop.add_reader(self._sock.fileno(), self._read_app)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._close_pair()
        self._on_end(self)

    # -- the app's side ------------------------------------------------------------------

    def _write_app(self) -> None:
        descriptor = self._sock.fileno()
        try:
            while self._unread:
                del self._unread[: self._sock.send(self._unread)]
        except BlockingIOError:
            self._loop.add_writer(descriptor, self._write_app)
            if len(self._unread) > _HIGH_WATER:
                self._transport.pause_reading()
            return
        except OSError:
            self._unread.clear()  # the app does not read any more
        self._loop.remove_writer(descriptor)
        if self._has_eof:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                return
        else:
            self._transport.resume_reading()

    def _read_app(self) -> None:
        """From the app to the client; when its socket is closed, that is the end."""
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._send(data)
        else:
            self._finish()

    def _send(self, data: bytes) -> None:
        self._meter.feed(data)
        if self._is_told_to_go:
            return  # nothing follows a close frame (RFC 6455 section 5.5.1)
        self._exchange.status_code = self._meter.status_code
        self._exchange.sent += len(data)
        self._transport.write(data)

    def end(self) -> None:
        """The app has returned. Who holds its socket reads the end, and has a moment to close it.

        A library that reads in a thread of its own may be about to answer the client's close frame
        there (RFC 6455 section 5.5.1) while the view has returned already.
        """
        if self._is_open and self._timer is None:
            self._timer = self._loop.call_later(_HOLDER_SECONDS, self._finish)
            self._has_eof = True
            self._write_app()

    def _finish(self) -> None:
        """Nobody holds the app's end any more: send what was written last, and close."""
        while self._is_open:
            try:
                data = self._sock.recv(_READ_SIZE)
            except OSError:
                break
            if not data:
                break
            self._send(data)
        self._close_pair()
        self._transport.close()

    def _close_pair(self) -> None:
        if self._is_open:
            self._is_open = False
            if self._timer is not None:
                self._timer.cancel()
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    # -- a member of the server ----------------------------------------------------------

    def announce_close(self) -> None:
        """See `Member`: a WebSocket's client is told to go, and answers with its own close."""
        if self._is_open and self._meter.is_between_frames:
            self._is_told_to_go = True
            self._transport.write(_GOING_AWAY)

    def close_if_idle(self) -> None:
        """See `Member`: it ends with the app, or with the client."""

    def resting_since(self) -> None:
        """See `Member`: it may be silent for hours."""
        return

    def give_way(self) -> None:
        """See `Member`."""

    def cut(self) -> None:
        """See `Member`."""
        self._transport.abort()
