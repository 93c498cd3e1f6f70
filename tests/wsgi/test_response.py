"""`ResponseWriter`: bodies, in memory (PEP 3333 "Buffering and Streaming")."""

from __future__ import annotations

import io
from typing import Any

import pytest

from aserve.errors import ClientDisconnected, WSGIError
from aserve.wsgi.file_wrapper import FileWrapper

from .support import LENGTH_3, Body, Sink, answering, run


@pytest.mark.parametrize(
    ("body", "headers", "calls", "length"),
    [
        ([b"abc"], (), [("whole", b"abc")], 3),
        ((b"ab", b"", b"c"), (), [("whole", b"abc")], 3),
        ([], (), [("whole", b"")], 0),
        ([b""], (), [("whole", b"")], 0),
        ([b"abc"], (LENGTH_3,), [("whole", b"abc")], 3),
        ([bytearray(b"abc")], (), [("whole", b"abc")], 3),
        ([memoryview(b"ab"), b"c"], (), [("whole", b"abc")], 3),
        (iter([b"ab", b"", b"c"]), (), ["head", b"ab", b"c", "end"], None),
        (iter([bytearray(b"ab")]), (), ["head", b"ab", "end"], None),
        (iter([b"ab", b"c"]), (LENGTH_3,), ["head", b"ab", b"c", "end"], 3),
        (iter([b"abc", b""]), (LENGTH_3,), [("whole", b"abc")], 3),
        (iter([]), (), [("whole", b"")], 0),
        (iter([b"", b""]), (), [("whole", b"")], 0),
        (iter([]), (("Content-Length", "0"),), [("whole", b"")], 0),
    ],
)
def test_bodies(
    body: Any, headers: tuple[tuple[str, str], ...], calls: list[Any], length: int | None
) -> None:
    """B49, B62: a list goes out in one piece with its length, an iterable item by item."""
    sink = run(answering(body, *headers))
    assert sink.calls == calls
    assert sink.length == length


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", [[b"abc"], [], iter([])])
@pytest.mark.parametrize("head", [False, True])
def test_status_without_body(status: str, body: Any, head: bool) -> None:
    """B50, B62: no length is made up for them."""
    sink = run(answering(body, status=status), head=head)
    assert sink.calls[0][0] == "whole"
    assert sink.length is None


def test_204_stops_an_endless_body() -> None:
    body = Body(*[b"x"] * 9)
    assert run(answering(body, status="204 No Content")).calls == ["head", b"x", "end"]
    assert (body.taken, body.closed) == (1, 1)


@pytest.mark.parametrize(
    ("body", "headers", "length"),
    [
        ([b"abc"], (), 3),
        ([], (), None),  # the app may leave out what is not sent anyway
        ([], (LENGTH_3,), 3),
        (iter([]), (LENGTH_3,), 3),
        (iter([]), (), None),
        (iter([b"ab", b"c", b"d"]), (LENGTH_3,), 3),
        (FileWrapper(io.BytesIO(b"abc")), (), None),
    ],
)
def test_head(body: Any, headers: tuple[tuple[str, str], ...], length: int | None) -> None:
    """B51: the length is that of the GET, and nothing is counted against it."""
    assert run(answering(body, *headers), head=True).length == length


@pytest.mark.parametrize(
    ("rest", "calls"),
    [
        ([], ["head", b"ab", "end"]),
        ([b"c"], ["head", b"ab", b"c", "end"]),
        (FileWrapper(io.BytesIO(b"cd")), ["head", b"ab", b"cd", "end"]),
    ],
)
def test_write(rest: Any, calls: list[Any]) -> None:
    """B61: what is written leaves at once, before the iterable."""
    assert run(answering(rest, write=[b"", b"ab"])).calls == calls


def test_write_of_nothing_sends_nothing() -> None:
    assert run(answering([b"ab"], write=[b""])).calls == [("whole", b"ab")]


@pytest.mark.parametrize(
    ("body", "headers", "message", "calls"),
    [
        ([b"ab"], (LENGTH_3,), "has 2 bytes, but Content-Length says 3", []),
        ([b"abcd"], (LENGTH_3,), "has 4 bytes, but Content-Length says 3", []),
        ([], (LENGTH_3,), "has 0 bytes, but Content-Length says 3", []),
        (iter([]), (LENGTH_3,), "is empty, but Content-Length says 3", []),
        (iter([b"ab"]), (LENGTH_3,), "1 bytes shorter than Content-Length", ["head", b"ab"]),
        (iter([b"ab", b"cd"]), (LENGTH_3,), "1 bytes longer", ["head", b"ab", b"c"]),
        (iter([b"abc", b"d"]), (LENGTH_3,), "1 bytes longer", [("whole", b"abc")]),
        (["abc"], (), "must be bytes, not str", []),
        ([b"a", "abc"], (), "must be bytes, not str", []),
        ([None], (), "must be bytes, not NoneType", []),
        (iter([b"a", 1]), (), "must be bytes, not int", ["head", b"a"]),
        ("abc", (), "must be bytes, not str", []),
        (None, (), "returned None, not an iterable of bytes", []),
    ],
)
def test_wrong_bodies(
    body: Any, headers: tuple[tuple[str, str], ...], message: str, calls: list[Any]
) -> None:
    """B63; PEP 3333 "Handling the Content-Length Header": never more bytes than announced."""
    sink = Sink()
    with pytest.raises(WSGIError, match=message):
        run(answering(body, *headers), sink)
    assert sink.calls == calls


@pytest.mark.parametrize(
    "body", [[], [b"x"], iter([b"x"]), iter([]), FileWrapper(io.BytesIO(b"x"))]
)
def test_no_start_response(body: Any) -> None:
    with pytest.raises(WSGIError, match="did not call start_response"):
        run(lambda environ, start_response: body)


@pytest.mark.parametrize(
    "body",
    [
        Body(b"a", b"b"),
        Body(),
        Body(b"a", ValueError("in the middle")),
        Body(ValueError("at the start")),
        Body(b"a", SystemExit(1)),
        Body(b"a", "str"),
    ],
)
def test_close_exactly_once(body: Body) -> None:
    """B58."""
    try:
        run(answering(body))
    except (ValueError, SystemExit, WSGIError):
        assert body.taken == len(body.items)
    assert body.closed == 1


def test_close_when_the_client_left() -> None:
    """B58, B59."""
    body = Body(b"a", b"b", b"c")
    with pytest.raises(ClientDisconnected):
        run(answering(body), Sink(leaves_at=2))
    assert (body.taken, body.closed) == (2, 1)


def test_close_at_an_empty_item_when_the_client_left() -> None:
    """B59: an empty item is a step, too."""
    body = Body(b"a", b"", b"c")
    with pytest.raises(ClientDisconnected):
        run(answering(body), Sink(leaves_at=2))
    assert (body.taken, body.closed) == (2, 1)


def test_close_without_start_response() -> None:
    body = Body(b"a")
    with pytest.raises(WSGIError):
        run(lambda environ, start_response: body)
    assert body.closed == 1


def test_close_that_raises() -> None:
    body = Body(b"a")
    body.close = lambda: 1 / 0  # type: ignore[assignment, method-assign]
    sink = Sink()
    with pytest.raises(ZeroDivisionError):
        run(answering(body), sink)
    assert sink.calls == ["head", b"a", "end"]


def test_result_that_cannot_be_iterated() -> None:
    with pytest.raises(TypeError):
        run(answering(1))
