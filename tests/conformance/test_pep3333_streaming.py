"""PEP 3333 "Buffering and Streaming": items leave one by one.

A gate lets the app go on only when the test has seen what must be on the wire by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .stepwise import Body, Gate
from .wsgi_server import LiveServer, request


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
        first = b"x" * 1_100_000 + b"\n"  # beyond what is collected before the app is called
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
