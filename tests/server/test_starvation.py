"""Clients that are slow, many or mute take nothing from the others."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import pytest

from aserve.server.gate import Gate

from ..conformance.wsgi_server import DEADLINE, Client, LiveServer, Log, request

THREADS = 8
# A fresh client's answer; the issue at hand was that there was none at all.
SOON = 0.25
BODY = b"x" * 100_000  # longer than is collected before a thread is taken
HEAD = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\n"


def echo(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"%d" % len(body)]


@contextlib.contextmanager
def many(live: LiveServer, count: int, said: bytes = b"") -> Iterator[list[Client]]:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(live.connect()) for _ in range(count)]
        for client in clients:
            if said:
                client.send(said)
        yield clients


def best_time(live: LiveServer) -> float:
    """Of three fresh clients: a busy machine may hold one up."""
    times = []
    for _ in range(3):
        began = perf_counter()
        assert live.get().status == 200
        times.append(perf_counter() - began)
    return min(times)


@pytest.mark.parametrize("sent", [10, 70_000, 99_999])
def test_mute_clients_and_half_bodies_starve_nobody(sent: int) -> None:
    with LiveServer(echo, threads=THREADS) as live:
        with many(live, 200), many(live, 64, HEAD + BODY[:sent]) as halves:
            live.until(lambda: len(live.server.roster) >= 264)
            assert best_time(live) < SOON
            for client in halves:
                client.send(BODY[sent:])
            for client in halves:
                assert client.answer().body == b"100000"
            # Who came back from waiting is not one more than may be.
            live.until(lambda: live.server.pool.size <= THREADS)


def test_clients_that_do_not_read_starve_nobody() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return (b"x" * 100_000 for _ in range(80)) if environ["PATH_INFO"] == "/long" else [b""]

    with LiveServer(app, threads=THREADS) as live:
        with many(live, 16, request("/long")) as clients:
            live.until(lambda: live.server.pool._lent == 16)
            assert best_time(live) < SOON
            for client in clients:
                assert len(client.answer().body) == 8_000_000


def test_expect_continue_takes_a_thread_and_lends_it() -> None:
    """The app decides whether it wants the body, and only then is it sent."""
    head = HEAD[:-2] + b"Expect: 100-continue\r\n\r\n"
    with LiveServer(echo, threads=2) as live, many(live, 20, head) as clients:
        for client in clients:
            assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        assert best_time(live) < SOON
        for client in clients:
            client.send(BODY)
            assert client.answer().body == b"100000"


def test_beyond_the_gate_a_body_waits_on_the_loop() -> None:
    with LiveServer(echo, threads=2, body_buffer=10) as live:
        live.server.gate = Gate(live.server.mailbox.post, most=1)
        with live.connect() as first, live.connect() as second, live.connect() as third:
            first.send(HEAD + BODY[:100])
            live.until(lambda: live.server.pool._lent == 1)
            for client in (second, third):
                client.send(HEAD + BODY[:100])
            live.until(lambda: len(live.server.gate._waiting) == 2)
            third.send(BODY[100:])
            assert live.get().status == 200
            second.sock.close()
            first.send(BODY[100:])
            assert first.answer().body == b"100000"
            assert third.answer().body == b"100000"


STUCK = 0.05


def test_a_stuck_view_costs_one_thread_and_is_named() -> None:
    go = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/stuck":
            go.wait(DEADLINE)
        return echo(environ, start_response)

    with LiveServer(app, threads=2, stuck_after=STUCK) as live, Log() as log:
        with live.connect() as client:
            client.send(request("/stuck?a=1"))
            line = log.wait_for("Still at work")
            assert "GET /stuck?a=1 (" in line
            assert "tests/server/test_starvation.py:" in line
            assert "aserve-worker-" in line
            assert best_time(live) < SOON
            _turns(live, 20)
            go.set()
            assert client.answer().body == b"0"
    assert sum("Still at work" in line for line in log.lines) == 1


def test_who_streams_or_waits_for_a_client_is_not_stuck() -> None:
    go = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        yield b"begun"
        go.wait(DEADLINE)

    with LiveServer(app, stuck_after=STUCK) as live, Log() as log:
        with live.connect() as stream, live.connect() as half:
            stream.send(request())
            stream.until(b"begun")
            half.send(HEAD + BODY[:70_000])
            _turns(live, 20)
            go.set()
            half.send(BODY[70_000:])
            half.until(b"begun")
    assert not [line for line in log.lines if "Still at work" in line]


def test_nobody_is_called_stuck_at_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person thinks."""
    import io
    import pdb

    go, asked = threading.Event(), threading.Event()

    class Person(io.StringIO):
        def readline(self, *args: Any) -> str:
            asked.set()
            go.wait(DEADLINE)
            return "continue\n"

    def app(environ: Any, start_response: Any) -> list[bytes]:
        pdb.Pdb(stdin=Person(), stdout=io.StringIO(), nosigint=True, readrc=False).set_trace()
        return echo(environ, start_response)

    with LiveServer(app, stuck_after=STUCK) as live, Log() as log, live.connect() as client:
        client.send(request())
        assert asked.wait(DEADLINE)
        _turns(live, 20)
        go.set()
        assert client.answer().body == b"0"
    assert not [line for line in log.lines if "Still at work" in line]


def test_nobody_is_called_stuck_when_that_is_off() -> None:
    go = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        go.wait(DEADLINE)
        return echo(environ, start_response)

    with LiveServer(app, stuck_after=0, head_timeout=STUCK) as live, Log() as log:
        with live.connect() as client:
            client.send(request())
            _turns(live, 20)
            go.set()
            assert client.answer().body == b"0"
    assert not log.lines


def _turns(live: LiveServer, times: int) -> None:
    wheel = live.server.patience.wheel
    until = wheel.now + times
    live.until(lambda: wheel.now >= until)
