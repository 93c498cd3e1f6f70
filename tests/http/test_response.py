"""Rendering the head of a response, and choosing its framing."""

from __future__ import annotations

import pytest

from aserve.errors import LocalProtocolError
from aserve.events import Response
from aserve.http.head import parse_head
from aserve.http.response import Framing, choose_framing, render, simple_response

from ..helpers import request_bytes, response


def test_order_and_case_of_the_fields_are_kept() -> None:
    """RFC 9110 section 5.3."""
    rendered = render(response(201, (b"X-b", b"1"), (b"x-A", b""), (b"X-b", b"2")))
    assert rendered.start == (
        b"HTTP/1.1 201 Reason\r\nX-b: 1\r\nx-A: \r\nX-b: 2\r\nServer: aserve\r\n"
    )
    assert rendered.needs_date
    assert rendered.connection == ()


def test_empty_reason_keeps_its_space() -> None:
    """RFC 9112 section 4; B63."""
    assert render(Response(200, b"", (), None)).start.startswith(b"HTTP/1.1 200 \r\n")


def test_rendered_once() -> None:
    head = response()
    assert render(head) is render(head)


def test_own_server_and_date_are_respected() -> None:
    """RFC 9110 sections 6.6.1 and 10.2.4; B64."""
    rendered = render(response(200, (b"SERVER", b"mine"), (b"date", b"today")))
    assert rendered.start.lower().count(b"server:") == 1
    assert not rendered.needs_date


@pytest.mark.parametrize("name", [b"Transfer-Encoding", b"keep-alive", b"CONNECTION"])
def test_connection_fields_of_the_app_do_not_pass(name: bytes) -> None:
    """RFC 9110 section 7.6.1, PEP 3333 "Other HTTP Features"."""
    assert name not in render(response(200, (name, b"chunked"))).start


def test_connection_options_of_the_app() -> None:
    """RFC 9110 section 7.6.1; B64."""
    rendered = render(response(200, (b"Connection", b"Upgrade , ,close"), (b"connection", b"x")))
    assert rendered.connection == (b"upgrade", b"close", b"x")


@pytest.mark.parametrize(("status", "kept"), [(101, False), (204, False), (200, True), (304, True)])
def test_content_length_where_it_may_be(status: int, kept: bool) -> None:
    """RFC 9110 section 8.6; B50."""
    start = render(response(status, (b"Content-Length", b"5"))).start
    assert (b"Content-Length" in start) is kept


@pytest.mark.parametrize("char", [b"\r", b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("place", ["reason", "name", "value", "connection"])
def test_injection(char: bytes, place: str) -> None:
    """RFC 9110 section 5.5: whoever made the response."""
    bad = b"a" + char + b"b"
    head = Response(
        200,
        bad if place == "reason" else b"OK",
        (
            (bad if place == "name" else b"X", bad if place == "value" else b"1"),
            (b"Connection", bad if place == "connection" else b"x"),
        ),
        None,
    )
    with pytest.raises(LocalProtocolError, match="CR, LF or NUL"):
        render(head)


@pytest.mark.parametrize(
    ("method", "version", "status", "length", "framing"),
    [
        (b"GET", b"1.1", 200, b"5", Framing.LENGTH),
        (b"GET", b"1.1", 200, None, Framing.CHUNKED),
        (b"GET", b"1.0", 200, b"5", Framing.LENGTH),
        (b"GET", b"1.0", 200, None, Framing.CLOSE),
        (b"HEAD", b"1.1", 200, None, Framing.NONE),
        (b"HEAD", b"1.0", 200, b"5", Framing.NONE),
        (b"GET", b"1.1", 103, None, Framing.NONE),
        (b"GET", b"1.1", 204, None, Framing.NONE),
        (b"GET", b"1.1", 304, b"5", Framing.NONE),
        (b"GET", b"1.1", 205, None, Framing.CHUNKED),
    ],
)
def test_framing(
    method: bytes, version: bytes, status: int, length: bytes | None, framing: Framing
) -> None:
    """RFC 9112 section 6.3; B49 to B52."""
    request = parse_head(request_bytes(method, version=version), 10)
    fields = [(b"Content-Length", length)] if length is not None else []
    assert choose_framing(request, response(status, *fields)) is framing


def test_framing_without_a_request() -> None:
    """The answer to something that is no request; nobody knows what its sender understands."""
    assert choose_framing(None, response(400)) is Framing.CLOSE
    assert choose_framing(None, simple_response(400, "no")[0]) is Framing.LENGTH


def test_simple_response() -> None:
    head, body = simple_response(414, "too long")
    assert (head.status_code, head.reason, body) == (414, b"URI Too Long", b"too long\n")
    assert dict(head.headers)[b"Content-Length"] == b"9"
    assert head.content_length == 9
