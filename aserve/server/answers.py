"""How an answer leaves: by the loop or, where that is quicker, by the worker that has made it.

Loop thread, but for `send_now`.
"""

from __future__ import annotations

import asyncio
import functools
from time import perf_counter
from typing import Final, cast

from ..errors import LocalProtocolError
from ..events import Response
from ..http.h1 import H1Connection
from ..http.state import Receiving
from ..safe_log import get_logger
from .carrier import Carrier
from .closing import Closing
from .exchange import Exchange
from .interfaces import Host
from .patience import Watch
from .sender import Outcome, Sender, serialize_whole
from .transport import SocketTransport

__all__ = ["Answers"]

_log: Final = get_logger("aserve.error")


class Answers:
    """See the module's docstring.

    Args:
        connection: Whose answers; forgotten in `end`.
        server: Its server.
        h1: Its protocol state.
        transport: Its transport.
        sender: Who writes.
        closing: Who knows what is owed to the client behind the last one.
        watch: Its time.
    """

    __slots__ = (
        "_closing",
        "_connection",
        "_direct",
        "_h1",
        "_sender",
        "_server",
        "_transport",
        "_watch",
    )

    def __init__(
        self,
        connection: Carrier[Exchange],
        server: Host,
        h1: H1Connection,
        transport: asyncio.Transport,
        sender: Sender,
        closing: Closing,
        watch: Watch,
    ) -> None:
        self._connection: Carrier[Exchange] | None = connection
        self._server = server
        self._h1 = h1
        self._transport = transport
        is_plain = isinstance(transport, SocketTransport) and transport.is_plain
        self._direct = cast(SocketTransport, transport) if is_plain else None
        self._sender = sender
        self._closing = closing
        self._watch = watch

    def end(self) -> None:
        """The connection is lost, or somebody else's."""
        self._connection = None
        self._sender.abandon()

    # -- a worker's exception ------------------------------------------------------------

    def send_now(self, exchange: Exchange, response: Response, body: bytes) -> bool:
        """See `Carrier`. In a worker thread: the one thing that it does to a connection.

        For one request at a time that saves a change of threads, which costs more than all the rest
        of it. Only where nothing is in the way:

        1. the socket is plain: OpenSSL wants one thread at a time;
        2. the request is complete, so that what comes meanwhile only fills a buffer;
        3. nobody else waits: the loop writes the answers of a batch in one turn;
        4. no stop has begun, behind which an answer has to say that it is the last.

        The loop hears of it by a note. It finds it before it takes anything more from this client,
        when a stop begins, and in its next tick at the latest.
        """
        server, h1, transport = self._server, self._h1, self._direct
        meeting = server.meeting
        if (
            transport is None
            or h1.receiving is not Receiving.COMPLETE
            or server.pool.waiting
            or (meeting is not None and meeting.is_open)
        ):
            return False

        def make() -> tuple[bytes, bytes] | None:
            return None if server.is_shut else serialize_whole(exchange, h1, response, body)

        try:
            rest = transport.send_now(make)
        except LocalProtocolError as error:
            _log.error("%s: the response cannot be sent: %s", exchange, error)
            server.mailbox.post(functools.partial(self.break_off, exchange))
            return True
        if rest is None:
            return False
        exchange.ended_clock = perf_counter()
        note = functools.partial(self._sent, exchange, rest)
        if rest or h1.buffered or not h1.keep_alive:
            server.mailbox.post(note)
        else:
            server.mailbox.leave(note)
            # Looked at behind that: a stop waits for no tick, and without one nobody does.
            if server.is_shut or not server.pool.is_ticking:
                server.mailbox.post(_nothing)
        return True

    def _sent(self, exchange: Exchange, rest: bytes) -> None:
        """A worker's note: it has sent the answer, all but the rest."""
        connection = self._connection
        if connection is not None and exchange is connection.exchange and self._is_open:
            if rest:
                self._transport.write(rest)
            self._finish(connection, exchange)

    @property
    def is_being_sent(self) -> bool:
        """Whether a worker is in `send_now`, for a moment."""
        return self._direct is not None and self._direct.is_sending

    def take_notes(self) -> None:
        """A worker may have sent the answer already, behind which the client goes on.

        Not at the end of the server: there the connection may be handed over, with what was read of
        it up to now.
        """
        if not self._server.is_draining:
            self._server.mailbox.deliver()

    # -- by the loop ---------------------------------------------------------------------

    @property
    def _is_open(self) -> bool:
        return not self._transport.is_closing()

    def flush(self, exchange: Exchange) -> None:
        """Send what the worker has made. Posted by the worker, at most one at a time."""
        connection = self._connection
        if connection is None or exchange is not connection.exchange or not self._is_open:
            return
        sender = self._sender
        if not sender.paused and (whole := exchange.outbox.take_whole()) is not None:
            outcome = sender.write(exchange, whole)  # by far the most
        else:
            if not exchange.status_code and exchange.outbox.begins_stream:
                self._closing.notice_half_close(exchange)
            outcome = sender.flush(exchange)
        if outcome is Outcome.ENDED:
            self._finish(connection, exchange)
            return
        if outcome is Outcome.BROKEN:
            self.break_off(exchange)
        self._watch.note()

    def send_continue(self) -> None:
        """See `Carrier` (RFC 9110 section 10.1.1, B55)."""
        if self._is_open and not self._h1.eof and (data := self._h1.send_continue()):
            self._transport.write(data)
            self._watch.note()

    def _finish(self, connection: Carrier[Exchange], exchange: Exchange) -> None:
        """The response is out: on to the next request, or to the end of the connection."""
        connection.take_exchange()
        connection.observe(exchange, complete=True)
        h1 = self._h1
        if h1.keep_alive and h1.receiving is Receiving.COMPLETE:
            connection.next_cycle()
            return
        if h1.keep_alive and h1.receiving is not Receiving.CLOSED:
            self._closing.drain_body()
        elif h1.receiving in (Receiving.BODY, Receiving.FAILED) or h1.buffered:
            self._closing.linger()
        else:
            self._transport.close()
        self._watch.note()

    def break_off(self, exchange: Exchange) -> None:
        """End without an end of the message, so that the client knows (RFC 9112 section 8, B56)."""
        connection = self._connection
        if connection is None or not self._is_open:
            return
        connection.take_exchange()
        client_left = exchange.client_left
        exchange.close()
        self._h1.break_off()
        connection.observe(exchange, complete=False, client_left=client_left)
        if self._h1.ends_with_close:
            self._closing.reset()
        else:
            self._transport.close()


def _nothing() -> None:
    """To be posted: the loop delivers what was left there before."""
