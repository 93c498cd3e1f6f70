"""The body of a request, from the connection to who reads it. Loop thread.

A short one is collected until it is complete, and costs no thread until then. A long one is a pipe
(`aserve.wsgi.body.StreamBody`) that the app reads while it comes; while the pipe is full nothing is
read from the client. How many of each there may be is `aserve.server.gate`'s.
"""

from __future__ import annotations

import asyncio
from typing import Final

from .exchange import Exchange
from .interfaces import Host

__all__ = ["Intake"]

# What the pipe of a long body holds at most: some reads.
_PIPE_SIZE: Final = 262_144


class Intake:
    """See the module's docstring.

    Args:
        server: The server.
        transport: Where the client is; nothing is read from it while there is no room.
    """

    __slots__ = ("_at_gate", "_held", "_server", "_transport")

    def __init__(self, server: Host, transport: asyncio.Transport) -> None:
        self._server = server
        self._transport = transport
        self._held = 0  # bytes that count as collected
        self._at_gate: Exchange | None = None  # whose long body has to wait

    def feed(self, exchange: Exchange, data: bytes) -> None:
        """A piece of the body has come."""
        if exchange.stream is not None:
            if not exchange.stream.feed(data):
                self._transport.pause_reading()
        elif not self._collect(exchange, data):
            self.stream(exchange)

    def _collect(self, exchange: Exchange, data: bytes) -> bool:
        """Keep a piece of a short body; False when it is none, or all of them are too many."""
        size = max(exchange.collect(data), exchange.request.content_length or 0)
        self._held += len(data)
        has_room = self._server.collected.take(len(data))
        return has_room and size <= self._server.config.body_buffer

    def end(self, exchange: Exchange) -> None:
        """That was the whole of it."""
        if exchange.stream is not None:
            exchange.stream.feed_eof()
        else:
            self._dispatch(exchange)

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
        exchange.start_stream(min(self._server.config.body_buffer, _PIPE_SIZE))
        self._dispatch(exchange)

    def _dispatch(self, exchange: Exchange) -> None:
        exchange.dispatched = True
        self._server.pool.submit(exchange)

    def release(self) -> None:
        """The exchange is over, or will never be."""
        self._at_gate = None
        if self._held:
            self._server.collected.give_back(self._held)
            self._held = 0
