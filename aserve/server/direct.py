"""The short way: one worker thread reads a request, runs it and answers, past the loop.

What costs most in a server like this is not parsing but handing work from thread to thread.
So a connection at rest is lent to the workers: it waits in the `Poller`, and the worker that
watches there reads it, runs the application, sends the answer, and puts it back.

Only what is small and quick stays on this way. The connection goes back to the loop, to be
handled as any other, when

- what has come is not one request: half a head, several requests at once, something broken,
  or the end of the connection. (A short body that comes in several pieces is collected here,
  and the connection is parked between them; a long one is read by the worker when the
  application reads, for as long as the client keeps up.)
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
import select
from collections.abc import Callable
from typing import Final, Protocol, cast

from .. import native
from ..errors import LocalProtocolError
from ..events import Data, Event, ExchangeRecord, Request, Response
from ..http.h1 import H1Connection
from ..http.state import Receiving
from ..safe_log import get_logger
from .exchange import Carrier, Exchange
from .interfaces import Host
from .patience import Watch
from .sender import serialize_whole
from .transport import READ_SIZE, SocketTransport

__all__ = ["DirectPath"]

_log: Final = get_logger("aserve.error")

# How long a worker waits for the next piece of a long body by itself. Between two pieces of an
# upload at 100 Mbit/s lie 10 ms, but then speed is not what matters.
_PULL_MILLISECONDS: Final = 2

# Paths to remember as slow; a guess at what one site has.
_SLOW_PATHS: Final = 256


def _wake_up() -> None:
    """Nothing to do but to have the other messages delivered."""


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
        transport: Its transport, whose channel the workers use.
        server: The server, which has a poller.
        watch: Is told what has come.
    """

    __slots__ = (
        "_body_buffer",
        "_channel",
        "_h1",
        "_is_over",
        "_is_shut",
        "_leave",
        "_lender",
        "_park",
        "_reclaim",
        "_server",
        "_transport",
        "_watch",
        "fd",
        "lent",
        "registered",
    )

    can_wait = False

    def __init__(
        self,
        lender: Lender,
        h1: H1Connection,
        transport: SocketTransport,
        server: Host,
        watch: Watch,
    ) -> None:
        assert server.poller is not None
        self._lender = lender
        self._h1 = h1
        self._transport = transport
        self._channel = transport.channel
        self._server = server
        self._watch = watch
        self._body_buffer = server.config.body_buffer
        self._leave: Callable[[Callable[[], object]], None] = server.mailbox.leave
        self._park: Callable[[DirectPath], bool] = server.poller.park
        self._reclaim: Callable[[DirectPath], bool] = server.poller.reclaim
        self._is_shut: Callable[[], bool] = server.poller.is_shut
        self.fd = self._channel.fileno()
        self.registered = False  # the poller's note
        self.lent = False
        self._is_over = False

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

    def is_stuck(self) -> bool:
        """See `Job`."""
        exchange = self._lender.exchange
        return exchange is not None and exchange.is_stuck()

    def is_over(self) -> bool:
        """See `Job`. By then the connection has no exchange any more, but a worker still has."""
        return self._is_over

    def drop(self) -> None:
        """See `Job`."""
        self._lender.take_back([])

    def end(self) -> None:
        """See `aserve.server.exchange.Direct`."""
        self._is_over = True

    # -- worker thread -------------------------------------------------------------------

    def run(self) -> None:
        """See `Job`: data has come."""
        try:
            data = self._channel.recv(READ_SIZE)
        except BlockingIOError:  # a part of a TLS record
            self._park_or_give_back()
            return
        except OSError:
            data = b""
        # At the end, and after an error, the loop reads the same once more.
        events = self._h1.receive_data(data) if data else []
        if not events or self._h1.failure is not None or self._h1.buffered:
            self._give_back(events)
            return
        lender = self._lender
        for number, event in enumerate(events):
            kind = type(event)
            if kind is Request:
                request = cast(Request, event)
                if request.expect_continue:
                    self._give_back(events)
                    return
                lender.exchange = Exchange(lender, request, self)
            elif kind is Data and lender.exchange is not None:
                data = cast(Data, event).data
                if lender.exchange.collect(data) > self._body_buffer:
                    self._run_with_stream(lender.exchange, events[number + 1 :])
                    return
            elif lender.exchange is not None:
                self._run_application(lender.exchange)
                return
        self._watch.received()
        self._park_or_give_back()  # for the rest of the body

    def _run_application(self, exchange: Exchange) -> None:
        slow = self._server.slow_paths
        if slow and exchange.request.path in slow:
            self._server.pool.cede()
        exchange.dispatched = True
        exchange.lend()
        exchange.run()

    def _run_with_stream(self, exchange: Exchange, events: list[Event]) -> None:
        if not self._server.gate.enter():
            # To wait on the loop, which looks at the size with each piece, so with an empty one.
            self._give_back([Data(b""), *events])
            return
        exchange.gate = self._server.gate
        stream = exchange.start_stream(self._body_buffer, functools.partial(self._pull, exchange))
        if events:
            stream.feed_eof()
        self._run_application(exchange)

    def _pull(self, exchange: Exchange) -> bool:
        """Read a piece of a long body for the application that waits for it; see `StreamBody`.

        A client that has nothing ready for some milliseconds is left to the loop.
        """
        stream = exchange.stream
        if stream is None or not exchange.claim():
            return False
        try:
            data = self._channel.recv(READ_SIZE)
        except BlockingIOError:
            data = self._wait_and_read()
        except OSError:
            data = b""
        if not data:
            self.give_back()
            return False
        for event in self._h1.receive_data(data):
            if type(event) is Data:
                stream.feed(event.data, pulled=True)
            else:
                stream.feed_eof()
        if self._h1.failure is not None:
            stream.fail(self._h1.failure)
        if self._is_shut():
            self.give_back()  # it may be waiting to cut the connection
            return False
        exchange.lend()
        return True

    def _wait_and_read(self) -> bytes:
        poll = native.select.poll()
        poll.register(self.fd, select.POLLIN)
        try:
            return self._channel.recv(READ_SIZE) if poll.poll(_PULL_MILLISECONDS) else b""
        except OSError:
            return b""

    def give_back(self) -> None:
        """See `aserve.server.exchange.Direct`."""
        self._give_back([])

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
            sent = self._channel.send(data)
        except OSError:
            sent = 0  # the loop tries again, and sees what is wrong
        if sent < len(data) or h1.receiving is not Receiving.COMPLETE or h1.buffered:
            lender.post(functools.partial(lender.finish_answer, exchange, data[sent:]))
            return
        if self._server.is_observed:
            record = lender.make_record(exchange, complete=True)
            self._leave(lambda: self._server.observe(lambda: record))
        lender.exchange = None
        if h1.keep_alive:
            watch = self._watch
            watch.is_new = False
            watch.since = watch.wheel.now
            h1.next_cycle()
            self._park_or_give_back()
        else:
            self._channel.close()
            self._leave(lender.closed_by_worker)
            if self._is_shut():  # looked at behind `leave`; who shuts delivers behind that
                lender.post(_wake_up)

    def _park_or_give_back(self) -> None:
        # What TLS has read ahead would wake up nobody.
        if self._transport.is_ahead or not self._park(self):
            self._give_back([])

    def _give_back(self, events: list[Event]) -> None:
        self._lender.post(functools.partial(self._lender.take_back, events))
