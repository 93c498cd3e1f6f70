"""Answers: sent by a worker or by the loop, and that nothing is lost in between."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aserve.errors import LocalProtocolError
from aserve.server import answers

from ..certificates import client_context
from ..conformance.wsgi_server import DEADLINE, LOOPS, LiveServer, request


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [threading.current_thread().name.encode()]


def connect(port: int, *, tls: bool) -> socket.socket:
    """A plain socket, or one that speaks TLS."""
    sock = socket.socket()
    if tls:
        # Before it is connected: a connection that is reset meanwhile would leave it unclosed.
        sock = client_context().wrap_socket(sock, server_hostname="127.0.0.1")
    sock.settimeout(DEADLINE)
    try:
        sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize("loop", LOOPS)
def test_a_worker_sends_a_whole_answer_by_itself(loop: str) -> None:
    """The loop is held up on purpose while the app is at work; the client gets its answer."""
    go, held = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(DEADLINE)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/held":
            live.loop.call_soon_threadsafe(hold)
            assert held.wait(DEADLINE)
        return hello(environ, start_response)

    with LiveServer(app, loop=loop) as live, live.connect() as client:
        client.send(request("/held", "POST", "Content-Length: 3") + b"abc")
        assert client.answer().status == 200
        # What is sent ahead of the loop's knowing is the next request all the same.
        client.send(request("/next") + request("/last", "GET", "Connection: close"))
        go.set()
        assert client.answer().status == 200
        assert client.answer()["connection"] == "close"
        assert client.rest() == b""
        live.until(lambda: not live.server.roster)
        records = [live.record() for _ in range(3)]
    paths = [record.request.target for record in records if record.request is not None]
    assert paths == [b"/held", b"/next", b"/last"]
    assert all(record.complete and not record.client_left for record in records)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_worker_has_sent_is_told_soon(loop: str) -> None:
    """Nobody asks for anything any more, and the observer hears of it all the same."""
    with LiveServer(hello, loop=loop) as live, live.connect() as client:
        for _ in range(50):
            client.send(request())
            assert client.answer().status == 200
            assert live.record().complete


@pytest.mark.parametrize("loop", LOOPS)
def test_many_at_once_get_their_own_answers(loop: str) -> None:
    """Batches of many sizes, quick and slow ones among them."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path.endswith("7"):
            threading.Event().wait(0.01)
        start_response("200 OK", [])
        return [path.encode()]

    with LiveServer(app, loop=loop, threads=8) as live, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(live.connect()) for _ in range(64)]
        for size in (1, 2, 3, 8, 64, 64, 64, 5, 64):
            for number, client in enumerate(clients[:size]):
                client.send(request(f"/{number}"))
            for number, client in enumerate(clients[:size]):
                assert client.answer().body == b"/%d" % number


def test_a_large_answer_that_the_client_takes_slowly() -> None:
    """It is begun by the worker and ended by the loop."""
    body = b"x" * 20_000_000

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [body if environ["PATH_INFO"] == "/big" else b"small"]

    with LiveServer(app) as live, live.connect(receive_buffer=4096) as client:
        for _ in range(2):
            client.send(request("/big"))
            assert client.answer().body == body
            client.send(request("/small"))
            assert client.answer().body == b"small"


