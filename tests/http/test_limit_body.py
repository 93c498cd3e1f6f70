"""`limit_body`: 413 as soon as it is known that the body is longer."""

from __future__ import annotations

import pytest

from aserve.config import Limits
from aserve.errors import LocalProtocolError, RemoteProtocolError
from aserve.events import Data, EndOfMessage, Request
from aserve.http import H1Connection
from aserve.http.state import Receiving

from ..helpers import DATE, chunked, request_bytes

LIMIT = 10
CHUNKED = [(b"Transfer-Encoding", b"chunked")]


def connection(limit: int | None = LIMIT) -> H1Connection:
    return H1Connection(Limits(limit_body=limit), lambda: DATE)


def is_refused(h1: H1Connection) -> bool:
    failure = h1.failure
    if failure is not None:
        assert failure.status_hint == 413
        assert "10 bytes (limit_body)" in str(failure)
        assert not h1.keep_alive
    return failure is not None


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 10 * LIMIT])
@pytest.mark.parametrize("way", ["whole", "head", "bytes"])
def test_a_length_is_refused_before_the_body(size: int, way: str) -> None:
    h1 = connection()
    data = request_bytes(method=b"POST", body=b"x" * size)
    head, end, body = data.partition(b"\r\n\r\n")
    pieces = [data] if way == "whole" else [head + end, body]
    if way == "bytes":
        pieces = [bytes([byte]) for byte in data]
    events = [event for piece in pieces for event in h1.receive_data(piece)]
    assert is_refused(h1) is (size > LIMIT)
    if size > LIMIT:
        assert events == []
    else:
        assert type(events[-1]) is EndOfMessage


def test_a_client_that_asks_first_is_not_told_to_go_on() -> None:
    h1 = connection()
    headers = [(b"Content-Length", b"11"), (b"Expect", b"100-continue")]
    assert h1.receive_data(request_bytes(method=b"POST", headers=headers)) == []
    assert is_refused(h1)
    assert h1.send_continue() == b""


@pytest.mark.parametrize("sizes", [(LIMIT,), (5, 5), (1,) * LIMIT])
def test_chunks_that_fit_are_read(sizes: tuple[int, ...]) -> None:
    h1 = connection()
    pieces = [b"x" * size for size in sizes]
    data = request_bytes(method=b"POST", headers=CHUNKED, body=chunked(*pieces))
    events = h1.receive_data(data)
    assert b"".join(event.data for event in events if isinstance(event, Data)) == b"x" * LIMIT
    assert h1.failure is None


@pytest.mark.parametrize("sizes", [(LIMIT + 1,), (5, 6), (LIMIT, 1)])
def test_a_chunk_too_much_is_refused_when_it_is_announced(sizes: tuple[int, ...]) -> None:
    h1 = connection()
    pieces = [b"x" * size for size in sizes]
    data = request_bytes(method=b"POST", headers=CHUNKED, body=chunked(*pieces))
    events = h1.receive_data(data)
    assert isinstance(events[0], Request)
    got = b"".join(event.data for event in events if isinstance(event, Data))
    assert got == b"x" * sum(sizes[:-1])
    assert is_refused(h1)


def test_without_a_limit_everything_is_read() -> None:
    h1 = connection(None)
    assert type(h1.receive_data(request_bytes(body=b"x" * 1_000_000))[-1]) is EndOfMessage


def test_a_request_that_does_not_come_is_given_up() -> None:
    late = RemoteProtocolError("too late", status_hint=408)
    for said in (b"GET / HT", request_bytes(method=b"POST", body=b"12345")[:-1]):
        h1 = connection()
        h1.receive_data(said)
        h1.give_up(late)
        assert h1.failure is late
        assert not h1.keep_alive
        assert h1.receiving is Receiving.FAILED
        assert h1.receive_data(b"more") == []
    with pytest.raises(LocalProtocolError):
        h1.give_up(late)


def test_who_waits_for_100_is_known() -> None:
    h1 = connection()
    headers = [(b"Content-Length", b"5"), (b"Expect", b"100-continue")]
    h1.receive_data(request_bytes(method=b"POST", headers=headers))
    assert h1.is_holding_back
    assert h1.send_continue()
    assert not h1.is_holding_back
