"""How connections come in: one by one, in bursts, and when that goes wrong."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aserve.server import accepting, membership

from ..certificates import client_context
from ..conformance.wsgi_server import DEADLINE, LiveServer, Log, request


def hello(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"hello " + body]


class Failing:
    """A listening socket whose first accepts fail."""

    def __init__(self, sock: socket.socket, number: int, times: int = 1) -> None:
        self._sock = sock
        self._number = number
        self._times = times

    def accept(self) -> tuple[socket.socket, Any]:
        if self._times:
            self._times -= 1
            raise OSError(self._number, "refused by the test")
        return self._sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_burst_is_served(loop: str, tls: bool) -> None:
    with LiveServer(hello, loop=loop, tls=tls) as live:
        clients = [live.connect() for _ in range(40)]
        for client in clients:
            client.send(request("/", "POST", body=b"you"))
        for client in clients:
            assert client.answer().body == b"hello you"
            client.sock.close()
        live.until(lambda: not live.server.roster)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EPROTO, errno.EPERM])
def test_when_accepting_fails_it_pauses_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tls: bool, number: int
) -> None:
    """Whatever it is: accept(2) also tells of a network or a firewall that is gone in a moment."""
    monkeypatch.setattr(accepting, "PAUSE", 0.01)
    with LiveServer(hello, tls=tls) as live, Log() as log:
        (listener,) = live.server._listeners
        listener._sock = Failing(listener._sock, number, 3)  # type: ignore[assignment]
        assert live.get().status == 200
        assert log.lines == [
            "ERROR Cannot accept connections for now: refused by the test; "
            "trying again every 0.01 s"
        ]


def test_a_client_that_left_the_backlog_is_nothing() -> None:
    with LiveServer(hello) as live:
        (listener,) = live.server._listeners
        listener._sock = Failing(listener._sock, errno.ECONNABORTED)  # type: ignore[assignment]
        assert live.get().status == 200


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.ENFILE])
def test_clients_behind_one_that_fails_are_answered_at_the_end(number: int) -> None:
    """When the server stops, it empties the backlog, whatever it finds there."""
    with LiveServer(hello) as live, contextlib.ExitStack() as stack:
        (listener,) = live.server._listeners
        held, arrived = threading.Event(), threading.Event()

        def stop_when_they_have_come() -> None:
            held.set()
            arrived.wait(DEADLINE)
            listener._sock = Failing(listener._sock, number)  # type: ignore[assignment]
            live.server._begin_drain(60)

        live.loop.call_soon_threadsafe(stop_when_they_have_come)
        held.wait(DEADLINE)
        clients = [stack.enter_context(live.connect()) for _ in range(3)]
        for client in clients:
            client.send(request())
        arrived.set()
        for client in clients:
            assert client.answer().body == b"hello "


def test_when_all_threads_are_busy_the_loop_accepts() -> None:
    """So that what a client sends is seen, and that it leaves."""
    go, busy = threading.Event(), threading.Semaphore(0)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            busy.release()
            go.wait(DEADLINE)
        return hello(environ, start_response)

    for tls in (False, True):
        with LiveServer(app, threads=2, tls=tls) as live:
            slow = [live.connect() for _ in range(2)]
            for client in slow:
                client.send(request("/slow"))
                assert busy.acquire(timeout=DEADLINE)
            late = [live.connect() for _ in range(3)]
            late[0].send(b"nonsense\r\n\r\n")
            assert late[0].answer().status == 400
            late[1].send(request())
            late[2].sock.close()
            live.until(lambda: len(live.server.roster) == 4)
            go.set()
            for client in (*slow, late[1]):
                assert client.answer().status == 200
                client.sock.close()
            late[0].sock.close()
        go.clear()


def test_mute_handshakes_cost_no_thread_and_delay_nobody() -> None:
    """Sixty-four clients connect and say nothing; they are gone when the server ends."""
    with LiveServer(hello, tls=True, threads=2) as live:
        mute = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(64)]
        for _ in range(5):
            assert live.get().body == b"hello "
        assert live.server.pool.size <= 2
        live.until(lambda: len(live.server.roster) == 64)
        live.server.shutdown(grace=60)
        live.join()
        for sock in mute:
            assert sock.recv(1) == b""
            sock.close()


def test_a_handshake_that_takes_too_long_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "aserve.error")
    with LiveServer(hello, tls=True, handshake_timeout=0.01) as live, Log() as log:
        with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE) as sock:
            assert sock.recv(1) == b""
        assert "took too long" in log.wait_for("handshake")


class HalfHandshake:
    """A client that has sent the first half of its handshake while the loop was held up."""

    def __init__(self, live: LiveServer) -> None:
        held, sent = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            sent.wait(DEADLINE)

        live.loop.call_soon_threadsafe(hold)
        held.wait(DEADLINE)
        # Before it comes, or else a quick server has let it in, and has closed it again because
        # it has said nothing.
        live.server.shutdown(grace=60)
        self.sock = socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(
            self.incoming, self.outgoing, server_hostname="127.0.0.1"
        )
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.sock.sendall(self.outgoing.read())
        # Sent is not arrived: a busy kernel hands even what stays here on a moment later.
        while struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))[0]:
            os.sched_yield()
        sent.set()

    def until(self, step: Callable[[], Any]) -> Any:
        """Repeat a step of TLS until it has what it needs."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                data = self.sock.recv(65_536)
                assert data, "the server has closed"
                self.incoming.write(data)
            finally:
                if self.outgoing.pending:
                    self.sock.sendall(self.outgoing.read())


