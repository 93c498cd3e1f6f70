"""From an exchange's outbox to the transport, with back-pressure. Loop thread only.

While the transport is full nothing is taken from the outbox, so the worker that fills it is
held back; see `aserve.server.exchange`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from enum import Enum
from typing import Final

from .. import native
from ..errors import LocalProtocolError
from ..events import Data, EndOfMessage, Response
from ..http.h1 import H1Connection
from ..safe_log import get_logger
from .exchange import Exchange
from .outbox import FileTurn, Item, Whole

__all__ = ["Outcome", "Sender", "serialize_whole"]

_log: Final = get_logger("aserve.error")

# What is gathered before it is written; the size of a socket's buffer, so more brings nothing.
_WRITE_SIZE: Final = 65_536


class Outcome(Enum):
    """How far a flush came."""

    WAITING = "waiting"  # for the worker, or for the client to read
    ENDED = "ended"  # the response is complete
    BROKEN = "broken"  # it will never be


def serialize_whole(
    exchange: Exchange, h1: H1Connection, response: Response, body: bytes
) -> tuple[bytes, bytes]:
    """A complete response in two pieces; the exchange has ended. Whoever has the connection.

    Raises:
        LocalProtocolError: It cannot be sent.
    """
    exchange.status_code = response.status_code
    exchange.ended = True
    pieces = h1.send_pieces(response, body)
    if h1.has_body:
        exchange.sent += len(body)
    return pieces


class Sender:
    """Serializes the items of an outbox and writes them.

    Args:
        h1: The connection's protocol state.
        transport: Where the bytes go.
        high_water: Bytes that may wait in the transport before it counts as full.
    """

    __slots__ = ("_file_turn", "_h1", "_high_water", "_transport", "is_lent_to_a_file", "paused")

    def __init__(self, h1: H1Connection, transport: asyncio.Transport, high_water: int) -> None:
        self._h1 = h1
        self._transport = transport
        self._high_water = high_water
        self._file_turn: FileTurn | None = None
        # A worker sends a file past the transport, or is about to.
        self.is_lent_to_a_file = False
        # Whether the transport is full; set by the protocol's pause_writing and resume_writing.
        self.paused = False
        self._set_limits()

    def write(self, exchange: Exchange, whole: Whole) -> Outcome:
        """Write a complete response."""
        try:
            pieces = serialize_whole(exchange, self._h1, whole.response, whole.body)
        except LocalProtocolError as error:
            _log.error("%s: the response cannot be sent: %s", exchange, error)
            return Outcome.BROKEN
        if pieces[1]:
            self._transport.writelines(pieces)
        else:
            self._transport.write(pieces[0])
        return Outcome.ENDED

    def flush(self, exchange: Exchange) -> Outcome:
        """Write what the worker has made, as far as the client takes it."""
        out: list[bytes] = []
        size = 0
        # Only what is here now; a worker that adds more asks for another flush. Else one that
        # makes items faster than they are sent would keep the loop in here for ever, and over
        # a connection that is lost the news of it could not come in.
        for _ in range(exchange.outbox.begin_flush()):
            if self.paused or exchange.ended or (item := exchange.outbox.next_item()) is None:
                break
            try:
                data = self._serialize(exchange, item)
            except LocalProtocolError as error:
                _log.error("%s: the response cannot be sent: %s", exchange, error)
                data = None
            if data is None:  # the response breaks off, or the kernel takes over
                self._write(out)
                return self._stop_at(item)
            out.append(data)
            size += len(data)
            if size >= _WRITE_SIZE:
                self._write(out)
                size = 0
        self._write(out)
        return Outcome.ENDED if exchange.ended else Outcome.WAITING

    def grant_file_turn(self) -> bool:
        """Hand the socket to the worker that waits for it; False when none does."""
        turn, self._file_turn = self._file_turn, None
        if turn is None:
            return False
        self._set_limits()
        with contextlib.suppress(OSError):
            turn.descriptor = self._duplicate()
        turn.granted.set()
        return True

    def abandon(self) -> None:
        """The connection is gone: a worker that waits for the socket gets none."""
        turn, self._file_turn = self._file_turn, None
        if turn is not None:
            turn.granted.set()

    def cut_file(self) -> None:
        """Shut the connection down under a worker that may be sending a file over it."""
        with contextlib.suppress(OSError):
            # A socket object of our own: the transport's has no `shutdown` in uvloop.
            with native.socket.socket(fileno=self._duplicate()) as sock:
                sock.shutdown(native.socket.SHUT_RDWR)

    def _duplicate(self) -> int:
        return os.dup(self._transport.get_extra_info("socket").fileno())

    def _serialize(self, exchange: Exchange, item: Item) -> bytes | None:
        """The bytes of an item; None when it is not bytes that it stands for."""
        h1 = self._h1
        if type(item) is Whole:
            return b"".join(serialize_whole(exchange, h1, item.response, item.body))
        if type(item) is bytes:
            exchange.outbox.flushed(len(item))
            if h1.has_body:
                exchange.sent += len(item)
            return h1.send(Data(item))
        if isinstance(item, Response):
            exchange.status_code = item.status_code
            return h1.send(item)
        if isinstance(item, EndOfMessage):
            exchange.ended = True
            return h1.send(item)
        if isinstance(item, int):
            self.is_lent_to_a_file = False
            h1.sent_elsewhere(item)
            exchange.sent += item
            return b""
        return None

    def _write(self, out: list[bytes]) -> None:
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def _stop_at(self, item: Item) -> Outcome:
        if not isinstance(item, FileTurn):
            return Outcome.BROKEN
        self._file_turn = item
        self.is_lent_to_a_file = True
        if self._transport.get_write_buffer_size() == 0:
            self.grant_file_turn()
        else:
            # With this limit `resume_writing` means that the kernel has everything.
            self._transport.set_write_buffer_limits(high=0)
        return Outcome.WAITING

    def _set_limits(self) -> None:
        self._transport.set_write_buffer_limits(high=self._high_water, low=self._high_water // 2)
