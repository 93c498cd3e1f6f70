"""Ends of connections that the random walks came upon, each as a walk of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from aserve.server.gate import Gate
from aserve.server.patience import Phase
from aserve.types import Environ, StartResponse
from aserve.wsgi.file_wrapper import FileWrapper

from ..helpers import PATIENCE, request_bytes
from .shell import CONFIG, Shell

EXPECT = [(b"Expect", b"100-continue"), (b"Content-Length", b"5")]


def one_file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return FileWrapper(Path(__file__).open("rb"))


@pytest.fixture
def shell() -> Iterable[Shell]:
    shell = Shell()
    yield shell
    shell.finish()


@pytest.mark.parametrize("end", ["lost", "cut", "half closed"])
def test_worker_that_waits_for_the_socket_is_let_go(end: str) -> None:
    """A client that does not read, and then leaves, must not keep a thread for ever."""
    posts: SimpleQueue[Any] = SimpleQueue()
    shell = Shell(files=True)
    shell.connection.app = one_file
    shell.connection.post = posts.put
    shell.connection.data_received(request_bytes())
    worker = threading.Thread(target=shell.queue.popleft().run, daemon=True)
    worker.start()
    posts.get(timeout=PATIENCE)()  # the head is on its way; the worker waits until it is gone
    assert shell.transport.get_write_buffer_size()
    if end == "cut":
        shell.connection.cut()
    elif end == "half closed" and not shell.connection.eof_received():
        shell.transport.close()
    shell.transport.lose()
    worker.join(PATIENCE)
    assert not worker.is_alive()


def test_worker_that_is_faster_than_the_loop_does_not_keep_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush ends, even when each piece is followed by the next before it is written.

    The connection is lost, as in asyncio: `write` drops the bytes, and `connection_lost` is to
    come in the next turn of the loop, which has to take place.
    """
    written = 0

    def write(data: bytes) -> None:
        nonlocal written
        written += 1
        assert written < 5, "the flush goes on for as long as the application does"
        shell.settle()
        worker.give("yield", 65_536)

    shell.connection.data_received(request_bytes(target=b"/0"))
    shell.work()
    worker = shell.workers[0]
    worker.give("stream")
    worker.give("yield", 65_536)
    monkeypatch.setattr(shell.transport, "write", write)
    shell.deliver_post()
    assert written
    assert len(shell.mailbox) == 1  # and the rest is not forgotten


def test_response_that_comes_after_the_cut_was_not_sent(shell: Shell) -> None:
    """Neither to the transport, nor according to the log."""
    shell.connection.data_received(request_bytes(target=b"/0"))
    shell.work()
    shell.connection.cut()
    shell.workers[0].give("whole", 10)
    shell.deliver_post()
    shell.transport.turn()
    (record,) = shell.records
    assert not record.complete
    assert record.status_code == 0


def test_no_continue_for_a_client_that_has_left(shell: Shell) -> None:
    """RFC 9110 section 10.1.1: the application asks for the body just when the client leaves."""
    shell.connection.data_received(request_bytes(b"PUT", b"/0", EXPECT))
    shell.work()
    shell.workers[0].give("read", 1)
    shell.transport.lose()
    shell.settle()
    shell.deliver_post()
    assert shell.transport.received == b""


def test_nobody_lingers_for_a_client_that_has_finished(shell: Shell) -> None:
    """RFC 9112 section 9.6: what comes behind the last answer is awaited only while it can come."""
    shell.connection.data_received(request_bytes(target=b"/0") + b"nonsense\r\n")
    assert shell.connection.eof_received()
    shell.work()
    shell.workers[0].give("whole", 10)
    shell.deliver_post()
    assert shell.transport.is_closing()
    shell.transport.deliver()
    assert b"HTTP/1.1 400 " in shell.transport.received


def test_a_body_that_is_complete_at_the_gate_runs_once(shell: Shell) -> None:
    """It came with its head, though the client had said that it would wait."""
    gate = shell.server.gate = Gate(shell.mailbox.append, 1)
    assert gate.enter()
    shell.connection.data_received(request_bytes(b"POST", b"/0", EXPECT, b"hello"))
    assert len(shell.queue) == 1
    gate.leave()
    shell.deliver_post()
    assert len(shell.queue) == 1
    shell.work()
    shell.workers[0].give("read", -1)
    shell.workers[0].give("whole", 0)
    shell.finish()
    assert gate.enter(), "what was not used is free"


def test_what_came_of_a_body_before_it_had_to_wait_is_read_first(shell: Shell) -> None:
    gate = shell.server.gate = Gate(shell.mailbox.append, 1)
    assert gate.enter()
    shell.connection.data_received(request_bytes(b"POST", b"/0", EXPECT, b"wo"))
    assert not shell.queue
    assert not shell.transport.reading
    gate.leave()
    shell.deliver_post()
    assert shell.transport.reading
    stream = shell.queue[0].stream
    assert stream is not None
    shell.connection.data_received(b"rld")
    assert stream.read() == b"world"


def test_a_gate_holds_back_also_what_was_sent_ahead(shell: Shell) -> None:
    gate = shell.server.gate = Gate(shell.mailbox.append, 1)
    assert gate.enter()
    ahead = request_bytes(b"POST", b"/1", [(b"Content-Length", b"9999")], b"x" * 100)
    shell.connection.data_received(request_bytes(b"GET", b"/0", []) + ahead)
    shell.work()
    shell.workers[0].give("whole", 0)
    while shell.mailbox:
        shell.deliver_post()
    assert not shell.queue
    assert not shell.transport.reading


def test_requests_that_are_sent_ahead_wait_in_the_kernel(shell: Shell) -> None:
    """Also when one of them was answered."""
    size = CONFIG.limit_pipeline
    request = request_bytes(b"GET", b"/0", [(b"X", b"x" * 1000)])
    shell.connection.data_received(request * (2 * size // len(request)))
    assert not shell.transport.reading
    for _ in range(3):
        shell.work()
        shell.workers[-1].give("whole", 0)
        while shell.mailbox:
            shell.deliver_post()
        assert not shell.transport.reading


def test_the_time_for_a_body_begins_when_the_client_is_told_to_send_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.connection.data_received(request_bytes(b"POST", b"/0", EXPECT))
    assert shell.connection._watch._phase is Phase.NOTHING
    monkeypatch.setattr(shell.transport, "get_write_buffer_size", lambda: 0)  # taken at once
    shell.connection.send_continue()
    assert shell.connection._watch._phase is Phase.BODY
