"""New connections: accepted and, for TLS, brought through the handshake. Loop thread.

What a client says first has often come by the time that it is let in, so it is read at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from ..hosts import HostCheck
from ..safe_log import get_logger
from .connection import Connection
from .interfaces import Host
from .roster import Member
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
    """A listening socket, owned and closed by it. Loop thread.

    Args:
        server: The server.
        sock: The socket.
        context: Speak TLS.
    """

    __slots__ = ("_closed", "_complained", "_context", "_fd", "_server", "_sock")

    def __init__(self, server: Host, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self._server = server
        self._sock = sock
        self._context = context
        self._closed = False
        self._complained = False  # since the backlog was empty last
        self._fd = sock.fileno()
        sock.setblocking(False)
        if _NODELAY_IS_INHERITED:
            _send_at_once(sock)
        if server.config.processes > 1 and hasattr(socket, "TCP_DEFER_ACCEPT"):
            # Whoever has let in a client that has said nothing yet has a thread to spare, and lets
            # in the next: both would then wait for one process while another is free. tcp(7)
            with contextlib.suppress(OSError):  # a Unix socket has none
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)

    def start(self) -> None:
        """Begin to accept, or go on with it."""
        if not self._closed:
            self._server.loop.add_reader(self._fd, self._accept_some)

    def accept_all(self) -> bool:
        """Empty the backlog, whatever the limits say; False when it cannot be emptied for now."""
        try:
            while self._accept_one():
                pass
        except OSError as error:
            self._complain(error)
            return False
        return True

    def close(self) -> None:
        """Accept nothing any more."""
        if not self._closed:
            self._closed = True
            self._server.loop.remove_reader(self._fd)
            self._sock.close()

    def _accept_some(self) -> None:
        most = self._most
        if not most:
            self._pause(_OTHERS_SECONDS)
            return
        try:
            for count in range(most):
                if self._server.roster.is_full:
                    if not count:  # else perhaps nobody else waits
                        # What makes room is closed in the next turn.
                        self._pause(0.0 if self._server.roster.make_room() else PAUSE)
                    return
                if not self._accept_one():
                    return
        except OSError as error:
            # Out of descriptors, most likely; but accept(2) has many errors that are of a single
            # client or of the network, and after none of them may the server stay deaf.
            self._complain(error)
            self._pause(PAUSE)

    @property
    def _most(self) -> int:
        """How many to let in at once: no more than there are threads, if others have some, too."""
        if self._server.config.processes == 1:
            return _BATCH
        return min(_BATCH, self._server.pool.spare)

    def _pause(self, seconds: float) -> None:
        self._server.loop.remove_reader(self._fd)
        self._server.loop.call_later(seconds, self.start)

    def _complain(self, error: OSError) -> None:
        """Once, and not with each try."""
        if not self._complained:
            self._complained = True
            _log.error(
                "Cannot accept connections for now: %s; trying again every %g s",
                error.strerror,
                PAUSE,
            )

    def _accept_one(self) -> bool:
        """Take one connection from the backlog; False when there is none."""
        if self._closed:
            return False
        try:
            sock, peername = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            self._complained = False
            return False
        except ConnectionAbortedError:
            return True  # this one has left; behind it others may wait
        sock.setblocking(False)
        if not _NODELAY_IS_INHERITED:
            _send_at_once(sock)
        if self._context is None:
            connection = Connection(self._server)
            transport = SocketTransport(self._server.loop, sock, peername, connection)
            connection.connection_made(transport)
            transport.read_now()  # the request has often come already
        else:
            handshake = Handshake(self._server, sock, peername, self._context)
            self._server.roster.add(handshake)
            handshake.go_on()
        return True


def _send_at_once(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # a Unix socket has none, a client may have left
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Handshake(Member):
    """A new connection until TLS is set up. Loop thread.

    A member of its server, and `Timed`: it is filed in the wheel until it ends.

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
        "_fd",
        "_is_plain",
        "_is_reading",
        "_peername",
        "_server",
        "_since",
        "_sock",
        "due",
    )

    def __init__(
        self, server: Host, sock: socket.socket, peername: Any, context: ssl.SSLContext
    ) -> None:
        from .tls import TLSSocket

        self._server = server
        self._sock = sock
        self._peername = peername
        self._channel = TLSSocket(sock, context)
        self._is_plain = False
        self._is_reading = False
        self._fd = sock.fileno()
        wheel = server.patience.wheel
        self._since = wheel.now
        self.due = -1
        wheel.file(self, server.patience.handshake)

    def __str__(self) -> str:
        return f"a TLS handshake with {self._peername}"

    def go_on(self) -> None:
        """The client has said something, or may have."""
        try:
            is_done = self._step()
        except OSError as error:
            self._fail(error)
            return
        if not is_done:
            self._read()
            return
        connection = self._become_connection()
        if self._server.is_draining:
            connection.membership.close_if_idle()  # which waits for the request behind a handshake

    def look(self, now: int) -> int:
        """See `Timed`: its time is not prolonged by what comes."""
        turns = self._server.patience.handshake
        if not turns:
            return 0
        if self._since + turns > now:
            return self._since + turns - now
        self._fail("it took too long (handshake_timeout)")
        return 0

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        self._sock.close()

    def announce_close(self) -> None:
        """See `Member`."""

    def close_if_idle(self) -> None:
        """See `Member`: closes when the client has said nothing, or leaves it to the next."""
        if not self._channel.mute:
            return
        give = self._server.hand_over
        if give is not None:
            self._leave()
            give(self._sock, b"")
        elif not self._has_unread():
            self.cut()

    def adopted(self, data: bytes) -> None:
        """Another process has accepted it, and has read `data`, which is then no TLS."""
        if data:
            self._is_plain = True
            self._become_connection().membership.adopted(data)
        else:
            self._read()

    def resting_since(self) -> None:
        """See `Member`: it has little time anyway."""
        return

    def give_way(self) -> None:
        """See `Member`."""

    def cut(self) -> None:
        """See `Member`."""
        self._leave()
        self._sock.close()

    @property
    def arriving(self) -> None:
        """See `Member`."""
        return None

    def _read(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._server.loop.add_reader(self._fd, self.go_on)

    def _read_no_more(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._server.loop.remove_reader(self._fd)

    def _fail(self, reason: object) -> None:
        _log.debug("A TLS handshake with %s failed: %s", self._peername, reason)
        self.cut()

    def _leave(self) -> None:
        self._read_no_more()
        self._server.patience.wheel.forget(self)
        self._server.roster.discard(self)

    def _step(self) -> bool:
        """Go on; True when it is done, or when the client does not want one."""
        try:
            if self._channel.mute:
                self._is_plain = self._channel.recv(1, socket.MSG_PEEK) not in (_HANDSHAKE, b"")
            return self._is_plain or self._channel.handshake()
        except (BlockingIOError, InterruptedError):
            return False

    def _has_unread(self) -> bool:
        try:
            return bool(self._channel.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _become_connection(self) -> Connection:
        from .tls import TLSTransport, refer_to_https

        self._read_no_more()
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
            connection.membership.secured()
        self._server.patience.wheel.forget(self)
        self._server.roster.discard(self)
        return connection
