"""PEP 3333 "Thread Support": who runs the app, how many at a time, and who waits for whom."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from aserve.server import pool

from .pep3333 import answering
from .wsgi_server import DEADLINE, LiveServer, chunked, request


class Stage:
    """An app that counts who is inside and keeps them there until `go`."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.order: list[str] = []
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with self._lock:
            self.order.append(environ["PATH_INFO"])
            self._inside += 1
            self.most = max(self.most, self._inside)
        self.entered.release()
        assert self.go.wait(DEADLINE)
        with self._lock:
            self._inside -= 1
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    def wait_for(self, count: int) -> None:
        """Wait until so many are inside."""
        for _ in range(count):
            assert self.entered.acquire(timeout=DEADLINE)


def waiting(live: LiveServer) -> int:
    """How many requests wait for a thread."""
    return len(live.server.pool._jobs)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_maximum_is_kept(threads: int) -> None:
    """`threads` requests run at a time; the others wait in the order of arrival."""
    stage = Stage()
    with LiveServer(stage, threads=threads) as live, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(live.connect()) for _ in range(threads + 3)]
        for number, client in enumerate(clients):
            client.send(request(f"/{number}"))
            if number < threads:
                stage.wait_for(1)
            else:
                behind = number - threads + 1
                live.until(lambda behind=behind: waiting(live) == behind)  # type: ignore[misc]
        assert live.server.pool.size == threads
        stage.go.set()
        bodies = [client.answer().body for client in clients]
    assert bodies == [b"/%d" % number for number in range(threads + 3)]
    assert stage.most == threads
    if threads == 1:
        assert stage.order == [f"/{number}" for number in range(4)]


@pytest.mark.parametrize(("threads", "multithread"), [(1, False), (2, True)])
def test_multithread_tells_the_truth(threads: int, multithread: bool) -> None:
    """B26."""
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append((environ["wsgi.multithread"], environ["wsgi.multiprocess"]))
        start_response("200 OK", [])
        return []

    with LiveServer(app, threads=threads) as live:
        live.get()
    assert seen == [(multithread, False)]


def test_idle_threads_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server at rest holds no thread, and takes new ones when work comes."""
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.01)
    threads: list[threading.Thread] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        threads.append(threading.current_thread())
        start_response("200 OK", [])
        return []

    with LiveServer(app) as live:
        for round_number in range(3):
            assert live.get().status == 200
            threads[round_number].join(DEADLINE)
            assert not threads[round_number].is_alive()
            assert live.server.pool.size == 0


class EachStep:
    """An app and an iterable that note in which thread each of their steps runs."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def _note(self) -> None:
        self.threads.append(threading.current_thread())

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self._note()
        environ["wsgi.input"].read()
        start_response("200 OK", [])(b"written")
        return self

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(3):
            self._note()
            yield b"x" * 100_000

    def close(self) -> None:
        self._note()


def test_app_never_runs_on_the_loop_thread() -> None:
    """B26: one daemonic thread runs all of a request, and it is not the loop's."""
    app = EachStep()
    with LiveServer(app) as live:
        sent = request("/", "POST", "Transfer-Encoding: chunked")
        with live.connect() as client:
            client.send(sent + chunked(*[b"x" * 10_000] * 20))
            assert client.answer().complete
        live.until(lambda: len(app.threads) == 5)
        (thread,) = set(app.threads)
        assert thread is not live.thread
        assert thread.daemon


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"G",
        request()[:-2],
        request("/", "POST", "Content-Length: 1000") + b"x" * 500,
        request("/", "POST", "Transfer-Encoding: chunked") + b"1f4\r\n" + b"x" * 500,
    ],
    ids=["idle", "first byte", "half a head", "half a body", "half a chunked body"],
)
def test_who_has_not_sent_all_holds_no_thread(start: bytes) -> None:
    """B27: browsers open connections that they do not use; slow clients are free, too."""
    app = answering([b"fast"])
    with LiveServer(app, threads=1) as live, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(live.connect()) for _ in range(50)]
        for client in slow:
            client.send(start)
        assert live.get().body == b"fast"
        assert live.server.pool.size == 1
        live.until(lambda: not live.server.pool.running())


def test_half_sent_body_is_served_when_the_rest_comes() -> None:
    """The app gets it whole."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    with LiveServer(app, threads=1) as live, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(live.connect()) for _ in range(20)]
        for client in clients:
            client.send(request("/", "POST", "Content-Length: 6") + b"abc")
        assert live.get("/", "POST", body=b"other").body == b"other"
        for client in clients:
            client.send(b"def")
            assert client.answer().body == b"abcdef"


# What the kernel may hold between the two ends, with room to spare: tcp_wmem allows 4 MiB by
# default, and the client asks for little.
IN_FLIGHT = 12 * 1024 * 1024
TOTAL = 64 * 1024 * 1024


def test_slow_reader_holds_back_the_worker() -> None:
    """The generator is never further ahead than the buffers, however slowly its client reads."""
    made = 0

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        nonlocal made
        start_response("200 OK", [("Content-Length", str(TOTAL))])
        piece = b"x" * 65_536
        for _ in range(TOTAL // len(piece)):
            made += len(piece)
            yield piece

    with LiveServer(app) as live, live.connect(receive_buffer=65_536) as client:
        client.send(request())
        assert client.head().status == 200
        read = ahead = 0
        while read < TOTAL:
            size = len(client.some(4096 if read < 4_000_000 else 1 << 20))
            assert size
            read += size
            ahead = max(ahead, made - read)
    assert made == TOTAL
    assert ahead < IN_FLIGHT


def test_slow_reader_of_write_holds_back_the_worker() -> None:
    """B61: the write callable blocks likewise."""
    made = 0

    def app(environ: Any, start_response: Any) -> list[bytes]:
        nonlocal made
        write = start_response("200 OK", [])
        for _ in range(10_000):
            made += 65_536
            write(b"x" * 65_536)
        return []

    with LiveServer(app, grace=0.0) as live, live.connect(receive_buffer=65_536) as client:
        client.send(request())
        assert client.head().status == 200
        for _ in range(1000):
            client.exactly(4096)
        assert made < IN_FLIGHT + 4_096_000


def test_slow_app_holds_back_its_client() -> None:
    """A body that is not read stays with its sender."""
    stage = Stage()
    with LiveServer(stage) as live, live.connect() as client:
        client.send(request("/", "POST", f"Content-Length: {TOTAL}"))
        client.sock.setblocking(False)
        sent = 0
        piece = b"x" * 65_536

        def is_held_back() -> bool:
            nonlocal sent
            try:
                while sent < TOTAL:
                    sent += client.sock.send(piece)
            except BlockingIOError:
                return all(not c._transport.is_reading() for c in live.server.roster)
            return True

        live.until(is_held_back)
        assert sent < IN_FLIGHT
        stage.go.set()
