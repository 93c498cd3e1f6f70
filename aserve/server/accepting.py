"""New connections: accepted and, for TLS, brought through the handshake.

Both are jobs of the pool where there is a poller: the worker that watches takes a connection out
of the backlog and goes on with it at once, since the request has often come already. The
loop does the same when all threads are busy, at the end of the server, and where there is no
poller.

Who owns what. A listening socket is never closed under an `accept`: both hold its lock. A
handshake is owned like a connection at rest, see `aserve.server.direct`: by the poller, by the
worker that took it from there, or by the loop (`_home`), which looks after those that are still
under way when the server stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from .. import native
from ..hosts import HostCheck
from ..safe_log import get_logger
from .connection import Connection
from .interfaces import Host, Member
from .job import Job
from .transport import SocketTransport

if TYPE_CHECKING:
    import ssl  # a Python may have been built without it

__all__ = ["PAUSE", "Handshake", "Listener"]

_log: Final = get_logger("aserve.error")

# Connections accepted at a time, so that a burst does not starve the others.
_BATCH: Final = 16
# How long a process leaves connections to the others when all of its threads are busy.
_OTHERS_SECONDS: Final = 0.01

# trio's figure: out of descriptors, trying again at once would spin, and one usually comes
# back within moments.
PAUSE: Final = 0.1

# The first byte of a client that speaks TLS (RFC 8446 section 5.1); no method begins with it.
_HANDSHAKE: Final = b"\x16"

# There an accepted socket has the option of the listening one.
_NODELAY_IS_INHERITED: Final = sys.platform == "linux"


class Listener:
    """A listening socket, owned and closed by it. A job of the pool: somebody waits to be let in.

    Args:
        server: The server.
        sock: The socket.
        context: Speak TLS.
    """

    __slots__ = (
        "_closed",
        "_complained",
        "_context",
        "_lock",
        "_server",
        "_sock",
        "fd",
        "registered",
    )

    can_wait = False

    def __init__(self, server: Host, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self._server = server
        self._sock = sock
        self._context = context
        self._lock = native.threading.Lock()
        self._closed = False
        self._complained = False  # since the backlog was empty last
        self.fd = sock.fileno()
        self.registered = False
        sock.setblocking(False)
        if _NODELAY_IS_INHERITED:
            _send_at_once(sock)
        if server.config.processes > 1 and hasattr(socket, "TCP_DEFER_ACCEPT"):
            # Whoever has let in a client that has said nothing yet has a thread to spare, and lets
            # in the next: both would then wait for one process while another is free. tcp(7)
            with contextlib.suppress(OSError):  # a Unix socket has none
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)

    def __str__(self) -> str:
        return "accepting connections"

    # -- loop thread ---------------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept, or go on with it."""
        poller = self._server.poller
        with self._lock:
            if self._closed:
                return
            if poller is not None:
                poller.park(self)
            else:
                self._server.loop.add_reader(self.fd, self.drop)

    def accept_all(self, jobs: list[Job]) -> bool:
        """Empty the backlog; what is added to `jobs` has to be run or dropped.

        Returns:
            False when it cannot be emptied for now.
        """
        try:
            while self._accept_one(jobs):
                pass
        except OSError as error:
            self._complain(error)
            return False
        return True

    def close(self) -> None:
        """Accept nothing any more."""
        with self._lock:  # held for one `accept` at most
            self._closed = True
            if self._server.poller is not None:
                self._server.poller.forget(self)
            else:
                self._server.loop.remove_reader(self.fd)
            self._sock.close()

    def overdue(self) -> None:
        """See `Job`."""

    def is_stuck(self) -> bool:
        """See `Job`."""
        return False

    def is_over(self) -> bool:
        """See `Job`."""
        return False

    def drop(self) -> None:
        """See `Job`: all threads are busy, so the loop does it."""
        jobs: list[Job] = []
        most = self._most(0)
        if not most:
            self._pause(_OTHERS_SECONDS)
            return
        if self._accept_some(jobs, most) and self._server.poller is not None:
            self.start()
        for job in jobs:
            job.drop()

    def _most(self, mine: int) -> int:
        """How many to let in at once: no more than there are threads, if others have some, too.

        Args:
            mine: Whether the thread that asks is one of them: 1, or 0.
        """
        if self._server.config.processes == 1:
            return _BATCH
        return min(_BATCH, self._server.pool.spare + mine)

    def _pause(self, seconds: float = PAUSE) -> None:
        if self._server.poller is None:
            self._server.loop.remove_reader(self.fd)
        self._server.loop.call_later(seconds, self.start)

    def _wait_for_room(self) -> None:
        # What makes room is closed in the next turn.
        self._pause(0.0 if self._server.make_room() else PAUSE)

    # -- worker thread -------------------------------------------------------------------

    def run(self) -> None:
        """See `Job`."""
        jobs: list[Job] = []
        goes_on = self._accept_some(jobs, self._most(1))
        self._server.pool.add(jobs)
        if goes_on:
            self.start()

    # -- both ----------------------------------------------------------------------------

    def _accept_some(self, jobs: list[Job], most: int) -> bool:
        """False when it has to pause."""
        try:
            for count in range(most):
                if self._server.is_full:
                    if count:
                        break  # perhaps nobody else waits
                    self._server.mailbox.post(self._wait_for_room)
                    return False
                if not self._accept_one(jobs):
                    break
        except OSError as error:
            # Out of descriptors, most likely; but accept(2) has many errors that are of a single
            # client or of the network, and after none of them may the server stay deaf.
            self._complain(error)
            self._server.mailbox.post(self._pause)
            return False
        return True

    def _complain(self, error: OSError) -> None:
        """Once, and not with each try."""
        if not self._complained:
            self._complained = True
            _log.error(
                "Cannot accept connections for now: %s; trying again every %g s",
                error.strerror,
                PAUSE,
            )

    def _accept_one(self, jobs: list[Job]) -> bool:
        """Take one connection from the backlog; False when there is none."""
        with self._lock:
            if self._closed:
                return False
            try:
                sock, peername = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                self._complained = False
                return False
            except ConnectionAbortedError:
                return True  # this one has left; behind it others may wait
            job = self._welcome(sock, peername)
        if job is not None:
            jobs.append(job)
        return True

    def _welcome(self, sock: socket.socket, peername: Any) -> Job | None:
        sock.setblocking(False)
        if not _NODELAY_IS_INHERITED:
            _send_at_once(sock)
        if self._context is None:
            connection = Connection(self._server)
            connection.connection_made(
                SocketTransport(self._server.loop, sock, peername, connection)
            )
            return connection.direct
        handshake = Handshake(self._server, sock, peername, self._context)
        self._server.add(handshake)
        return handshake


