"""TLS in the thread that has the connection: records in any shape, and both kinds of end."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aserve.server.tls import TLSSocket

from ..certificates import client_context, server_context
from ..conformance.wsgi_server import DEADLINE, Client, LiveServer, chunked, request


def echo(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


class Pieces:
    """TLS over a connection whose every byte the test sends itself."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(
            self.incoming, self.outgoing, server_hostname="127.0.0.1"
        )
        self._until(self.tls.do_handshake)

    def _until(self, step: Any) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65_536)
                if not data:
                    self.incoming.write_eof()
                self.incoming.write(data)
            finally:
                self.flush()

    def flush(self, size: int = 0) -> None:
        """Send what is encrypted, in pieces of `size` bytes."""
        data = self.outgoing.read()
        for start in range(0, len(data), size or len(data) or 1):
            self.sock.sendall(data[start : start + (size or len(data))])

    def read(self) -> bytes:
        """What comes next; empty at close_notify."""
        try:
            return bytes(self._until(lambda: self.tls.read(65_536)))
        except ssl.SSLZeroReturnError:
            return b""

    def read_all(self) -> bytes:
        """Everything up to close_notify."""
        found = b""
        while piece := self.read():
            found += piece
        return found

    def __enter__(self) -> Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


@pytest.mark.parametrize("size", [1, 5, 100, 16_000])
def test_records_arrive_in_pieces(size: int) -> None:
    body = b"0123456789" * (30 if size == 1 else 10_000)
    with LiveServer(echo, tls=True) as live, Pieces(live.port) as client:
        for _ in range(2):
            client.tls.write(request("/", "POST", body=body))
            client.flush(size)
            answer = b""
            while not answer.endswith(body):
                answer += client.read()
        assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [100, 70_000, 3_000_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_bodies_of_any_size_in_both_directions(size: int, coding: str) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    with LiveServer(echo, tls=True) as live, live.connect() as client:
        for _ in range(2):
            if coding == "length":
                data = request("/", "POST", body=body)
            else:
                data = request("/", "POST", "Transfer-Encoding: chunked") + chunked(body)
            client.send(data)
            assert client.answer().body == body


def test_a_client_that_reads_slowly_gets_everything() -> None:
    body = bytes(range(256)) * 40_000

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [body if environ["PATH_INFO"] == "/big" else b"small"]

    with LiveServer(app, tls=True) as live, live.connect(receive_buffer=4096) as client:
        client.send(request("/big") + request("/"))
        assert client.answer().body == body
        assert client.answer().body == b"small"
        client.send(request("/"))
        assert client.answer().body == b"small"


def test_pipelined_requests_in_one_record() -> None:
    with LiveServer(echo, tls=True) as live, live.connect() as client:
        client.send(b"".join(request("/", "POST", body=b"%d" % number) for number in range(50)))
        assert [client.answer().body for _ in range(50)] == [b"%d" % n for n in range(50)]


@pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
def test_the_end_is_announced(header: str) -> None:
    """close_notify, whoever ends the connection; the client would raise without it."""
    with LiveServer(echo, tls=True) as live, live.connect() as client:
        client.send(request("/", "GET", header))
        assert client.answer().status == 200
        if header.endswith("alive"):
            live.server.shutdown()
        assert client.rest() == b""


def test_a_refused_request_is_answered_and_the_end_announced() -> None:
    with LiveServer(echo, tls=True) as live, live.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 1000)
        assert client.answer().status == 400
        assert client.rest() == b""
        client.sock.close()
        live.until(lambda: not live.server.roster)