def test_a_handshake_under_way_is_finished_when_the_server_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client was let in, so its request is answered, if it comes soon."""
    monkeypatch.setattr(membership, "FIRST_REQUEST_SECONDS", DEADLINE)
    with LiveServer(hello, tls=True) as live:
        assert live.get().status == 200
        client = HalfHandshake(live)
        with client.sock:
            client.until(client.tls.do_handshake)
            client.until(lambda: client.tls.write(request()))
            answer = b""
            with contextlib.suppress(ssl.SSLZeroReturnError):
                while piece := client.until(lambda: client.tls.read(65_536)):
                    answer += piece
        assert answer.endswith(b"hello ")
        assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02"])
def test_a_handshake_is_cut(said: bytes) -> None:
    with LiveServer(hello, tls=True) as live:
        assert live.get().status == 200
        with socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE) as sock:
            sock.sendall(said)
            live.until(lambda: len(live.server.roster) == 1)
            live.server.shutdown(grace=0)
            live.join()
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""


def test_a_client_that_says_nothing_behind_its_handshake_is_not_waited_for() -> None:
    with LiveServer(hello, tls=True) as live:
        assert live.get().status == 200
        client = HalfHandshake(live)
        with client.sock:
            client.until(client.tls.do_handshake)
            with contextlib.suppress(ssl.SSLZeroReturnError):
                assert client.until(lambda: client.tls.read(1)) == b""
        live.join()


def test_a_client_that_has_just_finished_its_handshake_is_answered_at_a_reload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody else can go on with its session, and it cannot know that the code was replaced."""
    monkeypatch.setattr(membership, "FIRST_REQUEST_AT_RELOAD_SECONDS", DEADLINE)
    with LiveServer(hello, tls=True) as live, live.connect() as used:
        used.send(request())
        assert used.answer().body == b"hello "
        with (
            socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE) as sock,
            client_context().wrap_socket(sock, server_hostname="127.0.0.1") as client,
        ):
            live.until(
                lambda: sum(type(one) is membership.Membership for one in live.server.roster) > 1
            )
            live.server.shutdown(grace=60, hand_over=lambda sock, data: None)
            assert used.sock.recv(1) == b""  # whoever was answered before is closed
            client.sendall(request())
            answer = b""
            while piece := client.recv(65_536):
                answer += piece
        assert answer.endswith(b"hello ")


@pytest.mark.parametrize("tls", [False, True])
def test_half_a_request_that_comes_to_a_server_that_stops_goes_on_whole(tls: bool) -> None:
    """It was sent on its way just before; with TLS it is a client that speaks plain HTTP."""
    go, begun = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        go.wait(DEADLINE)
        return hello(environ, start_response)

    passed: queue.SimpleQueue[tuple[socket.socket, bytes]] = queue.SimpleQueue()
    with LiveServer(app, tls=tls) as live, live.connect() as busy:
        busy.send(request())
        assert begun.wait(DEADLINE)
        live.server.shutdown(60, hand_over=lambda sock, data: passed.put((sock, data)))
        live.until(lambda: live.server.is_draining)
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()[:2]),
        ):
            live.loop.call_soon_threadsafe(live.server.adopt, listener.accept()[0], b"GET / HT")
            sock, data = passed.get(timeout=DEADLINE)
            sock.close()
        assert data == b"GET / HT"
        go.set()
        assert busy.answer().body == b"hello "


@pytest.mark.parametrize("size", [0, 10])
def test_connections_at_rest_are_handed_over(size: int) -> None:
    """To a server that goes on with them; a request that runs is finished by who has begun it."""
    go, begun = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            begun.set()
            go.wait(DEADLINE)
        start_response("200 OK", [])
        return [b"first"]

    with LiveServer(hello) as second, LiveServer(app) as first:

        def give(sock: socket.socket, data: bytes) -> None:
            second.loop.call_soon_threadsafe(second.server.adopt, sock, data)

        with first.connect() as used, first.connect() as fresh, first.connect() as busy:
            used.send(request())
            assert used.answer().body == b"first"
            used.send(request("/again")[:size])  # half a request goes along
            busy.send(request("/slow"))
            assert begun.wait(DEADLINE)
            first.until(lambda: len(first.server.roster) == 3)
            first.server.shutdown(60, hand_over=give)
            first.until(lambda: len(first.server.roster) == 1)
            for client, said in ((used, size), (fresh, 0)):
                client.send(request("/again")[said:])
                assert client.answer().body == b"hello "
            go.set()
            answer = busy.answer()
            assert answer.body == b"first"
            first.join()
