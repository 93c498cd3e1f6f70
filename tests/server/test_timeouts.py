"""How long a client may take, over real sockets: what is too long is ended, and nothing else is."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest

from ..certificates import client_context
from ..conformance.wsgi_server import DEADLINE, LiveServer, Log, request

# Seconds. Everything is five times as coarse: one turn of the wheel is a fifth of it.
SHORT = 0.2
HALF = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n12345"


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def hello(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"hello " + body]


@contextlib.contextmanager
def client_of(live: LiveServer) -> Iterator[socket.socket]:
    address = ("127.0.0.1", live.port)
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(address, timeout=DEADLINE))
        if live.tls:
            context = client_context()
            sock = stack.enter_context(context.wrap_socket(sock, server_hostname="127.0.0.1"))
        yield sock


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLZeroReturnError):
        while piece := sock.recv(65_536):
            data += piece
    return data


def test_a_client_that_says_nothing_is_closed(tls: bool) -> None:
    with LiveServer(hello, tls=tls, first_byte_timeout=SHORT) as live:
        began = monotonic()
        with client_of(live) as sock:
            assert read_to_end(sock) == b""
        assert monotonic() - began >= SHORT
        live.until(lambda: not live.server.roster)


def test_a_connection_at_rest_is_closed(tls: bool) -> None:
    with LiveServer(hello, tls=tls, keep_alive_timeout=SHORT) as live, client_of(live) as sock:
        sock.sendall(request())
        began = monotonic()
        assert read_to_end(sock).endswith(b"hello ")
        assert monotonic() - began >= SHORT


def test_a_connection_that_is_used_lives_on() -> None:
    """For much longer than it may rest."""
    with LiveServer(hello, keep_alive_timeout=SHORT, first_byte_timeout=SHORT) as live:
        with live.connect() as client:
            until = monotonic() + 4 * SHORT
            while monotonic() < until:
                client.send(request())
                assert client.answer().body == b"hello "


def drip(sock: socket.socket, data: bytes) -> bytes:
    """Byte by byte, slower than the whole may take, until the server has enough of it.

    In one thread: OpenSSL breaks a connection when two of them read and write it at once.
    """
    answer = b""
    sock.settimeout(SHORT / 10)
    with contextlib.suppress(ConnectionError):
        for byte in data:
            sock.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                answer = sock.recv(65_536)
                break
    sock.settimeout(DEADLINE)
    return answer + read_to_end(sock)


def test_a_head_that_drips_is_answered_408(tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Each byte is no excuse: the whole head has to come in time."""
    caplog.set_level("INFO", "aserve.error")
    with LiveServer(hello, tls=tls, head_timeout=SHORT) as live, Log() as log:
        with client_of(live) as sock:
            began = monotonic()
            answer = drip(sock, request() * 3)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"within 0.2 s (head_timeout)" in answer
        assert b"connection: close" in answer.lower()
        assert monotonic() - began >= SHORT
        assert "408" in log.wait_for("Refused a request")


@pytest.mark.parametrize("more", [b"", b"\r\nX-Padding: " + b"x" * 100])
def test_half_a_second_head_is_answered_408(more: bytes) -> None:
    """Behind a whole request, on a connection that was lent to the workers."""
    with LiveServer(hello, head_timeout=SHORT) as live, live.connect() as client:
        client.send(request())
        assert client.answer().body == b"hello "
        client.send(b"GET / HTTP/1.1\r\nHost: a.example" + more)
        assert client.answer().status == 408


def test_a_body_that_stops_is_answered_408(tls: bool) -> None:
    with LiveServer(hello, tls=tls, body_timeout=SHORT) as live, client_of(live) as sock:
        sock.sendall(HALF)
        answer = read_to_end(sock)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"for 0.2 s (body_timeout)" in answer


def test_a_long_body_that_stops_is_an_error_where_the_app_reads() -> None:
    with LiveServer(hello, body_timeout=SHORT, body_buffer=2) as live, client_of(live) as sock:
        sock.sendall(HALF)
        answer = read_to_end(sock)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"(body_timeout)" in answer


@pytest.mark.parametrize("buffer", [2, 65_536])
def test_a_body_that_drips_is_waited_for(buffer: int) -> None:
    """As long as some of it comes: twice as long in all."""
    with LiveServer(hello, body_timeout=SHORT, body_buffer=buffer) as live:
        with live.connect() as client:
            client.send(HALF[:-5])
            for byte in b"1234567890":
                sleep(SHORT / 5)
                client.send(bytes([byte]))
            assert client.answer().body == b"hello 1234567890"


