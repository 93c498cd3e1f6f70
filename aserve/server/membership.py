"""A connection as its server keeps it: how long it rests, and what becomes of it at the end.

When the server stops, it is handed over to another process where there is one, and else closed as
soon as it is at rest, behind what was sent before the client could know. Loop thread.
"""

from __future__ import annotations

import asyncio
import math
from time import perf_counter
from typing import Final

from ..http.h1 import H1Connection
from ..http.state import Receiving
from .answers import Answers
from .carrier import Carrier
from .closing import Closing
from .exchange import Exchange
from .interfaces import Host
from .patience import Phase, Watch
from .transport import MOMENT, SocketTransport

__all__ = ["Membership"]

# At the end of a server, how long a client that has just finished its handshake may take to send
# its first request.
FIRST_REQUEST_SECONDS: Final = 0.05
# At a reload nobody waits for that end, and a machine that is busy with it may stall the client.
FIRST_REQUEST_AT_RELOAD_SECONDS: Final = 1.0


class Membership:
    """See the module's docstring. A `Member` of the roster, from its making to `end`.

    Args:
        connection: The connection; forgotten in `end`.
        server: Its server.
        h1: Its protocol state.
        transport: Its transport.
        closing: The other ends that it may come to.
        answers: Whether a worker sends something.
        watch: Since when it rests.
    """

    __slots__ = (
        "_after_read",
        "_answers",
        "_closing",
        "_connection",
        "_h1",
        "_is_expected",
        "_secured_at",
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
        closing: Closing,
        answers: Answers,
        watch: Watch,
    ) -> None:
        self._connection: Carrier[Exchange] | None = connection
        self._server = server
        self._h1 = h1
        self._transport = transport
        self._closing = closing
        self._answers = answers
        self._watch = watch
        self._after_read = False
        self._is_expected = False
        self._secured_at = -math.inf  # when a handshake of TLS was finished
        server.roster.add(self)

    def end(self) -> None:
        """The connection is lost, or somebody else's."""
        self._connection = None
        self._server.roster.discard(self)

    # -- while the server serves ---------------------------------------------------------

    @property
    def arriving(self) -> Exchange | None:
        """See `Member`: nobody works on it while its body is still being collected."""
        exchange = self._connection.exchange if self._connection is not None else None
        return exchange if exchange is not None and not exchange.dispatched else None

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        self._transport.get_extra_info("socket").close()

    def resting_since(self) -> int | None:
        """See `Member`."""
        connection = self._connection
        if connection is None or connection.phase() not in (Phase.FIRST_BYTE, Phase.REST):
            return None
        return self._watch.since

    def give_way(self) -> None:
        """See `Member`."""
        if self._connection is not None and self.resting_since() is not None:
            self._connection.expire(Phase.REST, None)

    def cut(self) -> None:
        """See `Member`."""
        if self._connection is not None:
            self._connection.cut()

    def adopted(self, data: bytes) -> None:
        """The connection goes on for another process, which has read `data`.

        Before anything else looks at it: a server that has begun to stop meanwhile hands it on at
        once, with all that was read.
        """
        self._watch.answered()  # by somebody, once
        if data and self._connection is not None:
            self._connection.handle(self._h1.receive_data(data))
        self._watch.note()
        if self._server.is_draining:
            self.close_if_idle()

    # -- the server stops ----------------------------------------------------------------

    def announce_close(self) -> None:
        """See `Member`."""
        if self._answers.is_being_sent:
            # Which says that it is not: the worker has looked whether the server stops before.
            self._server.loop.call_later(MOMENT, self.announce_close)
            return
        self._h1.announce_close()
        exchange = self._connection.exchange if self._connection is not None else None
        if exchange is not None and exchange.is_event_stream:
            exchange.end_stream()

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
            or self._closing.is_lingering
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
