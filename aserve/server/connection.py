"""The shell around `H1Connection`: one asyncio protocol per client.

Everything here runs on the loop thread, but for `send_now`. Per connection one exchange is open at
a time; the bytes that a pipelining client sends ahead wait in `H1Connection`, and past a bound in
the kernel.

Ends of a connection:
- the client closes, or the last response allows no other: closed when it is written out;
- the client may still be sending (a refused request, an unread body): the sending half is
  closed first and what comes is thrown away for a while, because closing a socket with
  unread bytes makes the kernel reset it, and the client would lose the answer
  (RFC 9112 section 9.6);
- a response breaks midway: the connection is closed without an end of the message, and
  reset where the end of the connection would have looked like one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import socket
import struct
from collections.abc import Callable
from time import perf_counter, time
from typing import Final, cast

from ..errors import LocalProtocolError, RemoteProtocolError
from ..events import Data, EndOfMessage, ErrorRecord, Event, ExchangeRecord, Request, Response
from ..http.h1 import H1Connection
from ..http.response import simple_response
from ..http.state import Receiving, Sending
from ..net.address import peer_of
from ..safe_log import get_logger
from ..types import Environ, WSGIApp
from . import filesend
from .exchange import Exchange
from .interfaces import Host
from .patience import Phase, Watch
from .sender import Outcome, Sender, serialize_whole
from .transport import SocketTransport, waiting_in_kernel
from .tunnel import Tunnel

__all__ = ["DOUBT_SECONDS", "LINGER_SECONDS", "Connection"]

_log: Final = get_logger("aserve.error")

# nginx's lingering_timeout: how long a client may go on sending after the last answer.
LINGER_SECONDS: Final = 5.0

# How long nothing may be sent to a client that has closed its half in the middle of an answer. A
# program that only says "that was all" does so at once, and a quick answer has begun by then.
DOUBT_SECONDS: Final = 0.1

# At the end of a server, how long a client that has just finished its handshake may take to send
# its first request.
FIRST_REQUEST_SECONDS: Final = 0.05
# At a reload nobody waits for that end, and a machine that is busy with it may stall the client.
FIRST_REQUEST_AT_RELOAD_SECONDS: Final = 1.0


class Connection(asyncio.Protocol):
    """One client.

    Args:
        server: The server; it knows its connections and runs their exchanges.
    """

    __slots__ = (
        "_close_after_read",
        "_drained",
        "_h1",
        "_is_expected",
        "_linger_timer",
        "_lingering",
        "_secured_at",
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
        self._close_after_read = False
        self._is_expected = False
        self._secured_at = -math.inf  # when a handshake of TLS was finished
        self._tunnel: Tunnel | None = None
        self.exchange: Exchange | None = None
        self._drained = 0  # bytes of an unread body thrown away
        self._lingering = False
        self._linger_timer: asyncio.TimerHandle | None = None
        # What an exchange uses from its worker thread; none of these change.
        self.app: WSGIApp = server.app
        self.post: Callable[[Callable[[], object]], None] = server.mailbox.post
        self.high_water: int = config.send_buffer
        self.low_water: int = config.send_buffer // 2
        self.send_timeout: float = config.send_timeout
        self.environ: Environ = {}
        self.client = ""
        self.can_send_files = False
        self._watch: Watch

    @property
    def arriving(self) -> Exchange | None:
        """The exchange whose body is still being collected, so that no thread has it yet."""
        exchange = self.exchange
        return exchange if exchange is not None and not exchange.dispatched else None

    # -- asyncio.Protocol ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._sender = Sender(self._h1, self._transport, self._server.config.send_buffer)
        peer = peer_of(transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
        self.client = peer.remote_addr
        self.can_send_files = filesend.AVAILABLE and transport.get_extra_info("sslcontext") is None
        self.environ = {
            **self._server.environ,
            **peer.as_environ(),
            **_client_certificate(transport),
        }
        self._watch = Watch(self, self._server.patience)
        self._server.add(self)
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.close()
            # A cut takes the exchange away before the connection is lost.
            complete = exchange.ended or self._h1.all_sent
            self._observe(exchange, complete=complete, client_left=not complete)
        self._sender.abandon()
        self._watch.end()
        self._server.discard(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.exchange is not None and self.exchange.ended:
            self._take_notes()
        if self._lingering:
            return
        self._handle(self._h1.receive_data(data))
        if self._close_after_read:
            self._close_after_read = False
            self.close_if_idle()
        if self.exchange is not None and self._h1.buffered > self._server.config.limit_pipeline:
            self._transport.pause_reading()
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
        if self.exchange is not None and self.exchange.ended:
            self._take_notes()
        if self._h1.eof and self.exchange is not None:
            return self._transport.can_write_eof()  # that is known already
        cut = self._h1.receive_eof()
        exchange = self.exchange
        if exchange is None or self._lingering:
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
            self._doubt(exchange)
        return self._transport.can_write_eof()

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
            self._drained += len(data)
            if self._drained > self._server.config.drain_body:
                self._linger()
        elif exchange.stream is not None:
            if not exchange.stream.feed(data):
                self._transport.pause_reading()
        elif exchange.collect(data) > self._server.config.body_buffer:
            self._dispatch_streaming(exchange)

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
        exchange.start_stream(self._server.config.body_buffer)
        self._dispatch(exchange)

    def _dispatch(self, exchange: Exchange) -> None:
        exchange.dispatched = True
        self._server.pool.submit(exchange)

    def resume_body(self) -> None:
        """The application has read what was buffered."""
        if not self._lingering:
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
        self.exchange = None
        if self._h1.sending in (Sending.IDLE, Sending.PENDING):
            status = failure.status_hint
            response, body = simple_response(status, f"{failure}.")
            self._transport.write(self._h1.send_whole(response, body))
            _log.info("Refused a request from %s with %d: %s", self.client, status, failure)
            now = time()
            self._server.observe(
                lambda: ExchangeRecord(
                    request=exchange.request if exchange is not None else None,
                    raw_head=self._h1.failed_head,
                    status_code=status,
                    body_sent=len(body),
                    started_at=now,
                    duration=0.0,
                    client=self.client,
                    complete=True,
                )
            )
        self._linger()

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
            self._watch.note()

    def _take_notes(self) -> None:
        """A worker may have sent the answer already, behind which this client goes on.

        Not at the end of the server: there the connection may be handed over, with what was read of
        it up to now.
        """
        if not self._server.is_draining:
            self._server.mailbox.deliver()

    def flush(self, exchange: Exchange) -> None:
        """Send what the worker has made. Posted by the worker, at most one at a time."""
        if exchange is not self.exchange or self._transport.is_closing():
            return
        if exchange.begins_stream:
            self._notice_half_close(exchange)
        outcome = self._sender.flush(exchange)
        if outcome is Outcome.ENDED:
            self._finish(exchange)
        elif outcome is Outcome.BROKEN:
            self.break_off(exchange)
        self._watch.note()

    def _notice_half_close(self, exchange: Exchange) -> None:
        """The client may have closed its half behind the request, and nobody has read that yet.

        Once the answer has begun that would look as if it had left in the middle.
        """
        complete = self._h1.receiving is Receiving.COMPLETE and not self._h1.buffered
        if complete and not self._h1.eof and self._has_ended():
            self._h1.receive_eof()
            exchange.client_left = True

    def _has_ended(self) -> bool:
        transport = self._transport
        return isinstance(transport, SocketTransport) and transport.has_ended()

    def _doubt(self, exchange: Exchange, sent: int = -1) -> None:
        """The client has closed its half in the middle of the answer: see whether it has left.

        The kernel of one that has left refuses what is sent to it, and the connection breaks. So
        one that takes what is sent is still there; but nothing can be asked while nothing is sent.
        """
        if exchange is not self.exchange or self._transport.is_closing():
            return
        is_sending = self._transport.get_write_buffer_size() or self._sender.is_lent_to_a_file
        if exchange.sent == sent and not is_sending and not self._is_waited_for():
            exchange.close()
            self._transport.abort()
            return
        again = functools.partial(self._doubt, exchange, exchange.sent)
        self._server.loop.call_later(DOUBT_SECONDS, again)

    def _is_waited_for(self) -> bool:
        """Whether the kernel still has something for the client."""
        return waiting_in_kernel(self._transport.get_extra_info("socket").fileno()) > 0

    def _finish(self, exchange: Exchange) -> None:
        """The response is out: on to the next request, or to the end of the connection."""
        self.exchange = None
        self._observe(exchange, complete=True)
        h1 = self._h1
        if not h1.keep_alive or h1.receiving is Receiving.CLOSED:
            if h1.receiving is Receiving.BODY or h1.receiving is Receiving.FAILED or h1.buffered:
                self._linger()
            else:
                self._transport.close()
        elif h1.receiving is Receiving.COMPLETE:
            self._next_cycle()
        else:
            # Throw away what the application left of the body, bounded in size and time (B54).
            self._drained = 0
            self._linger_timer = self._server.loop.call_later(LINGER_SECONDS, self._linger)
            self._transport.resume_reading()

    def _next_cycle(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        if self._server.is_draining and self._hand_over():
            return
        if self._server.is_draining and not self._h1.buffered:
            if not self._has_unread():
                self._transport.close()
                return
            self._close_after_read = True
        self._handle(self._h1.next_cycle())
        if self.exchange is None and self._h1.eof and not self._lingering:
            self._transport.close()
        else:
            self._transport.resume_reading()
            self._watch.note()

    def break_off(self, exchange: Exchange) -> None:
        """End without an end of the message, so that the client knows (RFC 9112 section 8, B56)."""
        if self._transport.is_closing():
            return
        self.exchange = None
        client_left = exchange.client_left
        exchange.close()
        self._h1.break_off()
        self._observe(exchange, complete=False, client_left=client_left)
        if self._h1.ends_with_close:
            self._reset()
        else:
            self._transport.close()

    def _reset(self) -> None:
        """Close with a reset: bytes that are still buffered are lost, on purpose."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

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
            self._server.discard(tunnel)

        tunnel = Tunnel(self._server.loop, self._transport, sock, exchange, end)
        self._tunnel = tunnel
        self._watch.end()  # the app's, for as long as both like
        self._server.replace(self, tunnel)
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

    # -- the end -------------------------------------------------------------------------

    def _linger(self) -> None:
        """Close our half, throw away what still comes, then close (RFC 9112 section 9.6)."""
        if self._lingering:
            return
        self._lingering = True
        self.exchange = None
        if self._transport.is_closing():
            return
        if self._h1.eof:  # nothing more can come
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._linger_timer = self._server.loop.call_later(LINGER_SECONDS, self._transport.abort)

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        self._transport.get_extra_info("socket").close()

    def announce_close(self) -> None:
        """The server stops: the next response is the last one."""
        if isinstance(self._transport, SocketTransport) and self._transport.is_sending:
            # A worker just says that it is not: it has looked whether the server stops, before.
            self._server.loop.call_soon(self.announce_close)
            return
        self._h1.announce_close()
        if self.exchange is not None and self.exchange.is_event_stream:
            self.exchange.end_stream()

    def secured(self) -> None:
        """The handshake of TLS is finished, whose end the client may not know of yet."""
        self._secured_at = perf_counter()

    def _expect_first(self) -> None:
        self._is_expected = True
        self._secured_at = -math.inf  # one time
        self._server.loop.call_later(self._first_seconds, self._expect_no_more)

    @property
    def _first_seconds(self) -> float:
        is_reload = self._server.hand_over is not None
        return FIRST_REQUEST_AT_RELOAD_SECONDS if is_reload else FIRST_REQUEST_SECONDS

    def _expect_no_more(self) -> None:
        self._is_expected = False
        self.close_if_idle()

    def close_if_idle(self) -> None:
        """Close now when no request is open, else after its response.

        Half a head is no request yet: its sender has been promised nothing.
        """
        if self.exchange is not None or self._is_expected or self._hand_over():
            return
        if self._is_new():
            # Its first request may be on the way, and nobody else can take a session of TLS.
            self._expect_first()
        elif self._has_unread():
            # It was sent before the client could know of the end, so it is answered.
            self._close_after_read = True
        else:
            self._transport.close()

    def _is_new(self) -> bool:
        """Whether a client of TLS has finished its handshake just before the end."""
        age = perf_counter() - self._secured_at
        return age < self._first_seconds and self._h1.is_unused

    def _hand_over(self) -> bool:
        """Give the connection to another process, if there is one that takes it.

        Between two requests only. What was read of the next one goes along.
        """
        give, transport, h1 = self._server.hand_over, self._transport, self._h1
        if (
            give is None
            or type(transport) is not SocketTransport
            or self.exchange is not None
            or h1.receiving not in (Receiving.HEAD, Receiving.COMPLETE)
            or h1.eof
            or self._lingering
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            return False
        give(transport.detach(), h1.buffered_data)
        self.connection_lost(None)
        return True

    def _has_unread(self) -> bool:
        transport = self._transport
        return isinstance(transport, SocketTransport) and transport.has_unread()

    def cut(self) -> None:
        """End now, whatever is under way."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.close()
            self._observe(exchange, complete=exchange.ended)
            self._sender.cut_file()
        self._transport.abort()

    def _observe(self, exchange: Exchange, *, complete: bool, client_left: bool = False) -> None:
        self._server.observe(
            lambda: self.make_record(exchange, complete=complete, client_left=client_left)
        )

    def tell_error(self, record: ErrorRecord) -> None:
        """See `Carrier`."""
        if self._server.on_error is not None:
            self._server.on_error(record)

    def make_record(
        self, exchange: Exchange, *, complete: bool, client_left: bool = False
    ) -> ExchangeRecord:
        """What happened in an exchange, for the observer. Any thread."""
        return ExchangeRecord(
            request=exchange.request,
            raw_head=b"",
            status_code=exchange.status_code,
            body_sent=exchange.sent,
            started_at=exchange.started_at,
            duration=(exchange.ended_clock or perf_counter()) - exchange.started_clock,
            client=self.client,
            complete=complete,
            client_left=client_left,
        )

    # -- how long the client may take, see aserve.server.patience -------------------------

    def phase(self) -> Phase:
        """See `Watched`."""
        h1, exchange = self._h1, self.exchange
        if self._transport.get_write_buffer_size():
            return Phase.SEND
        if self._lingering or self._transport.is_closing():
            return Phase.NOTHING  # that has a time of its own
        if exchange is not None and not exchange.ended:
            is_waited_for = (
                h1.receiving is Receiving.BODY
                and self._transport.is_reading()
                and not h1.is_holding_back
            )
            return Phase.BODY if is_waited_for else Phase.NOTHING
        if h1.receiving is not Receiving.HEAD:
            return Phase.NOTHING
        if h1.buffered:
            return Phase.HEAD
        return Phase.FIRST_BYTE if self._watch.is_new else Phase.REST

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
        elif not self._has_unread():
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
