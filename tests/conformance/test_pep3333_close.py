"""PEP 3333 "Specification Details": `close()` is called once, however a response ends (B58)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from .stepwise import Body, Gate
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


@pytest.fixture
def gate() -> Gate:
    return Gate()


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


def test_client_leaves_in_the_middle_of_its_body(live: LiveServer, gate: Gate, log: Log) -> None:
    """B65: reading raises `ClientDisconnected`, and an app that lets it out is no news."""
    raised: list[BaseException] = []
    done = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        gate.wait()
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
        client.send(request("/", "POST", "Content-Length: 2000000") + b"x" * 100_000)
        gate.reached()  # a request whose client has left before is not begun at all
    gate.open()
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