def test_a_response_that_cannot_be_sent_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The writer checks everything first, so this is for the day when it does not."""

    def refuse(*_: object) -> bytes:
        raise LocalProtocolError("no such response")

    monkeypatch.setattr(answers, "serialize_whole", refuse)
    with LiveServer(hello) as live, live.connect() as client:
        client.send(request())
        assert client.rest() == b""
        assert not live.record().complete
    assert "the response cannot be sent: no such response" in caplog.text


def test_when_all_threads_are_busy_a_client_that_leaves_is_seen() -> None:
    """Its request never reaches the application."""
    go, began = threading.Event(), threading.Event()
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ["PATH_INFO"])
        began.set()
        go.wait(DEADLINE)
        start_response("200 OK", [])
        return []

    with LiveServer(app, threads=1) as live, live.connect() as client:
        client.send(request("/runs"))
        assert began.wait(DEADLINE)
        with live.connect() as other:
            other.send(request("/left"))
            live.until(lambda: len(live.server.pool._jobs) == 1)
            other.reset()
        assert live.record().client_left
        go.set()
        assert client.answer().status == 200
    assert seen == ["/runs"]


@pytest.mark.parametrize("loop", ["asyncio", "own"])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_stop_at_a_random_moment_loses_nothing(seed: int, tls: bool, loop: str) -> None:
    """Clients that ask without a pause: each answer is whole or not begun, and the server ends."""
    clients = 8
    counts = [0] * clients
    warm = threading.Barrier(clients + 1)
    errors: list[str] = []

    def ask(number: int, port: int) -> None:
        with connect(port, tls=tls) as sock:
            while True:
                try:
                    sock.sendall(request(f"/{number}"))
                except ConnectionError:
                    return
                answer = b""
                while not answer.endswith((b"!", b"0\r\n\r\n")):
                    try:
                        piece = sock.recv(65_536)
                    except ConnectionError:
                        piece = b""
                    if not piece:
                        if answer:
                            errors.append(f"cut in the middle: {answer!r}")
                        return
                    answer += piece
                counts[number] += 1
                if counts[number] == 10:
                    warm.wait(DEADLINE)
                if b"connection: close" in answer.lower():
                    return

    def app(environ: Any, start_response: Any) -> Iterator[bytes] | list[bytes]:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/3":
            return iter([b"in ", b"pieces!"])
        return [b"whole!"]

    with LiveServer(app, tls=tls, loop=loop) as live:
        threads = [
            threading.Thread(target=ask, args=(number, live.port)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        warm.wait(DEADLINE)
        before = sum(counts)
        while sum(counts) < before + seed * 7:
            pass
        live.server.shutdown()
        live.join()
        for thread in threads:
            thread.join(DEADLINE)
    assert errors == []
    assert min(counts) >= 10


@pytest.mark.parametrize("loop", ["asyncio", "own"])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("header", ["Connection: keep-alive", "Connection: close"])
def test_a_cut_at_a_random_moment_ends_everything(
    header: str, seed: int, tls: bool, loop: str
) -> None:
    """Small, long and slow requests are under way; the server is closed all the same."""
    stop = threading.Event()
    warm = threading.Semaphore(0)

    def ask(number: int, port: int) -> None:
        method, body = ("POST", b"x" * 300_000) if number % 3 == 2 else ("GET", b"")
        length = f"Content-Length: {len(body)}"
        while not stop.is_set():
            try:
                with connect(port, tls=tls) as sock:
                    for _ in range(3):
                        sock.sendall(request(f"/{number}", method, header, length) + body)
                        if not sock.recv(65_536):
                            break
                        warm.release()
            except OSError:
                continue  # the server closes after one answer, or at the end

    def app(environ: Any, start_response: Any) -> list[bytes]:
        size = len(environ["wsgi.input"].read())
        if environ["PATH_INFO"] == "/4":
            stop.wait(0.003)  # longer than a stall
        start_response("200 OK", [])
        return [b"%d" % size]

    with LiveServer(app, tls=tls, loop=loop) as live:
        threads = [threading.Thread(target=ask, args=(number, live.port)) for number in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(20 + seed * 7):
            assert warm.acquire(timeout=DEADLINE)
        live.server.shutdown(grace=0)
        live.join()
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
    assert not live.server.roster


def test_a_long_body_is_held_back_while_the_app_does_not_read_it() -> None:
    """It has read a piece, then answers, and reads no more for a while."""
    go = threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        environ["wsgi.input"].read(10)
        start_response("200 OK", [])
        yield b"begun"
        go.wait(DEADLINE)
        yield b"%d" % len(environ["wsgi.input"].read())

    size = 30_000_000
    with LiveServer(app) as live, live.connect() as client:
        head = request("/", "POST", f"Content-Length: {size}")
        sender = threading.Thread(target=client.sock.sendall, args=(head + bytes(size),))
        sender.start()

        def is_held_back() -> bool:
            member: Any = next(iter(live.server.roster), None)
            exchange = member and member._connection.exchange
            begun = exchange is not None and exchange.status_code == 200
            return begun and not member._transport.is_reading()

        live.until(is_held_back)
        assert sender.is_alive()
        go.set()
        assert client.answer().body == b"begun%d" % (size - 10)
        sender.join(DEADLINE)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize("piece", [b"", b"x" * 100_000], ids=["short", "long"])
def test_a_client_that_closes_its_half_at_once_gets_an_answer_in_pieces(
    connection: str, piece: bytes
) -> None:
    """Whether that is noticed before the answer has begun, or in the middle of it."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun "
        yield piece
        yield b" ended"

    with LiveServer(app) as live:
        for _ in range(100):
            with live.connect() as client:
                client.send(request("/", "GET", f"Connection: {connection}"))
                client.sock.shutdown(socket.SHUT_WR)
                assert client.answer().body == b"begun " + piece + b" ended"