def test_an_answer_that_breaks_off_has_no_announced_end() -> None:
    """Or else the client would take it for a complete one."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"x" * 1000
        raise RuntimeError("in the middle")

    with LiveServer(app, tls=True) as live, live.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ssl.SSLEOFError):
            client.rest()


@pytest.mark.parametrize("together", [False, True])
def test_a_client_that_announces_its_end_gets_its_answer(together: bool) -> None:
    """It has asked and closes its half; with the request in one packet, or after it."""
    with LiveServer(echo, tls=True) as live, Pieces(live.port) as client:
        client.tls.write(request("/", "POST", body=b"last"))
        if not together:
            client.flush()
            assert b"last" in client.read()
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.flush()
        if together:
            # Our side of TLS is closed, so what comes is looked at as the packets it is.
            while client.sock.recv(65_536):
                pass
            assert live.record().complete
        else:
            client.sock.recv(65_536)
        live.until(lambda: not live.server.roster)


def test_a_truncated_upload_is_an_error_to_the_app() -> None:
    seen: list[BaseException] = []
    entered, done = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        entered.set()
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            seen.append(error)
            raise
        finally:
            done.set()
        return []

    with LiveServer(app, tls=True) as live:
        for header in ("Content-Length: 2000000", "Transfer-Encoding: chunked"):
            entered.clear()
            done.clear()
            with live.connect() as client:
                client.send(request("/", "POST", header) + b"fffff1\r\n" + b"x" * 1_100_000)
                assert entered.wait(DEADLINE)
                client.sock.shutdown(socket.SHUT_RDWR)
            assert done.wait(DEADLINE)
        live.until(lambda: not live.server.roster)
    assert len(seen) == 2


def test_broken_records_end_the_connection_and_nothing_else() -> None:
    with LiveServer(echo, tls=True) as live:
        with Pieces(live.port) as client:
            client.tls.write(request())
            assert client.outgoing.pending
            client.flush()
            assert client.read()
            client.sock.sendall(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
            with pytest.raises(ssl.SSLError):
                client.read()
        live.until(lambda: not live.server.roster)
        assert live.get().status == 200


def test_what_the_kernel_does_not_take_is_sent_later() -> None:
    """As OpenSSL wants it: the same data is given again, and its records are made once."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        server = TLSSocket(ours, server_context())
        received: list[bytes] = []

        def read() -> None:
            with client_context().wrap_socket(theirs, server_hostname="127.0.0.1") as tls:
                ready.set()
                go.wait(DEADLINE)
                while piece := tls.recv(65_536):
                    received.append(piece)

        ready, go = threading.Event(), threading.Event()
        reader = threading.Thread(target=read)
        reader.start()
        done = False
        while not done:
            try:
                done = server.handshake()
            except BlockingIOError:
                continue
        assert ready.wait(DEADLINE)
        data = memoryview(bytes(range(256)) * 10_000)
        blocked = 0
        while data:
            try:
                data = data[server.send(data) :]
            except BlockingIOError:
                blocked += 1
                go.set()
        assert blocked
        server.close()
        reader.join(DEADLINE)
    assert b"".join(received) == bytes(range(256)) * 10_000


def test_a_buffer_is_free_again_when_the_connection_breaks() -> None:
    """Who cleans up behind the error can empty it, while the error still holds its frames."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        server = TLSSocket(ours, server_context())
        is_done = threading.Event()

        def come_and_go() -> None:
            with client_context().wrap_socket(theirs, server_hostname="127.0.0.1"):
                is_done.wait(DEADLINE)

        client = threading.Thread(target=come_and_go)
        client.start()
        done = False
        while not done:
            try:
                done = server.handshake()
            except BlockingIOError:
                continue
        is_done.set()
        client.join(DEADLINE)
        buffer = bytearray(100_000)
        try:
            while True:
                server.send(buffer)
        except ConnectionError:
            buffer.clear()
        assert not buffer


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("rest", [b"ET / HTTP/1.1\r\n", b"\x17\x03\x03\x00\x20 half a record"])
def test_a_reset_behind_half_a_request_is_seen(loop: str, tls: bool, rest: bytes) -> None:
    """Both have come when the loop looks; libuv tells of a socket with an error only once."""
    with LiveServer(echo, loop=loop, tls=tls) as live, live.connect() as client:
        client.send(b"G")
        live.until(
            lambda: any(
                one._transport.is_reading()  # type: ignore[attr-defined]
                for one in live.server.roster
                if hasattr(one, "_transport")
            )
        )
        done = threading.Event()

        def both_come() -> None:
            if tls and rest.startswith(b"\x17"):
                fd = client.sock.detach()
                client.sock = socket.socket(fileno=fd)
            client.send(rest)
            client.reset()
            done.set()

        live.loop.call_soon_threadsafe(both_come)
        assert done.wait(DEADLINE)
        live.until(lambda: not live.server.roster)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_reset_while_the_next_records_are_made_ends_the_connection(loop: str) -> None:
    """What the failed call held of the buffer kept the connection, and so the end of the server."""
    with LiveServer(echo, loop=loop, tls=True) as live, live.connect() as client:
        client.send(request())
        assert client.answer().status == 200

        def write_and_leave() -> None:
            (member,) = live.server.roster
            # The first records go out at once. The others wait for the next turn, and by then
            # there is nobody to send them to.
            member._transport.write(bytes(1_000_000))  # type: ignore[attr-defined]
            client.reset()

        live.loop.call_soon_threadsafe(write_and_leave)
        live.until(lambda: not live.server.roster)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_plain_http_is_redirected(method: str) -> None:
    with LiveServer(echo, tls=True) as live, Client(live.port) as client:
        client.send(request("/a%20b?c=%2F", method))
        answer = client.answer(method)
        assert answer.status == 307
        assert answer["location"] == "https://a.example/a%20b?c=%2F"
        assert client.rest() == b""
        assert live.get().status == 200


def test_plain_http_that_cannot_be_redirected_is_told_where_to_go() -> None:
    with LiveServer(echo, tls=True) as live:
        with Client(live.port) as client:
            client.send(request("/form", "POST", body=b"secret"))
            answer = client.answer()
            assert (answer.status, answer.body) == (
                400, b"This server speaks HTTPS: https://a.example/\n",
            )  # fmt: skip
        with Client(live.port) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.answer()["location"] == f"https://127.0.0.1:{live.port}/"
        with Client(live.port) as client:
            client.send(b"neither the one nor the other\r\n\r\n")
            assert client.answer().status == 400
        live.until(lambda: not live.server.roster)
