"""Random walks over `H1Connection`: whatever is called in whatever order, the outcome is a valid
state or `LocalProtocolError`, and h11, as the client, understands what is sent.
"""

from __future__ import annotations

from collections.abc import Callable

import h11
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aserve.config import Limits
from aserve.errors import LocalProtocolError
from aserve.events import END_OF_MESSAGE, Data, Event, Request, Response
from aserve.http import H1Connection
from aserve.http.state import Receiving, Sending

from ..helpers import DATE, response
from .strategies import mutated, pipelines, requests

STATUSES = st.sampled_from([200, 200, 201, 404, 500, 204, 304, 103])
BODIES = st.binary(max_size=30)
OPTIONS = st.sampled_from([b"", b"close", b"keep-alive", b"upgrade"])


class Reader:
    """h11 as the client of one request, and what it has read."""

    def __init__(self, request: Request | None) -> None:
        method = "GET" if request is None else request.method
        self.client = h11.Connection(h11.CLIENT)
        self.client.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
        self.client.send(h11.EndOfMessage())
        self.head: h11.Response | None = None
        self.informational: list[int] = []
        self.body = b""
        self.ended = False

    def receive(self, data: bytes, *, eof: bool = False) -> None:
        if data:
            self.client.receive_data(data)
        if eof:
            self.client.receive_data(b"")
        while (data or eof) and not self.ended:
            event = self.client.next_event()
            if isinstance(event, h11.InformationalResponse):
                self.informational.append(event.status_code)
            elif isinstance(event, h11.Response):
                self.head = event
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.ended = True
            else:
                return


