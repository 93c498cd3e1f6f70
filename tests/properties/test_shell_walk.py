"""Random walks over `Connection`: a client that sends, reads, stops and leaves at any time, and an
application that reads, yields, fails and ends at any time.
"""

from __future__ import annotations

import logging

import h11
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ..helpers import Headers, chunked, request_bytes
from .shell import CONFIG, DirectTransport, Shell, Worker

YIELDED = (0, 1, 10, 300, 1023, 1024, 1025, 3000)
SIZES = st.sampled_from(YIELDED)
EXPECT = [(b"Expect", b"100-continue")]
PEACE = st.sampled_from([0, 10, 20, 40, 80])
BODIES = st.sampled_from([b"", b"x", b"x" * 63, b"x" * 64, b"x" * 65, b"x" * 199, b"x" * 700])


class ShellWalk(RuleBasedStateMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("aserve.error").setLevel(logging.CRITICAL)
        self.peace = 0
        self.connect(0)

    def make_shell(self) -> Shell:
        return Shell()

    def connect(self, peace: int) -> None:
        self.shell = self.make_shell()
        self.outbound = bytearray()  # what the client is going to send
        self.methods: list[str] = []
        self.eof = False
        # For so many steps nobody leaves, or most walks would end before they begin.
        self.peace = peace

    @initialize(peace=PEACE)
    def begin(self, peace: int) -> None:
        self.peace = peace

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.shell.transport.lost

    @property
    def may_end(self) -> bool:
        """Whether the time of peace is over."""
        return self.peace <= 0 and not self.lost

    @property
    def may_ask(self) -> bool:
        """Whether the client makes one more request."""
        return len(self.methods) < 6 and len(self.outbound) < 200 and not self.lost

    @property
    def open(self) -> bool:
        """Whether what the client sends can still arrive."""
        transport = self.shell.transport
        return not self.eof and not transport.is_closing() and transport.reading

    @property
    def waiting(self) -> list[Worker]:
        return [worker for worker in self.shell.workers if worker.waits]

    # -- the client ------------------------------------------------------------------------

    @precondition(lambda self: self.may_ask)
    @rule(
        method=st.sampled_from([b"GET", b"HEAD"]),
        version=st.sampled_from([b"1.1", b"1.1", b"1.0"]),
        option=st.sampled_from([b"", b"", b"keep-alive", b"close"]),
    )
    def ask(self, method: bytes, version: bytes, option: bytes) -> None:
        headers = [(b"Connection", option)] if option else []
        self._compose(method, headers, b"", version)

    @precondition(lambda self: self.may_ask)
    @rule(body=BODIES, expect=st.booleans())
    def ask_with_a_body(self, body: bytes, expect: bool) -> None:
        self._compose(b"POST", EXPECT if expect else [], body)

    @precondition(lambda self: self.may_ask)
    @rule(body=BODIES, expect=st.booleans(), broken=st.sampled_from([False, False, True]))
    def ask_with_chunks(self, body: bytes, expect: bool, broken: bool) -> None:
        headers = [*(EXPECT if expect else []), (b"Transfer-Encoding", b"chunked")]
        body = chunked(*(piece for piece in (body[:50], body[50:]) if piece))
        self._compose(b"POST", headers, body[:-3] + b"x" if broken else body)

    def _compose(
        self, method: bytes, headers: Headers, body: bytes, version: bytes = b"1.1"
    ) -> None:
        target = b"/%d" % len(self.methods)
        self.outbound += request_bytes(method, target, headers, body, version=version)
        self.methods.append(method.decode())

    @precondition(lambda self: self.may_ask and self.may_end)
    @rule(noise=st.sampled_from([b"nonsense\r\n", b"\r\n", b"0\r\n", b"\n"]))
    def compose_noise(self, noise: bytes) -> None:
        self.outbound += noise

    @precondition(lambda self: self.open and self.outbound)
    @rule(size=st.sampled_from([1, 100, 10_000, 10_000]))
    def send(self, size: int) -> None:
        data = bytes(self.outbound[:size])
        del self.outbound[:size]
        self.shell.connection.data_received(data)
        self.shell.settle()

    @precondition(lambda self: self.open and self.may_end)
    @rule()
    def half_close(self) -> None:
        self.eof = True
        if not self.shell.connection.eof_received():
            self.shell.transport.close()
        self.shell.settle()

    @precondition(lambda self: self.shell.transport.get_write_buffer_size())
    @rule(size=st.sampled_from([1, 700, 100_000]))
    def read(self, size: int) -> None:
        self.shell.transport.deliver(size)
        self.shell.settle()

    @precondition(lambda self: self.may_end and self.shell.sender is None)
    @rule()
    def reset(self) -> None:
        self.shell.transport.lose(ConnectionResetError())
        self.shell.settle()

    # -- the application -------------------------------------------------------------------

    @precondition(lambda self: self.shell.queue)
    @rule()
    def work(self) -> None:
        self.shell.work()

    @precondition(lambda self: self.shell.queue and not self.waiting)
    @rule(size=SIZES)
    def serve(self, size: int) -> None:
        """The usual way, in one step, so that walks come further."""
        self.shell.work()
        for worker in self.waiting:
            worker.give("whole", size)
        while self.shell.mailbox:
            self.shell.deliver_post()

    @precondition(lambda self: any(worker.stage == "called" for worker in self.waiting))
    @rule(command=st.sampled_from(["whole", "stream", "stream", "raise"]), size=SIZES)
    def respond(self, command: str, size: int) -> None:
        next(worker for worker in self.waiting if worker.stage == "called").give(command, size)

    @precondition(lambda self: any(worker.stage == "body" for worker in self.waiting))
    @rule(command=st.sampled_from(["yield", "yield", "yield", "stop", "raise"]), size=SIZES)
    def go_on(self, command: str, size: int) -> None:
        next(worker for worker in self.waiting if worker.stage == "body").give(command, size)

    @precondition(lambda self: self.waiting)
    @rule(size=st.sampled_from([0, 1, 64, -1]))
    def read_body(self, size: int) -> None:
        self.waiting[0].give("read", size)

    # -- the loop --------------------------------------------------------------------------

    @precondition(lambda self: self.shell.mailbox)
    @rule()
    def post(self) -> None:
        self.shell.deliver_post()

    @precondition(lambda self: not self.lost and self.shell.sender is None)
    @rule()
    def turn(self) -> None:
        self.shell.transport.turn()
        self.shell.settle()

    @precondition(lambda self: any(not timer.cancelled for timer in self.shell.timers))
    @rule()
    def fire_timer(self) -> None:
        self.shell.fire_timer()

    @precondition(lambda self: self.may_end and not self.shell.server.is_draining)
    @rule()
    def drain(self) -> None:
        if self.shell.server.is_draining or self.lost:
            return
        self.shell.server.is_draining = self.shell.server.is_shut = True
        self.shell.connection.membership.announce_close()
        self.shell.connection.membership.close_if_idle()

    @precondition(lambda self: self.may_end and not self.shell.transport.is_closing())
    @rule()
    def cut(self) -> None:
        self.shell.connection.cut()
        self.shell.settle()

    # -- what holds ------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        self.peace -= 1
        at_work = [worker for worker in self.shell.workers if not worker.done]
        # One request at a time; whoever is left over from a connection that ended is on its way.
        assert len([worker for worker in at_work if not worker.exchange.closed]) <= 1
        for worker in self.shell.workers:
            # One item beyond the mark, because it is noticed behind the item.
            assert worker.exchange.outbox.pending <= CONFIG.send_buffer + max(YIELDED)

    @precondition(lambda self: self.lost)
    @rule(peace=PEACE)
    def reconnect(self, peace: int) -> None:
        self.check()
        self.connect(peace)

    def teardown(self) -> None:
        try:
            self.check()
        finally:
            logging.getLogger("aserve.error").setLevel(logging.NOTSET)

    def check(self) -> None:
        self.shell.transport.deliver()
        self.shell.finish()
        self.check_lives()
        self.check_responses(bytes(self.shell.transport.received))

    def check_lives(self) -> None:
        assert self.shell.connections == 0
        for worker in self.shell.workers:
            assert worker.closed == worker.bodies, "close() exactly once"
        numbers = [int(record.request.path[1:]) for record in self.shell.records if record.request]
        assert numbers == sorted(set(numbers)), "one record for each request, in order"
        assert {worker.number for worker in self.shell.workers} <= set(numbers)

    def check_responses(self, data: bytes) -> None:
        """Complete ones in order, the last one perhaps a refusal or only a part."""
        workers = {worker.number: worker for worker in self.shell.workers}
        for number, record in enumerate(self.shell.records):
            if not data:
                return
            # What could not be read is not a HEAD, whatever its sender meant.
            method = record.request.method if record.request is not None else "GET"
            head, body, ended, data = _read(method, data)
            if head is None:
                break
            if head.status_code == 200:
                assert (b"x-number", b"%d" % number) in head.headers
                assert workers[number].sent.startswith(body)
                if ended and record.complete and method != "HEAD":
                    assert body == workers[number].sent
            closes = (b"connection", b"close") in head.headers
            if head.status_code == 200 and record.complete:
                assert closes or not workers[number].is_late, (
                    "an answer behind the stop is the last"
                )
            if not ended or closes:
                break
        assert not data, "bytes behind the last response"


def _read(method: str, data: bytes) -> tuple[h11.Response | None, bytes, bool, bytes]:
    """Head, body, whether it has ended, and the bytes behind it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    head, body = None, b""
    while True:
        event = client.next_event()
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return head, body, True, client.trailing_data[0]
        elif event is h11.NEED_DATA:
            return head, body, False, b""


class DirectWalk(ShellWalk):
    """The same, where a worker sends its answer itself, and the loop does anything meanwhile."""

    def make_shell(self) -> Shell:
        return Shell(direct=True)

    @precondition(
        lambda self: (
            self.may_ask and self.open and not (self.outbound or self.shell.queue or self.at_work)
        )
    )
    @rule(size=SIZES, more=st.booleans())
    def answer(self, size: int, more: bool) -> None:
        """As far as the worker comes with it by itself, so that walks get there."""
        self._compose(b"GET", [], b"")
        self.send(10_000)
        if self.shell.queue:
            self.shell.work()
        for worker in self.waiting:
            worker.is_late = self.shell.server.is_shut
            worker.give("whole", size)
        if more and self.may_ask and self.open:
            self._compose(b"GET", [], b"")
            self.send(10_000)

    @property
    def at_work(self) -> bool:
        return any(not worker.done for worker in self.shell.workers)

    @precondition(lambda self: self.shell.sender is not None)
    @rule(size=st.sampled_from([-1, 0, 1, 100, 100_000, 100_000]))
    def let_the_sender_go_on(self, size: int) -> None:
        transport, sender = self.shell.transport, self.shell.sender
        assert isinstance(transport, DirectTransport)
        assert sender is not None
        transport.let_go(sender, size)

    @precondition(lambda self: self.may_end and not self.shell.server.is_shut)
    @rule()
    def shut(self) -> None:
        """A stop was asked for: it begins behind what is in the mailbox."""
        self.shell.server.is_shut = True
        self.shell.mailbox.append(self.drain)


TestShellWalk = ShellWalk.TestCase
# Without shrinking: threads make it slow, and a walk of a hundred steps can be read as it is.
TestShellWalk.settings = settings(stateful_step_count=100, phases=[Phase.generate])
TestDirectWalk = DirectWalk.TestCase
TestDirectWalk.settings = TestShellWalk.settings
