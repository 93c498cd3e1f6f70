"""Bodies that are received straight into a buffer, which the next request may get."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aserve.server.buffers import BUFFER_SIZE, Buffers, KeptBody
from aserve.server.connection import Connection
from aserve.server.gate import Collected
from aserve.server.mailbox import Mailbox
from aserve.server.read_side import READ_SIZE

from ..conformance.wsgi_server import DEADLINE, Client, LiveServer
from ..helpers import request_bytes

SIZES = [READ_SIZE, READ_SIZE + 1, 3 * READ_SIZE, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1]


def echo(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def live() -> Iterator[LiveServer]:
    with LiveServer(echo) as live:
        yield live
        live.until(lambda: live.server.collected._left == Collected()._left)  # all given back


def post(body: bytes) -> bytes:
    return request_bytes(b"POST", b"/", [(b"Content-Length", b"%d" % len(body))], body)


@pytest.mark.parametrize("size", SIZES)
def test_each_request_gets_its_own_bytes(live: LiveServer, size: int) -> None:
    """Also one behind the body in the same packet, and one that has the buffer of another."""
    bodies = [Random(number).randbytes(size) for number in range(3)]
    with live.connect() as client:
        sender = threading.Thread(target=client.send, args=(b"".join(map(post, bodies)),))
        sender.start()
        for body in bodies:
            assert client.answer().body == body
        sender.join(DEADLINE)


@pytest.mark.parametrize("size", SIZES)
def test_over_tls_it_is_collected_in_pieces(size: int) -> None:
    bodies = [Random(number).randbytes(size) for number in range(3)]
    with LiveServer(echo, tls=True) as live, live.connect() as client:
        for body in bodies:
            client.send(post(body))
            assert client.answer().body == body
        assert not live.server.buffers._kept
        live.until(lambda: live.server.collected._left == Collected()._left)


def test_bodies_that_come_piece_by_piece_at_the_same_time(live: LiveServer) -> None:
    bodies = [Random(number).randbytes(BUFFER_SIZE - number) for number in range(12)]
    clients = [live.connect() for _ in bodies]
    rest = [post(body) for body in bodies]
    while any(rest):
        for number, client in enumerate(clients):
            client.sock.sendall(rest[number][:90_000])
            rest[number] = rest[number][90_000:]
    for client, body in zip(clients, bodies, strict=True):
        assert client.answer().body == body
        client.sock.close()
    live.until(lambda: not live.server.roster)
    assert len(live.server.buffers._kept) <= 8


def receive(live: LiveServer, client: Client, data: bytes) -> None:
    """Have the loop read all of this in one go."""
    live.until(lambda: len(live.server.roster) == 1)
    (member,) = live.server.roster
    transport: Any = member._transport  # type: ignore[attr-defined]
    live.until(lambda: transport.pause_reading() is None)
    client.send(data)
    live.until(lambda: transport.resume_reading() is None)


def test_who_sends_a_lot_gets_a_buffer(live: LiveServer) -> None:
    with live.connect() as client:
        receive(live, client, post(bytes(BUFFER_SIZE))[:90_000])
        live.until(lambda: live.server.collected._left == Collected()._left - BUFFER_SIZE)
        client.send(bytes(BUFFER_SIZE - 90_000 + len(post(bytes(BUFFER_SIZE))) - BUFFER_SIZE))
        assert client.answer().body == bytes(BUFFER_SIZE)
    live.until(lambda: len(live.server.buffers._kept) == 1)


def test_who_sends_a_little_of_a_lot_gets_none(live: LiveServer) -> None:
    """A megabyte for a byte would be too much."""
    with live.connect() as client:
        receive(live, client, post(bytes(BUFFER_SIZE))[:1000])
        live.until(lambda: live.server.collected._left != Collected()._left)
        assert live.server.collected._left > Collected()._left - 1000
        client.send(post(bytes(BUFFER_SIZE))[1000:])
        assert client.answer().body == bytes(BUFFER_SIZE)


def test_a_body_that_begins_behind_an_answer_whose_note_is_late(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has sent the answer, and the loop has one part of the next request, and another."""
    calls: list[bytes] = []
    late, left = threading.Event(), threading.Event()
    leave, data_received = Mailbox.leave, Connection.data_received

    def leave_late(self: Mailbox, message: Any) -> None:
        assert late.wait(DEADLINE)
        leave(self, message)
        left.set()

    def receive_late(self: Connection, data: bytes) -> None:
        calls.append(data)
        if len(calls) == 3:
            late.set()
            while not left.is_set():  # of some microseconds, and nothing else runs here
                pass
        data_received(self, data)

    body = Random(1).randbytes(400_000)
    with live.connect() as client:
        client.send(request_bytes())
        assert client.answer().status == 200
        monkeypatch.setattr(Mailbox, "leave", leave_late)
        monkeypatch.setattr(Connection, "data_received", receive_late)
        client.send(request_bytes())
        assert client.answer().status == 200
        data = post(body)
        client.send(data[:60_000])
        live.until(lambda: len(calls) == 2)
        client.send(data[60_000:])
        assert client.answer().body == body


