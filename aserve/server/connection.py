"""The shell around `H1Connection`: one asyncio protocol per client.

Everything here runs on the loop thread, but for what `Carrier` says otherwise of. Per connection
one exchange is open at a time; bytes that a pipelining client sends ahead wait in `H1Connection`,
and past a bound in the kernel. Of bodies knows `Intake`, of answers `Answers`, of ends `Closing`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Final, cast

from ..config import ServerConfig
from ..errors import RemoteProtocolError
from ..events import Data, EndOfMessage, ErrorRecord, Event, Request, Response
from ..http.h1 import H1Connection
from ..http.state import Receiving
from ..safe_log import get_logger
from ..types import Environ, WSGIApp
from . import filesend
from .answers import Answers
from .closing import Closing
from .exchange import Exchange
from .identity import identify
from .intake import Intake
from .interfaces import Host
from .membership import Membership
from .patience import Phase, Watch, phase_of
from .records import record_of
from .sender import Sender
from .transport import MOMENT, SocketTransport
from .tunnel import Tunnel

__all__ = ["Connection"]

_log: Final = get_logger("aserve.error")


class Connection(asyncio.Protocol):
    """One client.

    Args:
        server: The server; it knows its connections (`membership`) and runs their exchanges.
    """

    __slots__ = (
        "_answers",
        "_closing",
        "_h1",
        "_intake",
        "_sender",
        "_server",
        "_transport",
        "_tunnel",
        "_watch",
        "app",
        "can_send_files",
        "client",
        "config",
        "environ",
        "exchange",
        "flush",
        "lend_thread",
        "membership",
        "post",
        "return_thread",
        "send_continue",
        "send_now",
    )

    def __init__(self, server: Host) -> None:
        self.config: ServerConfig = server.config
        self._server = server
        self._h1 = H1Connection(self.config, server.clock.date_line)
        self._transport: asyncio.Transport
        self._sender: Sender
        self._intake: Intake
        self._answers: Answers
        self._closing: Closing
        self._watch: Watch
        self.membership: Membership
        self.send_now: Callable[[Exchange, Response, bytes], bool]
        self.flush: Callable[[Exchange], None]
        self.send_continue: Callable[[], None]
        self._tunnel: Tunnel | None = None
        self.exchange: Exchange | None = None
        self.app: WSGIApp = server.app
        self.post: Callable[[Callable[[], object]], None] = server.mailbox.post
        self.lend_thread: Callable[[], bool] = server.pool.grow
        self.return_thread: Callable[[], None] = server.pool.shrink
        self.environ: Environ = {}
        self.client = ""
        self.can_send_files = False

    # -- asyncio.Protocol ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        server, h1 = self._server, self._h1
        self._transport = transport = cast(asyncio.Transport, transport)
        self._sender = sender = Sender(h1, transport, self.config.send_buffer)
        self._closing = Closing(self, server, h1, transport, sender)
        self._intake = Intake(server, transport)
        self._watch = watch = Watch(self, server.patience)
        self._answers = Answers(self, server, h1, transport, sender, self._closing, watch)
        self.send_now = self._answers.send_now
        self.flush = self._answers.flush
        self.send_continue = self._answers.send_continue
        self.can_send_files = filesend.AVAILABLE and transport.get_extra_info("sslcontext") is None
        self.client, environ = identify(transport)
        self.environ = {**server.environ, **environ}
        self.membership = Membership(
            self, server, h1, transport, self._closing, self._answers, watch
        )
        transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        exchange = self.take_exchange()
        self._leave()
        if exchange is not None:
            exchange.close()
            # A cut takes the exchange away before the connection is lost.
            complete = exchange.ended or self._h1.all_sent
            self.observe(exchange, complete=complete, client_left=not complete)

    def _leave(self) -> None:
        self._intake.release()
        self._closing.end()
        self._answers.end()
        self._watch.end()
        self.membership.end()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._closing.is_lingering:
            return
        events = self._h1.receive_data(data)
        if self.exchange is not None and self.exchange.ended:
            # What came is the next request. In the buffer: it must be nowhere else meanwhile.
            self._answers.take_notes()
        self.handle(events)
        self.membership.read()
        self._hold_back()
        if self._h1.receiving is Receiving.COMPLETE and self._is_quiet:
            self._watch.works()
        else:
            self._watch.note(progress=True)

    def buffer_updated(self, size: int) -> None:
        """See `asyncio.BufferedProtocol`: bytes of the body, where `Intake` wants them."""
        exchange = self.exchange
        assert exchange is not None
        if self._h1.received_elsewhere(size):
            self._intake.end(exchange)
            self._watch.works()
        else:
            self._intake.filled(size)
            self._watch.note(progress=True)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`. True keeps our half open for the answer."""
        if self._answers.is_being_sent:
            # By a worker, just now: only behind that is it clear what the client has missed.
            self._server.loop.call_later(MOMENT, self._eof_again)
            return True
        if self.exchange is not None and self.exchange.ended:
            self._answers.take_notes()
        if self._h1.eof and self.exchange is not None:
            return self._transport.can_write_eof()  # that is known already
        return self._closing.half_closed(self.exchange)

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

    # -- from one request to the next ----------------------------------------------------

    def handle(self, events: Iterable[Event]) -> None:
        """See `Carrier`."""
        for event in events:
            kind = type(event)
            exchange = self.exchange
            if kind is Request:
                self.exchange = exchange = Exchange(self, cast(Request, event))
                exchange.client_left = self._h1.eof
                if exchange.request.expect_continue:
                    self._intake.stream(exchange)
            elif kind is Data:
                data = cast(Data, event).data
                if exchange is None or exchange.ended:
                    # The app did not read it, and its answer is out: it is thrown away.
                    self._closing.drained(len(data))
                else:
                    self._intake.feed(exchange, data)
            elif kind is EndOfMessage:
                if exchange is None or exchange.ended:
                    self.next_cycle()
                else:
                    self._intake.end(exchange)
        if self._h1.failure is not None:
            self._refuse(self._h1.failure)

    def _refuse(self, failure: RemoteProtocolError) -> None:
        exchange = self.exchange
        if exchange is None or not exchange.dispatched:
            self._closing.refuse(failure, self.client)
        elif exchange.stream is not None:
            # The application is already at work: it learns of it where it reads.
            exchange.stream.fail(failure)

    def next_cycle(self) -> None:
        """See `Carrier`."""
        self._closing.stop_timer()
        if self._server.is_draining and self.membership.hand_over():
            return
        self._transport.resume_reading()
        events = self._h1.next_cycle()
        if events or self._h1.failure is not None:
            self.handle(events)
        if self.exchange is None and self._h1.eof and not self._closing.is_lingering:
            self._transport.close()
            return
        self._hold_back()
        if self._server.is_draining and not self._closing.is_lingering:
            self.membership.close_if_idle()
        if self.exchange is None and self._is_quiet:
            self._watch.rests()
        else:
            self._watch.note()

    def _hold_back(self) -> None:
        """Leave in the kernel what a client pipelines beyond a bound."""
        if self.exchange is not None and self._h1.buffered > self.config.limit_pipeline:
            self._transport.pause_reading()

    @property
    def _is_quiet(self) -> bool:
        """Whether nothing waits to be understood, or to be sent."""
        return not (self._h1.buffered or self._transport.get_write_buffer_size())

    def take_exchange(self) -> Exchange | None:
        """See `Carrier`."""
        exchange, self.exchange = self.exchange, None
        self._intake.release()
        return exchange

    # -- what an exchange asks -----------------------------------------------------------

    def resume_body(self) -> None:
        """See `Carrier`."""
        if not self._closing.is_lingering:
            self._transport.resume_reading()
            self._watch.note()

    # -- an upgrade ----------------------------------------------------------------------

    def open_tunnel(self, exchange: Exchange, sock: socket.socket) -> None:
        """See `Carrier`. From here on this connection is the tunnel's."""
        if exchange is not self.exchange or self._transport.is_closing():
            sock.close()
            return

        is_lent = self.lend_thread()  # to the app, for as long as it likes

        def end(tunnel: Tunnel) -> None:
            if is_lent:
                self.return_thread()
            self._tunnel = None
            self.observe(exchange, complete=True)
            self._server.roster.discard(tunnel)

        tunnel = Tunnel(self._server.loop, self._transport, sock, exchange, end)
        self._tunnel = tunnel
        self._server.roster.add(tunnel)
        self._leave()
        tunnel.start(self._h1.buffered_data)
        if self._server.is_draining:
            tunnel.announce_close()

    def end_tunnel(self) -> None:
        """See `Carrier`."""
        if self._tunnel is not None:
            self._tunnel.end()

    # -- what its server and its watch ask -----------------------------------------------

    def cut(self) -> None:
        """See `Carrier`."""
        exchange = self.take_exchange()
        if exchange is not None:
            exchange.close()
            self.observe(exchange, complete=exchange.ended)
            self._sender.cut_file()
        self._transport.abort()

    def observe(self, exchange: Exchange, *, complete: bool, client_left: bool = False) -> None:
        """See `Carrier`."""
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

    def expire(self, phase: Phase, failure: RemoteProtocolError | None) -> None:
        """See `Watched`."""
        if failure is not None:
            self._h1.give_up(failure)
            self._refuse(failure)
        elif phase is Phase.SEND:
            _log.info(
                "Cut: %s has taken nothing of the answer to %s for %g s (send_timeout)",
                self.client, self.exchange or "its last request", self.config.send_timeout,
            )  # fmt: skip
            self.cut()
        elif not self.membership.has_unread():
            self._transport.close()
