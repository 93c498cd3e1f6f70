"""What the loop may do while a worker sends its answer itself, each step by hand."""

from __future__ import annotations

from typing import cast

import pytest

from aserve.server.membership import Membership

from ..helpers import request_bytes
from .shell import DirectTransport, Shell

ALL = 100_000


class Sending:
    """A connection over which a worker sends; it has stopped before the bytes were made.

    Args:
        version: Of HTTP.
    """

    def __init__(self, version: bytes = b"1.1") -> None:
        self.shell = Shell(direct=True)
        self.transport = cast(DirectTransport, self.shell.transport)
        self.ask(version)
        self.shell.work()
        self.shell.workers[0].give("whole", 5)

    def ask(self, version: bytes = b"1.1") -> None:
        """One more request comes."""
        target = b"/%d" % len(self.shell.workers)
        self.shell.connection.data_received(request_bytes(b"GET", target, [], version=version))

    def go_on(self, size: int = ALL) -> None:
        """The worker comes to its next stop, or to its end."""
        assert self.shell.sender is not None
        self.transport.let_go(self.shell.sender, size)

    def send(self, size: int = ALL) -> None:
        """It makes the bytes, and the kernel takes so many of them."""
        self.go_on()
        self.go_on(size)

    def deliver(self) -> None:
        """The loop reads what workers have told it."""
        while self.shell.mailbox:
            self.shell.deliver_post()

    @property
    def received(self) -> bytes:
        """What the client has read."""
        self.transport.deliver()
        return bytes(self.transport.received)


@pytest.fixture
def sending() -> Sending:
    return Sending()


@pytest.mark.parametrize("size", [-1, 0, 1, 100, ALL])
def test_what_the_kernel_does_not_take_is_the_loops(sending: Sending, size: int) -> None:
    sending.send(size)
    sending.deliver()
    assert sending.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sending.received.endswith(b"AAAAA")
    (record,) = sending.shell.records
    assert record.complete
    sending.shell.finish()


def test_a_note_waits_for_the_next_tick(sending: Sending) -> None:
    sending.send()
    assert (sending.shell.left, sending.shell.posted) == (1, 0)


def test_where_nothing_ticks_the_loop_is_woken(sending: Sending) -> None:
    sending.shell.server.pool.is_ticking = False
    sending.send()
    assert (sending.shell.left, sending.shell.posted) == (1, 1)


def test_where_a_stop_comes_meanwhile_the_loop_is_woken(sending: Sending) -> None:
    """It has looked for notes already, and waits for what runs."""
    sending.go_on()
    sending.shell.server.is_shut = True
    sending.go_on()
    assert (sending.shell.left, sending.shell.posted) == (1, 1)


def test_the_last_answer_is_told_at_once() -> None:
    """The client waits for the end of the connection."""
    sending = Sending(b"1.0")
    sending.send()
    assert (sending.shell.left, sending.shell.posted) == (0, 1)
    sending.deliver()
    assert sending.transport.is_closing()


def test_the_next_request_is_read_behind_the_note(sending: Sending) -> None:
    """Without it the loop would take it for one that was sent ahead, and wait for the tick."""
    sending.send()
    sending.ask()
    assert len(sending.shell.queue) == 1


def test_a_request_that_comes_meanwhile_waits(sending: Sending) -> None:
    """For the note, of which the loop is told at once."""
    sending.go_on()
    sending.ask()
    assert not sending.shell.queue
    sending.go_on()
    assert (sending.shell.left, sending.shell.posted) == (0, 1)
    sending.deliver()
    assert len(sending.shell.queue) == 1