def test_an_app_that_takes_its_time_is_not_the_client_s_fault() -> None:
    """Neither before it reads the body, of which some was held back, nor behind."""
    go = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        go.wait(DEADLINE)
        return hello(environ, start_response)

    options = dict.fromkeys(
        ("first_byte_timeout", "head_timeout", "keep_alive_timeout", "body_timeout"), SHORT
    )
    with LiveServer(app, **options, body_buffer=2) as live:
        with live.connect() as slow, live.connect() as polite:
            slow.send(request(method="POST", body=b"x" * 1_000_000))
            polite.send(HALF[:-7] + b"Expect: 100-continue\r\n\r\n")
            _turn(live, 10)
            go.set()
            assert slow.answer().body == b"hello " + b"x" * 1_000_000
            assert polite.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
            polite.send(b"1234567890")
            assert polite.answer().body == b"hello 1234567890"


def _turn(live: LiveServer, times: int) -> None:
    """Wait for turns of the wheel."""
    wheel = live.server.patience.wheel
    until = wheel.now + times
    done = threading.Event()

    def look() -> None:
        if wheel.now >= until:
            done.set()
        else:
            live.loop.call_later(0.01, look)

    live.loop.call_soon_threadsafe(look)
    assert done.wait(DEADLINE)


def endless(left: threading.Event) -> Callable[..., Iterator[bytes]]:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 65_536
        finally:
            left.set()

    return app


def test_a_client_that_takes_nothing_is_cut(tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aserve.error")
    left = threading.Event()
    with LiveServer(endless(left), tls=tls, send_timeout=SHORT) as live, Log() as log:
        with client_of(live) as sock:
            began = monotonic()
            sock.sendall(request())
            assert "taken nothing of the answer to GET /" in log.wait_for("send_timeout")
            assert monotonic() - began >= SHORT
            assert left.wait(DEADLINE)
        live.until(lambda: not live.server.roster)


def test_a_client_that_takes_its_answer_slowly_gets_it() -> None:
    """In four times the time that it may take nothing."""
    size = 8_000_000

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    with LiveServer(app, send_timeout=SHORT) as live, live.connect(receive_buffer=4096) as client:
        client.send(request())
        got = len(client.until(b"\r\n\r\n")) * 0
        for _ in range(20):
            sleep(SHORT / 5)
            got += len(client.exactly(100_000))
        got += len(client.exactly(size - got))
        assert got == size


def test_without_time_outs_everybody_is_waited_for() -> None:
    names = (
        "first_byte_timeout", "head_timeout", "handshake_timeout", "keep_alive_timeout",
        "body_timeout", "send_timeout",
    )  # fmt: skip
    with LiveServer(hello, **dict.fromkeys(names, 0), stuck_after=0.02) as live:
        with live.connect() as mute, live.connect() as half, live.connect() as rest:
            half.send(HALF)
            rest.send(request())
            assert rest.answer().body == b"hello "
            _turn(live, 200)
            half.send(b"67890")
            assert half.answer().body == b"hello 1234567890"
            for client in (mute, rest):
                client.send(request())
                assert client.answer().body == b"hello "


def test_time_in_which_the_loop_stands_still_does_not_count() -> None:
    """As under a debugger that stops all threads."""
    with LiveServer(hello, keep_alive_timeout=SHORT) as live, live.connect() as client:
        client.send(request())
        assert client.answer().body == b"hello "
        stood_still = threading.Event()

        def stand_still() -> None:
            sleep(2 * SHORT)
            stood_still.set()

        live.loop.call_soon_threadsafe(stand_still)
        assert stood_still.wait(DEADLINE)
        client.send(request())
        assert client.answer().body == b"hello "


def test_a_server_at_rest_has_no_timer() -> None:
    with LiveServer(hello, keep_alive_timeout=SHORT) as live:
        assert not live.server.patience.wheel.is_turning
        assert live.get().status == 200
        assert live.server.patience.wheel.is_turning
        live.server.pool.close()  # its threads wait for some seconds else
        live.until(lambda: not live.server.pool.size)
        live.until(lambda: not live.server.patience.wheel.is_turning)
