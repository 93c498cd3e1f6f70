"""`start_response`: status, headers and exc_info, in memory."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from aserve.errors import WSGIError
from aserve.wsgi.response import make_response

from .support import LENGTH_3, Sink, run


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (200, [], "status must be str, not int"),
        (b"200 OK", [], "status must be str, not bytes"),
        ("20 OK", [], "three digits"),
        ("2000 OK", [], "three digits"),
        ("OK", [], "three digits"),
        ("100 Continue", [], "no final one"),
        ("101 Switching Protocols", [], "no final one"),
        ("103 Early Hints", [], "no final one"),
        ("200 OK\r\nX: y", [], "three digits"),
        ("200 O\nK", [], "three digits"),
        ("200 OK", (), "headers must be a list, not tuple"),
        ("200 OK", {}, "headers must be a list, not dict"),
        ("200 OK", ["ab"], "must be a tuple of a name and a value"),
        ("200 OK", [["a", "b"]], "must be a tuple of a name and a value"),
        ("200 OK", [("a", "b", "c")], "must be a tuple of a name and a value"),
        ("200 OK", [(b"a", "b")], "header b'a' must both be str"),
        ("200 OK", [("a", b"b")], "header 'a' must both be str"),
        ("200 OK", [("a", None)], "header 'a' must both be str"),
        ("200 OK", [("a b", "c")], "'a b' is not a token"),
        ("200 OK", [("", "c")], "'' is not a token"),
        ("200 OK", [("a:", "c")], "'a:' is not a token"),
        ("200 OK", [("a\r\nb", "c")], "is not a token"),
        ("200 OK", [("café", "c")], "is not a token"),
        ("200 OK", [("a", "secret\r\nb: c")], "header a has a control character"),
        ("200 OK", [("a", "secret\n")], "header a has a control character"),
        ("200 OK", [("a", "secret\0")], "header a has a control character"),
        ("200 OK", [("a", "secret☃")], "header a has characters outside latin-1"),
        ("200 OK", [("Content-Length", "-1")], "must be a number, not '-1'"),
        ("200 OK", [("Content-Length", "1.0")], "must be a number"),
        ("200 OK", [("Content-Length", "٣")], r"outside latin-1"),
        ("200 OK", [("Content-Length", "")], "must be a number"),
        ("200 OK", [("Content-Length", "1" * 5000)], "must be a number"),
        ("200 OK", [("Content-Length", "1"), ("content-length", "1")], "given twice"),
    ],
)
def test_heads_that_cannot_be_sent(status: Any, headers: Any, message: str) -> None:
    """PEP 3333 "The start_response() Callable": told where it is called, and nothing leaks."""
    sink = Sink()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.raises(WSGIError, match=message) as caught:
            start_response(status, headers)
        assert "secret" not in str(caught.value)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(app, sink)
    assert sink.calls == []


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("200 OK", 200, b"OK"),
        ("200", 200, b""),
        ("200 ", 200, b""),
        ("418 I'm a\tteapot", 418, b"I'm a\tteapot"),
        ("200 Größe", 200, "Größe".encode("latin-1")),
        ("200 ☃", 200, b"?"),
        ("999 X", 999, b"X"),
    ],
)
def test_status(status: str, code: int, reason: bytes) -> None:
    """B63: the reason may be missing."""
    response = make_response(status, ())
    assert (response.status_code, response.reason) == (code, reason)


def test_headers_keep_case_and_order() -> None:
    headers = (("X-b", " 1\t"), ("x-B", "é"), ("A", ""))
    expected = ((b"X-b", b"1"), (b"x-B", b"\xe9"), (b"A", b""))
    assert make_response("200 OK", headers).headers == expected


def test_equal_heads_are_one_object() -> None:
    assert make_response("200 OK", (("A", "b"),)) is make_response("200 OK", (("A", "b"),))


@pytest.mark.parametrize("name", ["Transfer-Encoding", "Keep-Alive"])
def test_framing_is_left_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """PEP 3333 "Other HTTP Features": hop-by-hop features belong to the server."""
    make_response.cache_clear()
    with caplog.at_level(logging.WARNING, "aserve.error"):
        response = make_response("200 OK", ((name, "chunked"), ("A", "b")))
    assert response.headers == ((b"A", b"b"),)
    assert [record.getMessage() for record in caplog.records] == [
        f"The response header {name} was left out: framing is up to the server"
    ]


def test_second_start_response() -> None:
    """B60."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        with pytest.raises(WSGIError, match="second time without exc_info"):
            start_response("404 Not Found", [])
        return [b"x"]

    assert run(app).status == 200


def _exc_info() -> Any:
    try:
        raise KeyError("first")
    except KeyError:
        return sys.exc_info()


def test_exc_info_replaces_before_the_head_is_sent() -> None:
    """B60."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [LENGTH_3])
        start_response("500 Oh", [("A", "b")], _exc_info())
        return [b"x"]

    sink = run(app)
    assert sink.responses[0].reason == b"Oh"
    assert sink.responses[0].headers == ((b"A", b"b"), (b"Content-Length", b"1"))


def test_exc_info_in_the_first_call() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("500 Oh", [], _exc_info())
        return []

    assert run(app).status == 500


def test_exc_info_raises_after_the_head_was_sent() -> None:
    """B60: with the traceback it came with."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])(b"x")
        start_response("500 Oh", [], _exc_info())
        raise AssertionError("start_response returned")

    sink = Sink()
    with pytest.raises(KeyError, match="first") as caught:
        run(app, sink)
    assert caught.traceback[-1].name == "_exc_info"
    assert sink.calls == ["head", b"x"]
