"""How a connection ends, and what is owed to its client until then. Loop thread.

Ends of a connection:
- the client closes, or the last response allows no other: closed when it is written out;
- the client may still be sending (a refused request, an unread body): the sending half is
  closed first and what comes is thrown away for a while, because closing a socket with
  unread bytes makes the kernel reset it, and the client would lose the answer
  (RFC 9112 section 9.6);
- a response breaks midway: the connection is closed without an end of the message, and
  reset where the end of the connection would have looked like one;
- the server stops: see `aserve.server.membership`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from typing import Final

from ..errors import RemoteProtocolError
from ..http.h1 import H1Connection
from ..http.response import simple_response
from ..http.state import Receiving, Sending
from ..safe_log import get_logger
from .carrier import Carrier
from .channel import waiting_in_kernel
from .exchange import Exchange
from .interfaces import Host
from .records import refusal_of
from .sender import Sender
from .transport import SocketTransport

__all__ = ["DOUBT_SECONDS", "LINGER_SECONDS", "Closing"]

_log: Final = get_logger("aserve.error")

# nginx's lingering_timeout: how long a client may go on sending after the last answer.
LINGER_SECONDS: Final = 5.0

# How long nothing may be sent to a client that has closed its half in the middle of an answer. A
# program that only says "that was all" does so at once, and a quick answer has begun by then.
DOUBT_SECONDS: Final = 0.1


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
        "_connection",
        "_drained",
        "_h1",
        "_sender",
        "_server",
        "_timer",
        "_transport",
        "is_lingering",
    )

    def __init__(
        self,
        connection: Carrier[Exchange],
        server: Host,
        h1: H1Connection,
        transport: asyncio.Transport,
        sender: Sender,
    ) -> None:
        self._connection: Carrier[Exchange] | None = connection
        self._server = server
        self._h1 = h1
        self._transport = transport
        self._sender = sender
        self._drained = 0  # bytes of an unread body thrown away
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
        connection.take_exchange()
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

    def refuse(self, failure: RemoteProtocolError, client: str) -> None:
        """Answer a broken request with its 4xx, and read nothing more as a request."""
        connection = self._connection
        if connection is None:
            return
        exchange = connection.take_exchange()
        if self._h1.sending in (Sending.IDLE, Sending.PENDING):
            status = failure.status_hint
            response, body = simple_response(status, f"{failure}.")
            self._transport.write(self._h1.send_whole(response, body))
            _log.info("Refused a request from %s with %d: %s", client, status, failure)
            request = exchange.request if exchange is not None else None
            head = self._h1.failed_head
            self._server.observe(lambda: refusal_of(request, head, status, len(body), client))
        self.linger()

    # -- the client may have left --------------------------------------------------------

    def half_closed(self, exchange: Exchange | None) -> bool:
        """The client has closed its half; whether ours stays open for an answer."""
        cut = self._h1.receive_eof()
        if exchange is None or self.is_lingering:
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
            self.doubt(exchange)
        return self._transport.can_write_eof()

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
