"""A hostile client over real sockets: the server does what the sans-io core says, and lives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import h11
import pytest
from hypothesis import given

from aserve.config import Limits
from aserve.types import Environ, StartResponse

from ..helpers import Raw, ServerInThread, raw_exchange
from .parsing import parse_all
from .strategies import mutated, pipelines


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Target", environ["RAW_URI"])])
    return [body]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerInThread]:
    with ServerInThread(echo) as server:
        yield server


def check(server: ServerInThread, sent: bytes) -> None:
    expected = parse_all([sent], Limits())
    raw = raw_exchange(server.port, sent)
    assert not raw.reset
    for request, body, complete in expected.messages:
        if not complete:
            break
        head, echoed = take(raw, request.method)
        assert head is not None
        assert head.status_code == 200
        assert (b"x-target", request.target) in head.headers
        assert echoed == (b"" if request.method == "HEAD" else body)
    if expected.failure is not None:
        # What broke is the head of a new request, or the body of the last one.
        method = "GET"
        if expected.messages and not expected.messages[-1][2]:
            method = expected.messages[-1][0].method
        head, _ = take(raw, method)
        assert head is not None
        assert head.status_code == expected.failure.status_hint
    if raw.data:
        # The client left in the middle of a body; how much it hears of that depends on when.
        assert expected.cut
        assert raw.data.startswith((b"HTTP/1.1 100 ", b"HTTP/1.1 400 "))


def take(raw: Raw, method: str) -> tuple[h11.Response | None, bytes]:
    """The next response in `raw`, which is removed from it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw.data)
    client.receive_data(b"")
    head, body = None, b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        assert not isinstance(event, h11.ConnectionClosed)
    raw.data = client.trailing_data[0]
    return head, body


@given(sent=pipelines())
def test_good_requests(server: ServerInThread, sent: bytes) -> None:
    check(server, sent)


@given(sent=mutated())
def test_broken_requests(server: ServerInThread, sent: bytes) -> None:
    check(server, sent)