@pytest.mark.parametrize("stops", [1, 2])
def test_a_stop_that_begins_meanwhile_is_told_behind_it(sending: Sending, stops: int) -> None:
    """The answer has said that the connection goes on: there is room for one more request."""
    for _ in range(stops - 1):
        sending.go_on()
    sending.shell.server.is_draining = sending.shell.server.is_shut = True
    sending.shell.connection.membership.announce_close()
    for _ in range(3 - stops):
        sending.go_on()
    assert b"connection: close" not in sending.received.lower()
    sending.shell.fire_timer()  # a moment later
    sending.deliver()
    assert sending.transport.is_closing()
    assert sending.received.endswith(b"AAAAA")


def test_who_was_told_that_it_goes_on_is_answered_behind_a_stop(sending: Sending) -> None:
    """Its next request was on the way already."""
    sending.go_on()
    sending.ask()
    sending.shell.server.is_draining = sending.shell.server.is_shut = True
    sending.shell.connection.membership.announce_close()
    sending.go_on()
    sending.deliver()
    sending.shell.fire_timer()  # a moment later
    sending.shell.work()
    sending.shell.workers[1].give("whole", 3)
    sending.deliver()
    assert sending.received.lower().endswith(b"connection: close\r\n\r\nbbb")
    assert sending.transport.is_closing()


def test_what_comes_with_the_note_behind_a_stop_is_answered(sending: Sending) -> None:
    """The stop begins in between: the request is in the loop's hands, and must not be lost."""

    def begin() -> None:
        sending.shell.server.is_draining = sending.shell.server.is_shut = True
        sending.shell.connection.membership.announce_close()
        sending.shell.connection.membership.close_if_idle()

    sending.shell.mailbox.append(begin)
    sending.send()
    sending.ask()
    assert not sending.transport.is_closing()
    sending.shell.work()
    sending.shell.workers[1].give("whole", 3)
    sending.deliver()
    assert sending.received.lower().endswith(b"connection: close\r\n\r\nbbb")


def test_what_comes_with_the_note_behind_a_stop_is_handed_over(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []

    def begin() -> None:
        sending.shell.server.is_draining = sending.shell.server.is_shut = True
        sending.shell.connection.membership.announce_close()

    def hand_over(_: Membership) -> bool:
        given.append(sending.shell.connection._h1.buffered_data)
        sending.shell.transport.lose()
        return True

    monkeypatch.setattr(Membership, "hand_over", hand_over)
    sending.shell.mailbox.append(begin)
    sending.send()
    sending.ask()
    assert given == [request_bytes(b"GET", b"/1", [])]
    assert not sending.shell.queue


def test_behind_a_stop_that_was_asked_for_the_loop_answers() -> None:
    """With `Connection: close`: the stop begins before the answer leaves."""
    shell = Shell(direct=True)
    shell.connection.data_received(request_bytes(b"GET", b"/0", []))
    shell.work()
    shell.server.is_shut = True
    shell.workers[0].give("whole", 5)
    assert shell.sender is None
    shell.server.is_draining = True
    shell.connection.membership.announce_close()
    shell.deliver_post()
    shell.transport.deliver()
    assert b"connection: close" in bytes(shell.transport.received).lower()


@pytest.mark.parametrize("stops", [1, 2])
def test_a_client_that_has_said_all_gets_its_answer(sending: Sending, stops: int) -> None:
    """It closes its half (`nc -N`) while the answer is on its way."""
    for _ in range(stops - 1):
        sending.go_on()
    assert sending.shell.connection.eof_received()
    for _ in range(3 - stops):
        sending.go_on(1)  # the loop has to send the rest
    assert not sending.shell.connection.exchange.client_left  # type: ignore[union-attr]
    sending.shell.fire_timer()
    sending.deliver()
    assert sending.received.endswith(b"AAAAA")
    assert sending.transport.is_closing()
    assert [record.complete for record in sending.shell.records] == [True]


def test_a_cut_in_the_middle_ends_everything(sending: Sending) -> None:
    sending.shell.connection.cut()
    sending.send()
    sending.deliver()
    sending.shell.finish()
    assert len(sending.shell.records) == 1
    assert sending.shell.connections == 0
