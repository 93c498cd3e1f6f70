"""The shell around `H1Connection`: one asyncio protocol per client.

Everything here runs on the loop thread, but for `send_now`. Per connection one exchange is open at
a time; the bytes that a pipelining client sends ahead wait in `H1Connection`, and past a bound in
the kernel. How a connection ends is arranged by `aserve.server.closing`.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from time import perf_counter
from typing import Final, cast

from ..errors import LocalProtocolError, RemoteProtocolError
from ..events import Data, EndOfMessage, ErrorRecord, Event, Request, Response
from ..http.h1 import H1Connection
from ..http.response import simple_response
from ..http.state import Receiving, Sending
from ..net.address import peer_of
from ..safe_log import get_logger
from ..types import Environ, WSGIApp
from . import filesend
from .closing import Closing
from .exchange import Exchange
from .interfaces import Host
from .patience import Phase, Watch, phase_of
from .records import record_of, refusal_of
from .sender import Outcome, Sender, serialize_whole
from .transport import MOMENT, SocketTransport
from .tunnel import Tunnel

__all__ = ["Connection"]

_log: Final = get_logger("aserve.error")

# What the pipe of a long body holds at most: four reads.
_PIPE_SIZE: Final = 262_144


class Connection(asyncio.Protocol):
    """One client.

    Args:
        server: The server; it knows its connections and runs their exchanges.
    """

    __slots__ = (
        "_closing",
        "_h1",
        "_held",
        "_sender",
        "_server",
        "_transport",
        "_tunnel",
        "_watch",
        "app",
        "can_send_files",
        "client",
        "environ",
        "exchange",
        "high_water",
        "low_water",
        "post",
        "send_timeout",
    )

    def __init__(self, server: Host) -> None:
        config = server.config
        self._server = server
        self._h1 = H1Connection(config, server.clock.date_line)
        self._transport: asyncio.Transport
        self._sender: Sender
        self._closing: Closing
        self._watch: Watch
        self._tunnel: Tunnel | None = None
        self._held = 0  # bytes of a body that count as collected
        self.exchange: Exchange | None = None
        # What an exchange uses from its worker thread; none of these change.
        self.app: WSGIApp = server.app
        self.post: Callable[[Callable[[], object]], None] = server.mailbox.post
        self.high_water: int = config.send_buffer
        self.low_water: int = config.send_buffer // 2
        self.send_timeout: float = config.send_timeout
        self.environ: Environ = {}
        self.client = ""
        self.can_send_files = False

    @property
    def arriving(self) -> Exchange | None:
        """The exchange whose body is still being collected, so that no thread has it yet."""
        exchange = self.exchange
        return exchange if exchange is not None and not exchange.dispatched else None

    # -- asyncio.Protocol ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        server = self._server
        self._transport = cast(asyncio.Transport, transport)
        self._sender = Sender(self._h1, self._transport, server.config.send_buffer)
        self._closing = Closing(self, server, self._h1, self._transport, self._sender)
        peer = peer_of(transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
        self.client = peer.remote_addr
        self.can_send_files = filesend.AVAILABLE and transport.get_extra_info("sslcontext") is None
        self.environ = {**server.environ, **peer.as_environ(), **_client_certificate(transport)}
        self._watch = Watch(self, server.patience)
        server.roster.add(self)
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        exchange = self._take_exchange()
        if exchange is not None:
            exchange.close()
            # A cut takes the exchange away before the connection is lost.
            complete = exchange.ended or self._h1.all_sent
            self._observe(exchange, complete=complete, client_left=not complete)
        self._closing.end()
        self._sender.abandon()
        self._watch.end()
        self._server.roster.discard(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.exchange is not None and self.exchange.ended:
            self._take_notes()
        if self._closing.is_lingering:
            return
        self._handle(self._h1.receive_data(data))
        self._closing.read()
        if self.exchange is not None and self._h1.buffered > self._server.config.limit_pipeline:
            self._transport.pause_reading()
        if self._h1.receiving is Receiving.COMPLETE and self._is_quiet:
            self._watch.works()
        else:
            self._watch.note(progress=True)

    def adopted(self, data: bytes) -> None:
        """Go on for another process, which has read `data`; behind `connection_made`.

        Before anything else looks at the connection: a server that has begun to stop meanwhile
        hands it on at once, with all that was read.
        """
        self._watch.answered()  # by somebody, once
        self._handle(self._h1.receive_data(data) if data else [])
        self._watch.note()
        if self._server.is_draining:
            self.close_if_idle()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`. True keeps our half open for the answer."""
        if self._is_being_sent:
            # By a worker, just now: only behind that is it clear what the client has missed.
            self._server.loop.call_later(MOMENT, self._eof_again)
            return True
        if self.exchange is not None and self.exchange.ended:
            self._take_notes()
        if self._h1.eof and self.exchange is not None:
            return self._transport.can_write_eof()  # that is known already
        cut = self._h1.receive_eof()
        exchange = self.exchange
        if exchange is None or self._closing.is_lingering:
            return False
        exchange.client_left = True
        if cut and not exchange.dispatched:
            return False
        if cut and exchange.stream is not None:
            exchange.close()
            return False
        # A client may close its half after a request and wait for the answer (`nc -N`). One that
        # closes in the middle of an answer has probably left: the application is told at its
        # next step, however long it would go on by itself (B59).
        if self._h1.sending is Sending.BODY and not (self._h1.all_sent and self._h1.buffered):
            if self._h1.all_sent:
                exchange.close()
                return False
            self._closing.doubt(exchange)
        return self._transport.can_write_eof()

    def _eof_again(self) -> None:
        if not (self._transport.is_closing() or self.eof_received()):
            self._transport.close()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._sender.paused = True

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._sender.paused = False
        if not self._sender.grant_file_turn() and self.exchange is not None:
            self.flush(self.exchange)
        self._watch.note()

    # -- the request ---------------------------------------------------------------------

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            kind = type(event)
            if kind is Request:
                self.exchange = exchange = Exchange(self, cast(Request, event))
                exchange.client_left = self._h1.eof
                if exchange.request.expect_continue:
                    self._dispatch_streaming(exchange)
            elif kind is Data:
                self._body_data(cast(Data, event).data)
            elif kind is EndOfMessage:
                self._body_end()
        if self._h1.failure is not None:
            self._refuse(self._h1.failure)

    def _body_data(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or exchange.ended:
            # The application did not read it, and its answer is out: throw it away, up to a bound.
            self._closing.drained(len(data))
        elif exchange.stream is not None:
            if not exchange.stream.feed(data):
                self._transport.pause_reading()
        elif not self._collect(exchange, data):
            self._dispatch_streaming(exchange)

    def _collect(self, exchange: Exchange, data: bytes) -> bool:
        """Keep a piece of a short body; False when it is none, or all of them are too many."""
        size = max(exchange.collect(data), exchange.request.content_length or 0)
        self._held += len(data)
        has_room = self._server.collected.take(len(data))
        return has_room and size <= self._server.config.body_buffer

    def _body_end(self) -> None:
        exchange = self.exchange
        if exchange is None or exchange.ended:
            self._next_cycle()
        elif exchange.stream is not None:
            exchange.stream.feed_eof()
        else:
            self._dispatch(exchange)

    def _dispatch_streaming(self, exchange: Exchange) -> None:
        """Have the app read a long body as it comes, if not too many others do."""
        gate = self._server.gate
        if gate.enter():
            self._stream(exchange)
            return

        def go() -> bool:
            if exchange is not self.exchange or exchange.dispatched:
                return False
            self._stream(exchange)
            self.resume_body()
            return True

        self._transport.pause_reading()
        gate.wait(go)

    def _stream(self, exchange: Exchange) -> None:
        exchange.gate = self._server.gate
        exchange.start_stream(min(self._server.config.body_buffer, _PIPE_SIZE))
        self._dispatch(exchange)

    def _dispatch(self, exchange: Exchange) -> None:
        exchange.dispatched = True
        self._server.pool.submit(exchange)

    def resume_body(self) -> None:
        """The application has read what was buffered."""
        if not self._closing.is_lingering:
            self._transport.resume_reading()
            self._watch.note()

    def send_continue(self) -> None:
        """The application wants the body now (RFC 9110 section 10.1.1, B55)."""
        if self._h1.eof or self._transport.is_closing():
            return
        data = self._h1.send_continue()
        if data:
            self._transport.write(data)

    def _refuse(self, failure: RemoteProtocolError) -> None:
        """Answer a broken request with its 4xx, and read nothing more as a request."""
        exchange = self.exchange
        if exchange is not None and exchange.dispatched:
            # The application is already at work: it learns of it where it reads.
            if exchange.stream is not None:
                exchange.stream.fail(failure)
            return
        self._take_exchange()
        if self._h1.sending in (Sending.IDLE, Sending.PENDING):
            status = failure.status_hint
            response, body = simple_response(status, f"{failure}.")
            self._transport.write(self._h1.send_whole(response, body))
            _log.info("Refused a request from %s with %d: %s", self.client, status, failure)
            request = exchange.request if exchange is not None else None
            head = self._h1.failed_head
            self._server.observe(lambda: refusal_of(request, head, status, len(body), self.client))
        self._closing.linger()

    # -- the response --------------------------------------------------------------------

    def send_now(self, exchange: Exchange, response: Response, body: bytes) -> bool:
        """See `Carrier`. In a worker thread: the one thing that it does to a connection.

        For one request at a time that saves a change of threads, which costs more than all the rest
        of it. Only where nothing is in the way:

        1. the socket is plain: OpenSSL wants one thread at a time;
        2. the request is complete, so that what comes meanwhile only fills a buffer;
        3. nobody else waits: the loop writes the answers of a batch in one turn;
        4. no stop has begun, behind which an answer has to say that it is the last.

        The loop hears of it by a note. It finds it before it takes anything more from this client,
        and in its next tick at the latest.
        """
        server, h1, transport = self._server, self._h1, self._transport
        meeting = server.meeting

        def make() -> bytes | None:
            return None if server.is_shut else serialize_whole(exchange, h1, response, body)

        if (
            type(transport) is not SocketTransport
            or h1.receiving is not Receiving.COMPLETE
            or server.pool.waiting
            or (meeting is not None and meeting.is_open)
        ):
            return False
        try:
            rest = transport.send_now(make)
        except LocalProtocolError as error:
            _log.error("%s: the response cannot be sent: %s", exchange, error)
            self.post(functools.partial(self.break_off, exchange))
            return True
        if rest is None:
            return False
        exchange.ended_clock = perf_counter()
        note = functools.partial(self._sent, exchange, rest)
        if rest or not h1.keep_alive:
            self.post(note)
        else:
            server.mailbox.leave(note)
            if not server.pool.is_ticking:  # looked at behind that, see there
                self.post(_nothing)
        return True

    def _sent(self, exchange: Exchange, rest: bytes) -> None:
        """A worker's note: it has sent the answer, all but the rest."""
        if exchange is self.exchange and not self._transport.is_closing():
            if rest:
                self._transport.write(rest)
            self._finish(exchange)

    def _take_notes(self) -> None:
        """A worker may have sent the answer already, behind which this client goes on.

        Not at the end of the server: there the connection may be handed over, with what was read of
        it up to now.
        """
        if not self._server.is_draining:
            self._server.mailbox.deliver()

    @property
    def _is_being_sent(self) -> bool:
        """Whether a worker is in `send_now`, for a moment."""
        transport = self._transport
        return type(transport) is SocketTransport and transport.is_sending

    def flush(self, exchange: Exchange) -> None:
        """Send what the worker has made. Posted by the worker, at most one at a time."""
        if exchange is not self.exchange or self._transport.is_closing():
            return
        sender = self._sender
        if not sender.paused and (whole := exchange.outbox.take_whole()) is not None:
            outcome = sender.write(exchange, whole)  # by far the most
        else:
            if not exchange.status_code and exchange.outbox.begins_stream:
                self._closing.notice_half_close(exchange)
            outcome = sender.flush(exchange)
        if outcome is Outcome.ENDED:
            self._finish(exchange)
            return
        if outcome is Outcome.BROKEN:
            self.break_off(exchange)
        self._watch.note()

    def _finish(self, exchange: Exchange) -> None:
        """The response is out: on to the next request, or to the end of the connection."""
        self._take_exchange()
        self._observe(exchange, complete=True)
        h1 = self._h1
        if h1.keep_alive and h1.receiving is Receiving.COMPLETE:
            self._next_cycle()
            return
        if h1.keep_alive and h1.receiving is not Receiving.CLOSED:
            self._closing.drain_body()
        elif h1.receiving in (Receiving.BODY, Receiving.FAILED) or h1.buffered:
            self._closing.linger()
        else:
            self._transport.close()
        self._watch.note()

    def _next_cycle(self) -> None:
        self._closing.stop_timer()
        if self._server.is_draining and self._closing.hand_over():
            return
        events = self._h1.next_cycle()
        if events or self._h1.failure is not None:
            self._handle(events)
        if self.exchange is None and self._h1.eof and not self._closing.is_lingering:
            self._transport.close()
            return
        self._transport.resume_reading()
        if self._server.is_draining and not self._closing.is_lingering:
            self.close_if_idle()
        if self.exchange is None and self._is_quiet:
            self._watch.rests()
        else:
            self._watch.note()

    @property
    def _is_quiet(self) -> bool:
        """Whether nothing waits to be understood, or to be sent."""
        return not (self._h1.buffered or self._transport.get_write_buffer_size())

    def break_off(self, exchange: Exchange) -> None:
        """End without an end of the message, so that the client knows (RFC 9112 section 8, B56)."""
        if self._transport.is_closing():
            return
        self._take_exchange()
        client_left = exchange.client_left
        exchange.close()
        self._h1.break_off()
        self._observe(exchange, complete=False, client_left=client_left)
        if self._h1.ends_with_close:
            self._closing.reset()
        else:
            self._transport.close()

    def _take_exchange(self) -> Exchange | None:
        """It is this connection's no more."""
        exchange, self.exchange = self.exchange, None
        if self._held:
            self._server.collected.give_back(self._held)
            self._held = 0
        return exchange

    # -- an upgrade ----------------------------------------------------------------------

    def open_tunnel(self, exchange: Exchange, sock: socket.socket) -> None:
        """See `Carrier`. From here on this connection is the tunnel's."""
        if exchange is not self.exchange or self._transport.is_closing():
            sock.close()
            return

        # Its thread is the app's for as long as it likes.
        is_lent = self.lend_thread()

        def end(tunnel: Tunnel) -> None:
            if is_lent:
                self.return_thread()
            self._tunnel = None
            self._observe(exchange, complete=True)
            self._server.roster.discard(tunnel)

        tunnel = Tunnel(self._server.loop, self._transport, sock, exchange, end)
        self._tunnel = tunnel
        self._watch.end()  # the app's, for as long as both like
        self._server.roster.replace(self, tunnel)
        tunnel.start(self._h1.buffered_data)
        if self._server.is_draining:
            tunnel.announce_close()

    def lend_thread(self) -> bool:
        """See `Carrier`: another one takes its place."""
        return self._server.pool.grow()

    def return_thread(self) -> None:
        """See `Carrier`."""
        self._server.pool.shrink()

    def end_tunnel(self) -> None:
        """See `Carrier`."""
        if self._tunnel is not None:
            self._tunnel.end()

    # -- what its server and its watch ask -----------------------------------------------

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        self._transport.get_extra_info("socket").close()

    def announce_close(self) -> None:
        """The server stops: the next response is the last one."""
        if self._is_being_sent:
            # Which says that it is not: the worker has looked whether the server stops before.
            self._server.loop.call_later(MOMENT, self.announce_close)
            return
        self._h1.announce_close()
        if self.exchange is not None and self.exchange.is_event_stream:
            self.exchange.end_stream()

    def secured(self) -> None:
        """The handshake of TLS is finished, whose end the client may not know of yet."""
        self._closing.secured()

    def close_if_idle(self) -> None:
        """See `Member`."""
        self._closing.close_if_idle()

    def cut(self) -> None:
        """End now, whatever is under way."""
        exchange = self._take_exchange()
        if exchange is not None:
            exchange.close()
            self._observe(exchange, complete=exchange.ended)
            self._sender.cut_file()
        self._transport.abort()

    def _observe(self, exchange: Exchange, *, complete: bool, client_left: bool = False) -> None:
        if self._server.is_observed:
            self._server.observe(
                lambda: record_of(exchange, self.client, complete=complete, client_left=client_left)
            )

    def tell_error(self, record: ErrorRecord) -> None:
        """See `Carrier`."""
        if self._server.on_error is not None:
            self._server.on_error(record)

    def phase(self) -> Phase:
        """See `Watched`."""
        exchange = self.exchange
        return phase_of(
            self._h1,
            self._transport,
            is_at_work=exchange is not None and not exchange.ended,
            is_lingering=self._closing.is_lingering,
            is_new=self._watch.is_new,
        )

    def taken(self) -> int:
        """See `Watched`."""
        return self._transport.taken() if isinstance(self._transport, SocketTransport) else 0

    def resting_since(self) -> int | None:
        """See `Member`."""
        rests = self.phase() in (Phase.FIRST_BYTE, Phase.REST)
        return self._watch.since if rests else None

    def give_way(self) -> None:
        """See `Member`."""
        if self.resting_since() is not None:
            self.expire(Phase.REST, None)

    def expire(self, phase: Phase, failure: RemoteProtocolError | None) -> None:
        """See `Watched`."""
        if failure is not None:
            self._h1.give_up(failure)
            self._refuse(failure)
        elif phase is Phase.SEND:
            _log.info(
                "Cut: %s has taken nothing of the answer to %s for %g s (send_timeout)",
                self.client, self.exchange or "its last request", self.send_timeout,
            )  # fmt: skip
            self.cut()
        elif not self._closing.has_unread():
            self._transport.close()


def _nothing() -> None:
    """To be posted: the loop delivers what was left there before."""


def _client_certificate(transport: asyncio.BaseTransport) -> Environ:
    """`SSL_CLIENT_CERT` in PEM, as mod_ssl names it, when the client has shown one (B45)."""
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    if not certificate:
        return {}
    import ssl  # loaded long ago, or this would not be TLS

    return {"SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(certificate)}
