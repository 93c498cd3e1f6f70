"""The body of a request, from the connection to who reads it. Loop thread.

A short one is collected until it is complete, and costs no thread until then; where more than one
read is needed for it, it is received straight into a buffer that is kept. A long one is a pipe
(`aserve.wsgi.body.StreamBody`) that the app reads while it comes; while the pipe is full nothing is
read from the client. How many of each there may be is `aserve.server.gate`'s.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from .buffers import BUFFER_SIZE, KeptBody
from .exchange import Exchange
from .interfaces import Host
from .read_side import READ_SIZE
from .transport import SocketTransport

__all__ = ["Intake"]

# What the pipe of a long body holds at most where there is no room for one of `body_buffer` bytes.
_SHORT_PIPE: Final = 65_536


class Intake:
    """See the module's docstring.

    Args:
        server: The server.
        transport: Where the client is; nothing is read from it while there is no room.
    """

    __slots__ = ("_at_gate", "_buffer", "_direct", "_held", "_server", "_transport")

    def __init__(self, server: Host, transport: asyncio.Transport) -> None:
        self._server = server
        self._transport = transport
        is_plain = isinstance(transport, SocketTransport) and transport.is_plain
        self._direct = cast(SocketTransport, transport) if is_plain else None
        self._held = 0  # bytes that count as collected
        self._buffer: bytearray | None = None  # into which the transport receives
        self._at_gate: Exchange | None = None  # whose long body has to wait

    def feed(self, exchange: Exchange, data: bytes) -> None:
        """A piece of the body has come."""
        if exchange.stream is not None:
            if not exchange.stream.feed(data):
                self._transport.pause_reading()
        elif exchange is self._at_gate:
            exchange.collect(data)  # what had been read already
        elif not (self._receive_into(exchange, data) or self._collect(exchange, data)):
            self.stream(exchange)

    def _receive_into(self, exchange: Exchange, data: bytes) -> bool:
        """Have the rest of the body received into a buffer, if that saves anything.

        Nor does a client get one that sends little by little: it would keep it for long.
        """
        size = exchange.request.content_length or 0
        if (
            self._direct is None
            or not READ_SIZE < size <= min(self._server.config.body_buffer, BUFFER_SIZE)
            or len(data) < READ_SIZE // 2
            or exchange.body_size
            or self._buffer is not None
            or not self._hold(BUFFER_SIZE)
        ):
            return False
        buffer = self._buffer = self._server.buffers.take()
        buffer[: len(data)] = data
        self._direct.into = memoryview(buffer)[len(data) : size]
        return True

    def filled(self, size: int) -> None:
        """So many bytes were received there."""
        if self._direct is not None and self._direct.into is not None:
            self._direct.into = self._direct.into[size:]

    def _collect(self, exchange: Exchange, data: bytes) -> bool:
        """Keep a piece of a short body; False when it is none, or all of them are too many."""
        size = max(exchange.collect(data), exchange.request.content_length or 0)
        return self._hold(len(data)) and size <= self._server.config.body_buffer

    def _hold(self, size: int) -> bool:
        """Whether there is room for so many bytes; they count until `release`."""
        has_room = self._server.collected.take(size)
        if has_room:
            self._held += size
        else:
            self._server.collected.give_back(size)
        return has_room

    def end(self, exchange: Exchange) -> None:
        """That was the whole of it."""
        if exchange.stream is not None:
            exchange.stream.feed_eof()
            return
        self._at_gate = None  # it has come in time, and needs to wait no more
        if self._buffer is not None:
            size = exchange.request.content_length or 0
            exchange.kept = KeptBody(self._server.buffers, self._buffer, size)
            self._forget_buffer()
        self._dispatch(exchange)

    def _forget_buffer(self) -> None:
        self._buffer = None
        if self._direct is not None:
            self._direct.into = None

    def stream(self, exchange: Exchange) -> None:
        """Have the app read the body as it comes, as soon as not too many others do."""
        gate = self._server.gate
        if gate.enter():
            self._stream(exchange)
            return

        def go() -> bool:
            if exchange is not self._at_gate:
                return False
            self._at_gate = None
            self._stream(exchange)
            exchange.connection.resume_body()
            return True

        self._at_gate = exchange
        self._transport.pause_reading()
        gate.wait(go)

    def _stream(self, exchange: Exchange) -> None:
        exchange.gate = self._server.gate
        size = self._server.config.body_buffer
        exchange.start_stream(size if self._hold(size) else min(size, _SHORT_PIPE))
        self._dispatch(exchange)

    def _dispatch(self, exchange: Exchange) -> None:
        exchange.dispatched = True
        self._server.pool.submit(exchange)

    def release(self) -> None:
        """The exchange is over, or will never be."""
        self._at_gate = None
        if self._buffer is not None:
            self._server.buffers.give_back(self._buffer)
            self._forget_buffer()
        if self._held:
            self._server.collected.give_back(self._held)
            self._held = 0
