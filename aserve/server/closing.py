"""How a connection ends, and what is owed to its client until then. Loop thread.

Ends of a connection:
- the client closes, or the last response allows no other: closed when it is written out;
- the client may still be sending (a refused request, an unread body): the sending half is
  closed first and what comes is thrown away for a while, because closing a socket with
  unread bytes makes the kernel reset it, and the client would lose the answer
  (RFC 9112 section 9.6);
- a response breaks midway: the connection is closed without an end of the message, and
  reset where the end of the connection would have looked like one;
- the server stops: it is handed over to another process where there is one, and else closed as
  soon as it is at rest, behind what was sent before the client could know.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import socket
import struct
from time import perf_counter
from typing import Final, Protocol

from ..http.h1 import H1Connection
from ..http.state import Receiving
from .exchange import Exchange
from .interfaces import Host
from .sender import Sender
from .transport import SocketTransport, waiting_in_kernel

__all__ = ["DOUBT_SECONDS", "LINGER_SECONDS", "Closing"]

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


class Ending(Protocol):
    """A connection, as its end is arranged."""

    exchange: Exchange | None

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        ...


class Closing:
    """See the module's docstring.

    Args:
        connection: Whose end it is; forgotten in `end`.
        server: Its server.
        h1: Its protocol state.
        transport: Its transport.
        sender: Who writes its answers.

    Attributes:
        is_lingering: Whether all that comes is thrown away, until the client closes.
    """

    __slots__ = (
        "_after_read",
        "_connection",
        "_drained",
        "_h1",
        "_is_expected",
        "_secured_at",
        "_sender",
        "_server",
        "_timer",
        "_transport",
        "is_lingering",
    )

    def __init__(
        self,
        connection: Ending,
        server: Host,
        h1: H1Connection,
        transport: asyncio.Transport,
        sender: Sender,
    ) -> None:
        self._connection: Ending | None = connection
        self._server = server
        self._h1 = h1
        self._transport = transport
        self._sender = sender
        self._after_read = False
        self._drained = 0  # bytes of an unread body thrown away
        self._is_expected = False
        self._secured_at = -math.inf  # when a handshake of TLS was finished
        self._timer: asyncio.TimerHandle | None = None
        self.is_lingering = False

    def end(self) -> None:
        """The connection is lost, or somebody else's."""
        self.stop_timer()
        self._connection = None

    def stop_timer(self) -> None:
        """What was thrown away has come to its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the client may still be sending -------------------------------------------------

    def linger(self) -> None:
        """Close our half, throw away what still comes, then close (RFC 9112 section 9.6)."""
        connection = self._connection
        if self.is_lingering or connection is None:
            return
        self.is_lingering = True
        connection.exchange = None
        if self._transport.is_closing():
            return
        if self._h1.eof:  # nothing more can come
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = self._server.loop.call_later(LINGER_SECONDS, self._transport.abort)

    def drain_body(self) -> None:
        """Throw away what the application left of the body, bounded in size and time (B54)."""
        self._drained = 0
        self._timer = self._server.loop.call_later(LINGER_SECONDS, self.linger)
        self._transport.resume_reading()

    def drained(self, size: int) -> None:
        """So many bytes of it came."""
        self._drained += size
        if self._drained > self._server.config.drain_body:
            self.linger()

    # -- the client may have left --------------------------------------------------------

    def doubt(self, exchange: Exchange, sent: int = -1) -> None:
        """The client has closed its half in the middle of the answer: see whether it has left.

        The kernel of one that has left refuses what is sent to it, and the connection breaks. So
        one that takes what is sent is still there; but nothing can be asked while nothing is sent.
        """
        connection = self._connection
        if (
            connection is None
            or exchange is not connection.exchange
            or self._transport.is_closing()
        ):
            return
        is_sending = self._transport.get_write_buffer_size() or self._sender.is_lent_to_a_file
        if exchange.sent == sent and not is_sending and not self._is_waited_for():
            exchange.close()
            self._transport.abort()
            return
        again = functools.partial(self.doubt, exchange, exchange.sent)
        self._server.loop.call_later(DOUBT_SECONDS, again)

    def _is_waited_for(self) -> bool:
        """Whether the kernel still has something for the client."""
        return waiting_in_kernel(self._transport.get_extra_info("socket").fileno()) > 0

    def notice_half_close(self, exchange: Exchange) -> None:
        """The client may have closed its half behind the request, and nobody has read that yet.

        Once the answer has begun that would look as if it had left in the middle.
        """
        transport, h1 = self._transport, self._h1
        complete = h1.receiving is Receiving.COMPLETE and not h1.buffered
        if (
            complete
            and not h1.eof
            and isinstance(transport, SocketTransport)
            and transport.has_ended()
        ):
            h1.receive_eof()
            exchange.client_left = True

    def reset(self) -> None:
        """Close with a reset: bytes that are still buffered are lost, on purpose."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # -- the server stops ----------------------------------------------------------------

    def secured(self) -> None:
        """The handshake of TLS is finished, whose end the client may not know of yet."""
        self._secured_at = perf_counter()

    def close_if_idle(self) -> None:
        """Close now when no request is open, else after its response.

        Half a head is no request yet: its sender has been promised nothing.
        """
        connection = self._connection
        if connection is None or connection.exchange is not None:
            return
        if self._is_expected or self.hand_over():
            return
        if self._is_new():
            # Its first request may be on the way, and nobody else can take a session of TLS.
            self._is_expected = True
            self._secured_at = -math.inf  # one time
            self._server.loop.call_later(self._first_seconds, self._expect_no_more)
        elif self.has_unread():
            # It was sent before the client could know of the end, so it is answered.
            self._after_read = True
        else:
            self._transport.close()

    def read(self) -> None:
        """Something was read and understood."""
        if self._after_read:
            self._after_read = False
            self.close_if_idle()

    def has_unread(self) -> bool:
        """Whether bytes have come that nobody has read."""
        transport = self._transport
        return isinstance(transport, SocketTransport) and transport.has_unread()

    def hand_over(self) -> bool:
        """Give the connection to another process, if there is one that takes it.

        Between two requests only. What was read of the next one goes along.
        """
        give, transport, h1 = self._server.hand_over, self._transport, self._h1
        connection = self._connection
        if (
            give is None
            or connection is None
            or type(transport) is not SocketTransport
            or connection.exchange is not None
            or h1.receiving not in (Receiving.HEAD, Receiving.COMPLETE)
            or h1.eof
            or self.is_lingering
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            return False
        give(transport.detach(), h1.buffered_data)
        connection.connection_lost(None)
        return True

    @property
    def _first_seconds(self) -> float:
        is_reload = self._server.hand_over is not None
        return FIRST_REQUEST_AT_RELOAD_SECONDS if is_reload else FIRST_REQUEST_SECONDS

    def _expect_no_more(self) -> None:
        self._is_expected = False
        self.close_if_idle()

    def _is_new(self) -> bool:
        """Whether a client of TLS has finished its handshake just before the end."""
        age = perf_counter() - self._secured_at
        return age < self._first_seconds and self._h1.is_unused
