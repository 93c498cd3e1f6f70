"""The short way: one worker thread reads a request, runs it and answers, past the loop.

What costs most in a server like this is not parsing but handing work from thread to thread.
So a connection at rest is lent to the workers: it waits in the `Poller`, and the worker that
watches there reads it, runs the application, sends the answer, and puts it back.

Only what is small and quick stays on this way. The connection goes back to the loop, to be
handled as any other, when

- what has come is not exactly one whole request of moderate size: half a head, a long body,
  several requests at once, something broken, or the end of the connection;
- the answer is not made in one piece, or the client does not take it in one;
- it takes longer than `STALL_SECONDS`: from then on the loop watches for the client to leave;
- the server is about to stop.

A path that was slow is remembered: the next worker that is about to run it first sees to it
that another one watches, so that quick requests beside it do not wait for the stall to be seen.

Who owns a connection. Never two threads at a time, and each change of hands is one atomic
step: a parked one is taken from the poller's table; a running one by the token of its exchange
(`Exchange.claim`), which the worker takes to answer and the loop to have it back; and a worker
gives it back by posting to the loop. `lent` is the loop's own note, read by nobody else.
"""

from __future__ import annotations

import functools
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol

from ..errors import LocalProtocolError
from ..events import END_OF_MESSAGE, Data, Event, ExchangeRecord, Request, Response
from ..http.h1 import H1Connection
from .exchange import Carrier, Exchange
from .interfaces import Host
from .sender import serialize_whole
from .transport import READ_SIZE

__all__ = ["DirectPath"]

_log: Final = logging.getLogger("aserve.error")

# Paths to remember as slow; a guess at what one site has.
_SLOW_PATHS: Final = 256


class Lender(Carrier, Protocol):
    """The connection, as the short way uses it."""

    exchange: Exchange | None

    def make_record(self, exchange: Exchange, *, complete: bool) -> ExchangeRecord:
        """What happened. Any thread."""
        ...

    # Posted, and so called on the loop thread; from then on the connection is the loop's:

    def take_back(self, events: list[Event]) -> None:
        """Go on with what has come."""
        ...

    def finish_answer(self, exchange: Exchange, rest: bytes) -> None:
        """Write the rest of a complete answer, and go on."""
        ...

    def closed_by_worker(self) -> None:
        """The last answer is sent, and the socket closed."""
        ...

    def break_off(self, exchange: Exchange) -> None:
        """The answer will never be complete."""
        ...


class DirectPath:
    """A connection, as the workers have it. A job of the pool.

    Args:
        lender: The connection.
        h1: Its protocol state.
        sock: Its socket.
        server: The server, which has a poller.
    """

    __slots__ = (
        "_h1",
        "_is_shut",
        "_leave",
        "_lender",
        "_park",
        "_reclaim",
        "_server",
        "_sock",
        "fd",
        "lent",
        "registered",
    )

    def __init__(self, lender: Lender, h1: H1Connection, sock: socket.socket, server: Host) -> None:
        assert server.poller is not None
        self._lender = lender
        self._h1 = h1
        self._sock = sock
        self._server = server
        self._leave: Callable[[Callable[[], object]], None] = server.mailbox.leave
        self._park: Callable[[DirectPath], bool] = server.poller.park
        self._reclaim: Callable[[DirectPath], bool] = server.poller.reclaim
        self._is_shut: Callable[[], bool] = server.poller.is_shut
        self.fd = sock.fileno()
        self.registered = False  # the poller's note
        self.lent = False

    def __str__(self) -> str:
        return str(self._lender.exchange or f"a request from {self._lender.client}")

    # -- loop thread ---------------------------------------------------------------------

    def lend(self) -> None:
        """Park the connection: it is at rest, and the loop does not read it."""
        self.lent = True
        self._park_or_give_back()

    def recall(self) -> bool:
        """Have it back if no worker has it; else the worker gives it back soon."""
        if self.lent and self._reclaim(self):
            self.lent = False
            return True
        return False

    def overdue(self) -> None:
        """See `Job`: the application takes its time, so the loop looks after the client."""
        exchange = self._lender.exchange
        if exchange is not None and exchange.direct is self and exchange.claim():
            slow = self._server.slow_paths
            if len(slow) >= _SLOW_PATHS:
                slow.clear()
            slow.add(exchange.request.path)
            self._lender.take_back([])

    def drop(self) -> None:
        """See `Job`."""
        self._lender.take_back([])

    # -- worker thread -------------------------------------------------------------------

    def run(self) -> None:
        """See `Job`: data has come."""
        try:
            data = self._sock.recv(READ_SIZE)
        except OSError:
            data = b""
        # At the end, and after an error, the loop reads the same once more.
        events = self._h1.receive_data(data) if data else []
        if events and self._is_whole(events):
            request = events[0]
            assert type(request) is Request
            exchange = Exchange(self._lender, request, self)
            if len(events) == 3:
                body = events[1]
                assert type(body) is Data
                exchange.collect(body.data)
            exchange.dispatched = True
            self._lender.exchange = exchange  # now the loop may claim it
            if self._server.slow_paths and request.path in self._server.slow_paths:
                self._server.pool.cede()
            exchange.run()
        else:
            self._give_back(events)

    def _is_whole(self, events: list[Event]) -> bool:
        """Whether this is one request with all of its body, and nothing behind it."""
        return (
            events[-1] is END_OF_MESSAGE
            and type(events[0]) is Request
            and not self._h1.buffered
            and self._h1.failure is None
        )

    def answer(self, exchange: Exchange, response: Response, body: bytes) -> None:
        """See `aserve.server.exchange.Direct`."""
        lender, h1 = self._lender, self._h1
        self._server.slow_paths.discard(exchange.request.path)  # it was quick
        if self._is_shut():
            # The application may have asked for it: the answer has to say that it is the last.
            self._give_back([])
            exchange.queue_whole(response, body)
            return
        try:
            data = serialize_whole(exchange, h1, response, body)
        except LocalProtocolError as error:
            _log.error("%s: the response cannot be sent: %s", exchange, error)
            lender.post(functools.partial(lender.break_off, exchange))
            return
        try:
            sent = self._sock.send(data)
        except OSError:
            sent = 0  # the loop tries again, and sees what is wrong
        if sent < len(data):
            lender.post(functools.partial(lender.finish_answer, exchange, data[sent:]))
            return
        if self._server.is_observed:
            record = lender.make_record(exchange, complete=True)
            self._leave(lambda: self._server.observe(lambda: record))
        lender.exchange = None
        if h1.keep_alive:
            h1.next_cycle()
            self._park_or_give_back()
        else:
            self._sock.close()
            self._leave(lender.closed_by_worker)

    def _park_or_give_back(self) -> None:
        if not self._park(self):
            self._give_back([])

    def _give_back(self, events: list[Event]) -> None:
        self._lender.post(functools.partial(self._lender.take_back, events))