class H1Walk(RuleBasedStateMachine):
    """The caller is as wild as its type allows, with two exceptions that it is told of.

    It does not feed behind the end of the stream, and it breaks off when a part of a response
    that was already on its way turned out to be wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.h1 = H1Connection(Limits(drain_body=50), lambda: DATE)
        self.eof = False
        self.broken = False
        self.reader = Reader(None)
        self.sent = b""  # of the body of the current response
        self.requests = 0

    # -- the client ------------------------------------------------------------------------

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Request):
                self.requests += 1
                self.reader = Reader(event)
                self.sent = b""
        assert len([event for event in events if isinstance(event, Request)]) <= 1

    @precondition(lambda self: not self.eof)
    @rule(data=st.one_of(requests(), requests(), pipelines(), mutated()), size=st.integers(1, 400))
    def feed(self, data: bytes, size: int) -> None:
        for start in range(0, len(data), size):
            self.take(self.h1.receive_data(data[start : start + size]))

    @precondition(lambda self: not self.eof)
    @rule()
    def end(self) -> None:
        self.eof = True
        self.h1.receive_eof()

    @rule()
    def next_cycle(self) -> None:
        legal = self.h1.keep_alive and (self.h1.receiving, self.h1.sending) == (
            Receiving.COMPLETE,
            Sending.COMPLETE,
        )
        try:
            events = self.h1.next_cycle()
        except LocalProtocolError:
            assert not legal
        else:
            assert legal
            self.reader = Reader(None)
            self.sent = b""
            self.take(events)

    # -- the server ------------------------------------------------------------------------

    def attempt(self, send: Callable[[], bytes]) -> bytes | None:
        """The bytes, which went to the client; None when it was out of turn."""
        try:
            data = send()
        except LocalProtocolError:
            return None
        assert not self.broken or not data, "bytes behind the end"
        self.reader.receive(data)
        return data

    @rule(status=STATUSES, length=st.none() | st.integers(0, 40), options=OPTIONS)
    def send_head(self, status: int, length: int | None, options: bytes) -> None:
        legal = self.h1.sending in (Sending.IDLE, Sending.PENDING)
        assert (self.attempt(lambda: self.h1.send(_head(status, length, options))) is not None) == (
            legal
        )
        if legal:
            self.check_head(status, options)

    def check_head(self, status: int, options: bytes) -> None:
        if status < 200:
            assert self.reader.informational[-1] == status
            assert not self.h1.keep_alive
            return
        assert self.reader.head is not None
        assert self.reader.head.status_code == status
        said = {value for name, value in self.reader.head.headers if name == b"connection"}
        assert (b"close" in b",".join(said)) is not self.h1.keep_alive
        if self.h1.request is not None and self.h1.request.http_version == "1.0":
            assert (b"keep-alive" in b",".join(said)) is self.h1.keep_alive
        assert not (self.h1.keep_alive and options == b"close")
        assert not (self.h1.keep_alive and self.h1.ends_with_close)

    @rule(data=BODIES)
    def send_data(self, data: bytes) -> None:
        if self.attempt(lambda: self.h1.send(Data(data))) is not None and self.h1.has_body:
            self.sent += data

    @rule(size=st.integers(0, 20))
    def sent_elsewhere(self, size: int) -> None:
        try:
            self.h1.sent_elsewhere(size)
        except LocalProtocolError:
            self.break_off()
        else:
            self.reader.receive(b"x" * size)
            self.sent += b"x" * size

    @rule()
    def send_end(self) -> None:
        self.check_end(self.attempt(lambda: self.h1.send(END_OF_MESSAGE)))

    @rule(status=STATUSES, length=st.none() | st.integers(0, 5), body=BODIES, options=OPTIONS)
    def send_whole(self, status: int, length: int | None, body: bytes, options: bytes) -> None:
        before = self.h1.sending
        length = None if length is None else len(body) if length else 0
        data = self.attempt(lambda: self.h1.send_whole(_head(status, length, options), body))
        if data is not None:
            self.sent = body if self.h1.has_body else b""
        elif before is not self.h1.sending:
            self.break_off()
        self.check_end(data)

    def check_end(self, data: bytes | None) -> None:
        if data is None or (self.reader.head is None and self.reader.informational):
            return
        if self.h1.ends_with_close:
            self.reader.receive(b"", eof=True)
        assert self.reader.ended
        assert self.h1.sending is (Sending.COMPLETE if self.h1.keep_alive else Sending.CLOSED)

    @rule()
    def send_continue(self) -> None:
        due = self.h1.sending is Sending.PENDING
        if self.attempt(self.h1.send_continue):
            assert due
            assert self.reader.informational == [100]

    @rule()
    def announce_close(self) -> None:
        self.h1.announce_close()
        if self.h1.sending in (Sending.IDLE, Sending.PENDING):
            assert not self.h1.keep_alive

    @rule()
    def break_off(self) -> None:
        framed = self.h1.sending is Sending.BODY and not self.h1.ends_with_close
        self.h1.break_off()
        self.broken = True
        if framed and self.reader.head is not None and not self.reader.ended:
            # RFC 9112 section 8: the client can tell that something is missing.
            try:
                self.reader.receive(b"", eof=True)
            except h11.RemoteProtocolError:
                pass
            else:
                raise AssertionError("a broken response looks complete")

    # -- always ----------------------------------------------------------------------------

    @invariant()
    def client_has_read_what_was_sent(self) -> None:
        assert self.reader.body == self.sent

    @invariant()
    def states_are_consistent(self) -> None:
        h1 = self.h1
        assert (h1.receiving is Receiving.FAILED) >= (h1.failure is not None)
        if h1.failure is not None or h1.sending is Sending.CLOSED:
            assert not h1.keep_alive
        if h1.sending is Sending.PENDING:
            assert h1.request is not None
        assert h1.unread is None or h1.unread >= 0


def _head(status: int, length: int | None, options: bytes) -> Response:
    headers = [(b"Content-Length", b"%d" % length)] if length is not None else []
    if options:
        headers.append((b"Connection", options))
    return response(status, *headers)


TestH1Walk = H1Walk.TestCase
