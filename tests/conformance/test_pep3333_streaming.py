"""PEP 3333 "Buffering and Streaming": items leave one by one, and `close()` is called once.

A gate lets the app go on only when the test has seen what must be on the wire by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from .wsgi_server import DEADLINE, Client, LiveServer, Log, request


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The transports of the two loops differ in when they pause and what they let through."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def live(loop: str) -> Iterator[LiveServer]:
    with LiveServer(loop=loop) as server:
        yield server


@pytest.fixture
def log() -> Iterator[Log]:
    with Log() as handler:
        yield handler


class Gate:
    """The app waits here until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def wait(self) -> None:
        """In the app: tell the test, and wait for it."""
        self._reached.release()
        assert self._open.acquire(timeout=DEADLINE), "the test never opened the gate"

    def reached(self) -> None:
        """In the test: wait until the app is here."""
        assert self._reached.acquire(timeout=DEADLINE), "the app never came here"

    def open(self) -> None:
        """In the test: let the app go on, one time."""
        self._open.release()


class Body:
    """An iterable that counts its steps and its `close`."""

    def __init__(self, make: Callable[[], Iterable[bytes]]) -> None:
        self._make = make
        self.steps = 0
        self.closes = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for item in self._make():
            self.steps += 1
            yield item

    def close(self) -> None:
        self.closes += 1
        self.closed.set()

    def app(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answers with this body."""
        start_response("200 OK", [])
        return self

    def assert_closed_once(self, live: LiveServer) -> None:
        """Wait for `close`, and for another request through the same pool."""
        assert self.closed.wait(DEADLINE)
        live.app = Body(lambda: [b"alive"]).app
        assert live.get().body == b"alive"
        assert self.closes == 1


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_items_leave_one_by_one(live: LiveServer, gate: Gate) -> None:
    """B49: item 1 is read by the client before the generator makes item 2."""

    def items() -> Iterator[bytes]:
        for number in range(3):
            yield b"item %d" % number
            gate.wait()

    body = Body(items)
    live.app = body.app
    with live.connect() as client:
        client.send(request())
        assert client.head().status == 200
        for number in range(3):
            assert client.chunk() == b"item %d" % number
            gate.reached()
            assert body.steps == number + 1
            gate.open()
        assert client.chunk() == b""


def test_items_leave_one_by_one_under_content_length(live: LiveServer, gate: Gate) -> None:
    """B49."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        yield b"a"
        gate.wait()
        yield b"b"

    live.app = app
    with live.connect() as client:
        client.send(request())
        assert client.head()["content-length"] == "2"
        assert client.exactly(1) == b"a"
        gate.reached()
        gate.open()
        assert client.exactly(1) == b"b"


def test_head_waits_for_the_first_item_that_is_not_empty(live: LiveServer, gate: Gate) -> None:
    """ "The start_response() Callable": until then the app may still change its mind."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        gate.wait()
        try:
            raise ValueError
        except ValueError as error:
            info = (type(error), error, error.__traceback__)
            start_response("503 Later", [], info)
        yield b"x"

    live.app = app
    with live.connect() as client:
        client.send(request())
        gate.reached()
        gate.open()
        assert client.answer().status == 503


def test_write_leaves_at_once(live: LiveServer, gate: Gate) -> None:
    """B61."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"first")
        gate.wait()
        return [b"second"]

    live.app = app
    with live.connect() as client:
        client.send(request())
        assert client.head().status == 200
        assert client.chunk() == b"first"
        gate.reached()
        gate.open()
        assert client.chunk() == b"second"


def test_echo_while_the_body_comes(live: LiveServer) -> None:
    """Both directions at once: an answer may begin before the request has ended."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        return iter(environ["wsgi.input"].readline, b"")

    live.app = app
    with live.connect() as client:
        client.send(request("/", "POST", "Transfer-Encoding: chunked"))
        first = b"x" * 70_000 + b"\n"  # beyond what is collected before the app is called
        client.send(b"%x\r\n%b\r\n" % (len(first), first))
        assert client.head().status == 200
        assert client.chunk() == first
        client.send(b"2\r\na\n\r\n")
        assert client.chunk() == b"a\n"
        client.send(b"0\r\n\r\n")
        assert client.chunk() == b""


@pytest.mark.parametrize("reads", [True, False])
def test_expect_continue(live: LiveServer, reads: bool) -> None:
    """ "HTTP 1.1 Expect/Continue", B55: once, when the app first reads."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        start_response("200 OK", [])
        return [body.read(1), body.read()] if reads else [b"no"]

    live.app = app
    with live.connect() as client:
        head = request("/", "POST", "Expect: 100-continue", "Content-Length: 3")
        client.send(head)
        if reads:
            assert client.head().status == 100
            client.send(b"abc")
        assert client.answer().body == (b"abc" if reads else b"no")


# --- close() ---------------------------------------------------------------------------------


def _failing() -> Iterator[bytes]:
    yield b"x"
    raise ValueError


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("make", [lambda: [b"x", b"y"], list, _failing], ids=["some", "no", "bad"])
def test_close_after_the_end(
    live: LiveServer, method: str, make: Callable[[], Iterable[bytes]]
) -> None:
    """B58."""
    body = Body(make)
    live.app = body.app
    live.get(method=method)
    body.assert_closed_once(live)


def test_close_after_304(live: LiveServer) -> None:
    """B50, B58: nothing of the body is sent, and an endless one is not run through."""
    body = Body(lambda: iter(lambda: b"x", b""))

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("304 Not Modified", [])
        return body

    live.app = app
    assert live.get().body == b""
    body.assert_closed_once(live)
    assert body.steps == 1


def test_close_without_start_response(live: LiveServer, log: Log) -> None:
    """B58."""
    body = Body(lambda: [b"x"])
    live.app = lambda environ, start_response: body
    assert live.get().status == 500
    body.assert_closed_once(live)


def leave(client: Client) -> None:
    """End the connection in the common way."""
    client.sock.close()


@pytest.mark.parametrize("end", [leave, Client.reset], ids=["closes", "resets"])
def test_close_when_the_client_leaves_a_silent_generator(
    live: LiveServer, gate: Gate, log: Log, end: Callable[[Client], None]
) -> None:
    """B58, B59, B65: closed at its next step, told before, and nothing is logged."""
    told: list[bool] = []
    environs: list[Any] = []

    def items() -> Iterator[bytes]:
        yield b"x"
        told.append(environs[0]["aserve.client_disconnected"]())
        gate.wait()
        told.append(environs[0]["aserve.client_disconnected"]())
        yield b"y"
        raise AssertionError("not closed at its next step")

    body = Body(items)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        environs.append(environ)
        return body.app(environ, start_response)

    live.app = app
    with live.connect() as client:
        client.send(request("/silent"))
        assert client.head().status == 200
        assert client.chunk() == b"x"
        gate.reached()
        end(client)
    while not ((record := live.record()).request and record.request.path == b"/silent"):
        pass
    assert not record.complete
    gate.open()
    body.assert_closed_once(live)
    assert told == [False, True]
    assert log.lines == []


def test_close_when_the_client_leaves_a_generator_of_empty_items(
    live: LiveServer, gate: Gate
) -> None:
    """B59: an empty item is a step, too; apps yield them to give the server a chance."""

    def items() -> Iterator[bytes]:
        yield b"x"
        gate.wait()
        yield b""
        raise AssertionError("not closed at its next step")

    body = Body(items)
    live.app = body.app
    with live.connect() as client:
        client.send(request("/empty"))
        assert client.head().status == 200
        assert client.chunk() == b"x"
        gate.reached()
    while not ((record := live.record()).request and record.request.path == b"/empty"):
        pass
    with Log() as log:
        gate.open()
        body.assert_closed_once(live)
    assert log.lines == []


def test_close_when_the_client_stops_reading_and_leaves(live: LiveServer) -> None:
    """B58: a worker that waits for room is woken."""
    body = Body(lambda: (b"x" * 65_536 for _ in range(100_000)))
    live.app = body.app
    with live.connect(receive_buffer=4096) as client:
        client.send(request())
        assert client.head().status == 200
        client.exactly(100_000)
    body.assert_closed_once(live)
    assert body.steps < 100_000


def test_client_leaves_before_the_answer(live: LiveServer, gate: Gate, log: Log) -> None:
    """B59, B65: `client_disconnected` tells an app that is still at work."""
    told = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        gate.wait()
        tick = threading.Event()
        while not environ["aserve.client_disconnected"]():
            tick.wait(0.001)
        told.set()
        start_response("200 OK", [])
        return [b"nobody reads this"]

    live.app = app
    with live.connect() as client:
        client.send(request())
        gate.reached()
    gate.open()
    assert told.wait(DEADLINE)
    assert log.lines == []


def test_client_leaves_in_the_middle_of_its_body(live: LiveServer, log: Log) -> None:
    """B65: reading raises `ClientDisconnected`, and an app that lets it out is no news."""
    raised: list[BaseException] = []
    done = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except ConnectionError as error:
            raised.append(error)
            raise
        finally:
            done.set()
        return []

    live.app = app
    with live.connect() as client:
        client.send(request("/", "POST", "Content-Length: 200000") + b"x" * 100_000)
    assert done.wait(DEADLINE)
    assert [type(error).__name__ for error in raised] == ["ClientDisconnected"]
    assert log.lines == []


def test_client_that_only_closed_its_half_gets_its_answer(live: LiveServer, gate: Gate) -> None:
    """As `nc -N` does: the end of the request is not the end of interest."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        gate.wait()
        start_response("200 OK", [])
        return [b"here"]

    live.app = app
    with live.connect() as client:
        client.send(request())
        client.sock.shutdown(1)
        gate.reached()
        gate.open()
        assert client.answer().body == b"here"


def test_close_when_the_server_is_cut(gate: Gate, loop: str) -> None:
    """B58: the grace ends, the app goes on by itself, and its next step is its last."""

    def items() -> Iterator[bytes]:
        yield b"x"
        gate.wait()
        yield b"y"
        raise AssertionError("not closed at its next step")

    body = Body(items)
    with Log() as log, LiveServer(body.app, loop=loop, grace=0.0) as live, live.connect() as client:
        client.send(request("/stuck"))
        assert client.head().status == 200
        assert client.chunk() == b"x"
        gate.reached()
        live.server.shutdown()
        live.join()
        assert client.chunk() is None
        assert "GET /stuck (" in log.wait_for("Cut at the end of the grace")
        gate.open()
        assert body.closed.wait(DEADLINE)
    assert (body.steps, body.closes) == (2, 1)


@pytest.mark.parametrize("name", ["werkzeug.server.shutdown", "aserve.server"])
@pytest.mark.parametrize("streams", [False, True])
def test_app_stops_the_server(name: str, streams: bool, loop: str) -> None:
    """B22, B23: this response is finished, then the server stops."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        shutdown = environ[name]
        (shutdown if callable(shutdown) else shutdown.shutdown)()
        start_response("200 OK", [])
        return iter([b"good", b"bye"]) if streams else [b"goodbye"]

    with LiveServer(app, loop=loop) as live, live.connect() as client:
        client.send(request())
        assert client.answer().body == b"goodbye"
        live.join()
        with pytest.raises(ConnectionRefusedError):
            live.connect()


def test_last_answer_says_that_it_is_the_last(gate: Gate, loop: str) -> None:
    """B23: a client that knows does not send another request into the closing connection."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["aserve.server"].shutdown()
        start_response("200 OK", [])
        return []

    with LiveServer(app, loop=loop) as live, live.connect() as client:
        client.send(request())
        assert client.answer().all("connection") == ["close"]


def test_shutdown_from_any_thread_finishes_what_runs(gate: Gate, loop: str) -> None:
    """B19, B22: also called twice."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        gate.wait()
        yield b"b"

    with LiveServer(app, loop=loop) as live, live.connect() as client, live.connect() as idle:
        client.send(request())
        assert client.head().status == 200
        gate.reached()
        live.server.shutdown()
        live.server.shutdown()
        assert idle.rest() == b""
        gate.open()
        assert [client.chunk(), client.chunk(), client.chunk()] == [b"a", b"b", b""]
        live.join()
