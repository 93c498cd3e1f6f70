"""The server: accepting, running exchanges, draining, closing.

All on the loop thread, except `shutdown` and the read-only properties, which any thread may use.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from .. import native
from ..config import ServerConfig
from ..errors import LocalProtocolError
from ..events import ErrorRecord, ExchangeRecord
from ..forks import close_in_forks
from ..net.address import port_of, urls_of
from ..safe_log import get_logger
from ..types import Environ, WSGIApp
from ..wsgi.file_wrapper import FileWrapper
from .accepting import Handshake, Listener
from .buffers import Buffers
from .clock import Clock
from .connection import Connection
from .drain import Drain
from .gate import Collected, Gate
from .mailbox import Mailbox
from .meeting import Meeting
from .own_loop import OwnLoop
from .patience import Patience, shortest
from .pool import WorkerPool
from .records import tell
from .report import describe, is_at_prompt
from .roster import Roster
from .state import TRANSITIONS, ServerState
from .transport import SocketTransport
from .wheel import Wheel

if TYPE_CHECKING:
    import ssl

__all__ = ["Server"]

_log: Final = get_logger("aserve.error")


class Server:
    """Serves one WSGI application on some listening sockets.

    Made by `aserve.open_server`, `aserve.serve` and `aserve.run`; also given to them by
    hand. Must be made in a running event loop.

    Args:
        app: The application; called in worker threads only.
        sockets: Listening sockets; the server owns them from here on and closes them.
        config: Limits, threads and grace; host, port and their like are not looked at.
        on_exchange: Called on the loop thread with each finished exchange.
        ssl_context: Speak TLS on all of the sockets.
        ca_pem: What a client has to trust to know the server, in PEM, if that is known.

    Attributes:
        on_error: Called in the worker thread with what the app did wrong; set before the start.
    """

    def __init__(
        self,
        app: WSGIApp,
        sockets: Sequence[socket.socket],
        config: ServerConfig,
        *,
        on_exchange: Callable[[ExchangeRecord], object] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        ca_pem: str | None = None,
    ) -> None:
        self.app = app
        self.config = config
        self.loop = asyncio.get_running_loop()
        self.clock = Clock()
        self.mailbox = Mailbox(self.loop)
        on_empty = functools.partial(self.mailbox.post, lambda: self._drain.pool_is_empty())
        self.pool = WorkerPool(config.threads, self.loop, on_empty, self.mailbox.deliver)
        self.meeting: Meeting | None = None
        self._sockets = tuple(sockets)
        self._scheme = "https" if ssl_context is not None else "http"
        self._urls = urls_of(self._sockets, self._scheme)
        self._port = port_of(self._sockets)
        self._on_exchange = on_exchange
        self._ssl_context = ssl_context
        self._ca_pem = ca_pem
        self._listeners: list[Listener] = []
        self.hand_over: Callable[[socket.socket, bytes], object] | None = None
        self.on_error: Callable[[ErrorRecord], object] | None = None
        self._wheel = Wheel(self.loop, shortest(config), self._needs_time, self._on_turn)
        changed = asyncio.Event()
        self.roster = Roster(self.loop, self._wheel, config.limit_connections, changed.set)
        self._drain: Drain = Drain(self.loop, self.roster, self.pool, self.mailbox, changed)
        self.patience = Patience(config, self._wheel)
        self.gate = Gate(self.mailbox.post)
        self.collected = Collected()
        self.buffers = Buffers()
        self._state = ServerState.STARTING
        self.is_shut = False
        self._drain_task: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._closed_flag = native.threading.Event()  # the same, for other threads
        self.environ: Environ = self._environ_template()

    def _environ_template(self) -> Environ:
        """What is the same in every request (PEP 3333, B46)."""
        return {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": self._scheme,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self.config.threads > 1,
            "wsgi.multiprocess": self.config.processes > 1,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            # The end of wsgi.input is the end of the body, chunked or not (B38).
            "wsgi.input_terminated": True,
            "SERVER_SOFTWARE": "aserve",
            "aserve.server": self,
            "werkzeug.server.shutdown": self.shutdown,
            **({"HTTPS": "on"} if self._ssl_context is not None else {}),
        }

    # -- what users see ------------------------------------------------------------------

    @property
    def state(self) -> ServerState:
        """Where in its life the server is."""
        return self._state

    @property
    def is_draining(self) -> bool:
        """Whether the end has begun."""
        return self._state is ServerState.DRAINING or self._state is ServerState.CLOSED

    @property
    def url(self) -> str:
        """The first URL, e.g. `http://127.0.0.1:8000`."""
        return self._urls[0]

    @property
    def urls(self) -> list[str]:
        """One URL for each socket."""
        return list(self._urls)

    @property
    def port(self) -> int:
        """The TCP port; 0 when there are only Unix sockets."""
        return self._port

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets; do not close them."""
        return self._sockets

    @property
    def ca_pem(self) -> str | None:
        """The certificate of who vouches for the server, in PEM.

        None for plain HTTP, and when the server was given an `ssl.SSLContext`, which does not tell.
        """
        return self._ca_pem

    def ssl_context_for_clients(self) -> ssl.SSLContext:
        """A context for a client: it accepts this server, and checks its name.

        It trusts nobody else, unless `ca_pem` is None: then it trusts whom this machine trusts.
        """
        from ..net.tls import client_context  # a Python may have been built without it

        return client_context(self._ca_pem)

    def start(self) -> None:
        """Begin to accept. Returns at once: a connection made from now on is served.

        Raises:
            LocalProtocolError: It was started before.
        """
        self._move("start")
        close_in_forks(self)
        if isinstance(self.loop, OwnLoop):
            self.meeting = Meeting(self.pool, self.mailbox)
            self.loop.before_sleep = self.meeting.meet
        self._listeners = [Listener(self, sock, self._ssl_context) for sock in self._sockets]
        for listener in self._listeners:
            listener.start()

    def shutdown(
        self,
        grace: float | None = None,
        *,
        hand_over: Callable[[socket.socket, bytes], object] | None = None,
    ) -> None:
        """Begin to stop: accept nothing more, finish what runs, then close. Any thread.

        Returns at once; `wait_closed` waits. A second call can only shorten the grace.

        Args:
            grace: Seconds that running requests may take; None for the configured one. At
                its end they are named in the log and cut.
            hand_over: Called on the loop thread with each connection that is at rest, or comes
                to rest, and with what was read of its next request; it owns the socket then.
                Whoever still waits to be let in is left to the one who listens on the same
                sockets. With TLS only who has said nothing yet: what TLS knows of the others cannot
                be moved, and they are closed.
        """
        self.is_shut = True
        # By the mailbox, which keeps the order of a thread: an app that calls this and then
        # answers gets its answer out as the last one.
        self.mailbox.post(lambda: self._begin_drain(grace, hand_over))

    async def wait_closed(self) -> None:
        """Wait until the server is closed; does not make it close. Any loop, and trio."""
        if self._is_at_home():
            await self._closed.wait()
        else:
            import anyio.to_thread

            await anyio.to_thread.run_sync(self._closed_flag.wait, abandon_on_cancel=True)

    async def aclose(self, grace: float | None = None) -> None:
        """`shutdown` and `wait_closed` in one. Idempotent. Any loop, and trio."""
        if self._is_at_home():
            self._begin_drain(grace)
        else:
            self.shutdown(grace)
        await self.wait_closed()

    def is_in_app(self) -> bool:
        """Whether the caller runs in one of the worker threads, so for a request. Any thread."""
        me = native.threading.get_ident()
        return any(running.thread_id == me for running in self.pool.running())

    def _is_at_home(self) -> bool:
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def adopt(self, sock: socket.socket, data: bytes) -> None:
        """Take a connection over from another process; see `shutdown`. Loop thread.

        Args:
            sock: The connection, at rest; owned from here on.
            data: What was read of its next request.
        """
        sock.setblocking(False)
        try:
            peername = sock.getpeername()
        except OSError:  # the client has left meanwhile
            sock.close()
            return
        if self._ssl_context is not None:
            handshake = Handshake(self, sock, peername, self._ssl_context)
            self.roster.add(handshake)
            handshake.adopted(data)
            return
        connection = Connection(self)
        connection.connection_made(SocketTransport(self.loop, sock, peername, connection))
        connection.membership.adopted(data)

    def _needs_time(self) -> bool:
        """Whether the wheel has to turn: a server at rest has no timer."""
        return self._state is not ServerState.CLOSED and bool(self.roster or self.pool.size)

    def _on_turn(self) -> None:
        """Say which requests are stuck; each once."""
        after = self.config.stuck_after
        if not after:
            return
        for running in self.pool.running():
            if running.seconds < after:
                break
            if not is_at_prompt(running.thread_id) and running.job.is_stuck():
                _log.warning("Still at work, with nothing answered yet: %s", describe(running))

    @property
    def is_observed(self) -> bool:
        """Whether `observe` leads anywhere."""
        return self._on_exchange is not None

    def observe(self, make_record: Callable[[], ExchangeRecord]) -> None:
        """Tell the observer of an exchange; without one, nothing is made."""
        if self._on_exchange is not None:
            tell(self._on_exchange, make_record)

    # -- stopping ------------------------------------------------------------------------

    def _move(self, event: str) -> None:
        try:
            self._state = TRANSITIONS[self._state, event]
        except KeyError:
            raise LocalProtocolError(f"{event} while the server is {self._state.value}") from None

    def _begin_drain(
        self,
        grace: float | None,
        hand_over: Callable[[socket.socket, bytes], object] | None = None,
    ) -> None:
        if grace is None:
            grace = self.config.grace
        if self._state is ServerState.STARTING:
            self._close_sockets()
            self.pool.close()
            self._set_closed()
        elif self._state is ServerState.SERVING:
            self._move("shutdown")
            self.is_shut = True
            if hand_over is not None:
                self._close_sockets()
                self.hand_over = hand_over
            # Here and not in the task: an answer that is made behind `shutdown` says `close`.
            self.roster.announce_close()
            self._drain_task = self.loop.create_task(self._end(grace))
        elif self._state is ServerState.DRAINING:
            self.loop.call_later(grace, self._drain.cut, "Cut, as asked again")

    def _set_closed(self) -> None:
        self._wheel.stop()
        if isinstance(self.loop, OwnLoop) and self.meeting is not None:
            self.loop.before_sleep = None
        self._move("closed")
        self._closed.set()
        self._closed_flag.set()

    async def _end(self, grace: float) -> None:
        try:
            await self._drain.run(grace, self._listeners, self._close_sockets)
        finally:
            self._close_sockets()
            self._set_closed()

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        for sock in self._sockets:
            sock.close()
        for connection in self.roster:
            connection.close_in_fork()

    def _close_sockets(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for sock in self._sockets:
            sock.close()
