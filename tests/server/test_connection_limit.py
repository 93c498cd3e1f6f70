"""No more connections than allowed: who rests gives way, or new ones wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aserve.server import roster

from ..conformance.wsgi_server import DEADLINE, LiveServer, Log, request

# Seconds, of the wheel.
TURN = 0.02


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def test_who_rests_for_longest_gives_way() -> None:
    with LiveServer(hello, limit_connections=3, head_timeout=TURN * 5) as live, Log() as log:
        with live.connect() as first, live.connect() as second, live.connect() as third:
            for client in (first, second, third):
                client.send(request())
                assert client.answer().body == b"hello"
                _turns(live, 2)
            assert live.get().body == b"hello"
            # It was closed, not cut.
            assert first.sock.recv(1) == b""
            assert "3 connections are open" in log.wait_for("limit_connections")
            for client in (second, third):
                client.send(request())
                assert client.answer().body == b"hello"


def _turns(live: LiveServer, times: int) -> None:
    wheel = live.server.patience.wheel
    until = wheel.now + times
    live.until(lambda: wheel.now >= until)


def test_new_ones_wait_while_all_are_busy() -> None:
    go = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        go.wait(DEADLINE)

    with LiveServer(app, limit_connections=2) as live, Log() as log:
        with live.connect() as first, live.connect() as second:
            for client in (first, second):
                client.send(request())
                client.until(b"begun")
            with live.connect() as late:
                late.send(request())
                assert "wait until one ends" in log.wait_for("limit_connections")
                assert len(live.server.roster) == 2
                first.sock.close()
                late.until(b"begun")
                go.set()


def test_the_system_s_limit_counts_with_a_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for files, most in (
        (1024, 768),
        (100, 75),
        (100_000, 10_000),
        (resource.RLIM_INFINITY, 10_000),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert roster.most_connections(10_000) == most