@pytest.mark.parametrize("end", ["close", "reset", "half"])
def test_a_client_that_leaves_in_the_middle(live: LiveServer, end: str) -> None:
    with live.connect() as client:
        client.send(post(bytes(BUFFER_SIZE))[:-1])
        live.until(lambda: live.server.collected._left < Collected()._left)
        if end == "half":
            client.sock.shutdown(socket.SHUT_WR)
        elif end == "reset":
            client.reset()
        else:
            client.sock.close()
        live.until(lambda: not live.server.roster)
    assert len(live.server.buffers._kept) == 1


def test_a_body_that_stops_coming_is_refused() -> None:
    with LiveServer(echo, body_timeout=0.2) as live, live.connect() as client:
        client.send(post(bytes(BUFFER_SIZE))[:-1])
        assert client.answer().status == 408
        live.until(lambda: len(live.server.buffers._kept) == 1)


def test_beyond_what_all_may_have_together_bodies_stream(
    monkeypatch: pytest.MonkeyPatch, live: LiveServer
) -> None:
    monkeypatch.setattr(live.server, "collected", Collected(BUFFER_SIZE))
    with live.connect() as first, live.connect() as second:
        first.send(post(bytes(BUFFER_SIZE))[:-1])
        live.until(lambda: live.server.collected._left == 0)
        second.send(post(bytes(BUFFER_SIZE))[:-1])
        live.until(lambda: bool(live.server.pool.running()))
        second.send(b"\0")
        assert second.answer().body == bytes(BUFFER_SIZE)
        first.send(b"\0")
        assert first.answer().body == bytes(BUFFER_SIZE)
    live.until(lambda: live.server.collected._left == BUFFER_SIZE)
    monkeypatch.undo()


def test_what_reads_behind_the_end_of_its_request_fails() -> None:
    """It would read the body of another one."""
    inputs: list[Any] = []

    def keep(environ: Any, start_response: Any) -> list[bytes]:
        inputs.append(environ["wsgi.input"])
        return echo(environ, start_response)

    with LiveServer(keep) as live, live.connect() as client:
        client.send(post(bytes(BUFFER_SIZE)))
        assert len(client.answer().body) == BUFFER_SIZE
        live.until(lambda: bool(live.server.buffers._kept))
        with pytest.raises(ValueError, match="behind the end of its request"):
            inputs[0].seek(0)
        with pytest.raises(ValueError, match="behind the end of its request"):
            inputs[0].read(100_000)


# -- the stream, beside one of the standard library ----------------------------------------

SIZE = st.integers(0, 40)
CALLS = st.one_of(
    st.tuples(st.just("read"), st.one_of(st.none(), st.just(-1), SIZE)),
    st.tuples(st.just("readline"), st.one_of(st.just(-1), SIZE)),
    st.tuples(st.just("readlines"), SIZE),
    st.tuples(st.just("seek"), SIZE),
)


@given(st.binary(max_size=60), st.lists(CALLS, max_size=8))
def test_it_reads_like_a_file_in_memory(body: bytes, calls: list[tuple[str, Any]]) -> None:
    buffers = Buffers()
    buffer = buffers.take()
    buffer[: len(body)] = body
    kept = KeptBody(buffers, buffer, len(body))
    ours, theirs = io.BufferedReader(kept, 16), io.BytesIO(body)
    for name, argument in calls:
        assert getattr(ours, name)(argument) == getattr(theirs, name)(argument)
    assert list(ours) == list(theirs)
    assert ours.seek(-1, io.SEEK_END) == theirs.seek(-1, io.SEEK_END) if body else True
    assert ours.seek(1, io.SEEK_CUR) == len(body) if body else True
    kept.release()
    kept.release()
    assert list(buffers._kept) == [buffer]