def _send_at_once(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # a Unix socket has none, a client may have left
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Handshake(Member):
    """A new connection until TLS is set up.

    A member of its server, a job of the pool, and `Timed`: it is filed in the wheel until it ends.

    A client that speaks plain HTTP gets a connection without TLS, and is told where to go, or
    served with the option `http_too`.

    Args:
        server: The server.
        sock: The accepted socket; owned until the handshake is done.
        peername: Its other end.
        context: With a certificate.
    """

    __slots__ = (
        "_channel",
        "_cut_due",
        "_home",
        "_is_plain",
        "_peername",
        "_server",
        "_since",
        "_sock",
        "due",
        "fd",
        "registered",
    )

    can_wait = False

    def __init__(
        self, server: Host, sock: socket.socket, peername: Any, context: ssl.SSLContext
    ) -> None:
        from .tls import TLSSocket

        self._server = server
        self._sock = sock
        self._peername = peername
        self._channel = TLSSocket(sock, context)
        self._home = False
        self._cut_due = False
        self._is_plain = False
        self.fd = sock.fileno()
        self.registered = False
        wheel = server.patience.wheel
        self._since = wheel.now
        self.due = -1
        wheel.file(self, server.patience.handshake)

    def __str__(self) -> str:
        return f"a TLS handshake with {self._peername}"

    # -- worker thread -------------------------------------------------------------------

    def run(self) -> None:
        """See `Job`: the client has said something, or may have."""
        try:
            done = self._step()
        except OSError as error:
            self._server.mailbox.post(functools.partial(self._fail, error))
            return
        if done and not self._cut_due:
            direct = self._become_connection().direct
            assert direct is not None  # there is a poller
            direct.run()
        else:
            self._park()

    # -- loop thread ---------------------------------------------------------------------

    def drop(self) -> None:
        """See `Job`: the loop goes on with it."""
        if self._cut_due:
            self._end()
            return
        try:
            done = self._step()
        except OSError as error:
            self._fail(error)
            return
        if not done:
            if not self._home:
                self._park()
            return
        if self._home:
            self._server.loop.remove_reader(self.fd)
        connection = self._become_connection()
        if connection.direct is not None:
            connection.direct.drop()
        if self._server.is_draining:
            connection.close_if_idle()  # which waits for the request behind a handshake

    def overdue(self) -> None:
        """See `Job`."""

    def is_stuck(self) -> bool:
        """See `Job`."""
        return False

    def is_over(self) -> bool:
        """See `Job`."""
        return False

    def look(self, now: int) -> int:
        """See `Timed`: its time is not prolonged by what comes."""
        turns = self._server.patience.handshake
        if not turns:
            return 0
        if self._since + turns > now:
            return self._since + turns - now
        if not (self._home or self._reclaim()):
            return 1
        self._fail("it took too long (handshake_timeout)")
        return 0

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        self._sock.close()

    def announce_close(self) -> None:
        """See `Member`: from here on it is the loop's."""
        if not self._home and self._reclaim():
            self._come_home()

    def close_if_idle(self) -> None:
        """See `Member`: closes when the client has said nothing, or leaves it to the next."""
        if not self._home or not self._channel.mute:
            return
        give = self._server.hand_over
        if give is not None:
            self._server.loop.remove_reader(self.fd)
            if self._server.poller is not None:
                self._server.poller.forget(self)
            self._leave()
            give(self._sock, b"")
        elif not self._has_unread():
            self._end()

    def adopted(self, data: bytes) -> None:
        """Another process has accepted it, and has read `data`, which is then no TLS."""
        if not data:
            self._park()
            return
        self._is_plain = True
        self._become_connection().adopted(data)

    def resting_since(self) -> None:
        """See `Member`: it has little time anyway."""
        return

    def give_way(self) -> None:
        """See `Member`."""

    def cut(self) -> None:
        """See `Member`."""
        if self._home or self._reclaim():
            self._end()
        else:
            self._cut_due = True  # whoever has it gives it back in a moment

    @property
    def arriving(self) -> None:
        """See `Member`."""
        return None

    def _come_home(self) -> None:
        self._home = True
        self._server.loop.add_reader(self.fd, self.drop)
        if self._cut_due:
            self._end()
        elif self._server.is_draining:
            self.close_if_idle()

    def _fail(self, reason: object) -> None:
        _log.debug("A TLS handshake with %s failed: %s", self._peername, reason)
        self._end()

    def _end(self) -> None:
        if self._home:
            self._server.loop.remove_reader(self.fd)
        self._sock.close()
        self._leave()

    def _leave(self) -> None:
        self._server.patience.wheel.forget(self)
        self._server.discard(self)

    # -- both ----------------------------------------------------------------------------

    def _step(self) -> bool:
        """Go on; True when it is done, or when the client does not want one."""
        try:
            if self._channel.mute:
                self._is_plain = self._channel.recv(1, socket.MSG_PEEK) not in (_HANDSHAKE, b"")
            return self._is_plain or self._channel.handshake()
        except (BlockingIOError, InterruptedError):
            return False

    def _park(self) -> None:
        poller = self._server.poller
        if poller is None or not poller.park(self):
            self._server.mailbox.post(self._come_home)

    def _reclaim(self) -> bool:
        poller = self._server.poller
        return poller is not None and poller.reclaim(self)

    def _has_unread(self) -> bool:
        try:
            return bool(self._channel.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _become_connection(self) -> Connection:
        from .tls import TLSTransport, refer_to_https

        connection = Connection(self._server)
        loop: asyncio.AbstractEventLoop = self._server.loop
        if self._is_plain:
            config = self._server.config
            if not config.http_too:
                # Around the app there is a check of its own.
                hosts = config.allowed_hosts
                connection.app = HostCheck(refer_to_https, hosts) if hosts else refer_to_https
            connection.connection_made(
                SocketTransport(loop, self._sock, self._peername, connection)
            )
            connection.environ["wsgi.url_scheme"] = "http"
            connection.environ.pop("HTTPS", None)
        else:
            connection.connection_made(
                TLSTransport(loop, self._sock, self._peername, connection, self._channel)
            )
            connection.secured()
        if connection.direct is not None:
            connection.direct.registered = self.registered  # the same descriptor
        self._server.patience.wheel.forget(self)
        self._server.replace(self, connection)
        return connection
