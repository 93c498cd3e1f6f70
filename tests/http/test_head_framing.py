"""`parse_head`: where the request ends, and whether the connection goes on behind it."""

from __future__ import annotations

import pytest

from aserve.errors import RemoteProtocolError
from aserve.events import Request
from aserve.http.head import _body_length, parse_head

from ..helpers import request_bytes


def parse(head: bytes) -> Request:
    return parse_head(head, 200)


def refuse(head: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(head)
    return caught.value


@pytest.mark.parametrize(
    ("version", "options", "keeps"),
    [
        (b"1.1", (), True),
        (b"1.1", (b"close",), False),
        (b"1.1", (b"CLOSE",), False),
        (b"1.1", (b"upgrade ,\tclose",), False),
        (b"1.1", (b"keep-alive", b"close"), False),
        (b"1.1", (b"keep-alive",), True),
        (b"1.1", (b"",), True),
        (b"1.1", (b"closed",), True),
        (b"1.0", (), False),
        (b"1.0", (b"Keep-Alive",), True),
        (b"1.0", (b"upgrade",), False),
        (b"1.0", (b"keep-alive, close",), False),
    ],
)
def test_persistence(version: bytes, options: tuple[bytes, ...], keeps: bool) -> None:
    """RFC 9112 section 9.3."""
    fields = [(b"Connection", option) for option in options]
    assert parse(request_bytes(headers=fields, version=version)).keep_alive is keeps


@pytest.mark.parametrize(
    ("value", "length"), [(b"0", 0), (b"7", 7), (b"007", 7), (b"9" * 18, 10**18 - 1)]
)
def test_content_length(value: bytes, length: int) -> None:
    """RFC 9112 section 6.2."""
    request = parse(request_bytes(b"POST", headers=[(b"Content-Length", value)]))
    assert request.content_length == length
    assert request.has_body is (length > 0)


@pytest.mark.parametrize(
    "values",
    [
        (b"",),
        (b"-1",),
        (b"+1",),
        (b"1.0",),
        (b"0x1",),
        (b"1 1",),
        (b"1,1",),
        (b"1_0",),
        (b"\xb2",),
        (b"9" * 20,),
        (b"1", b"2"),
        (b"1", b"1"),
    ],
)
def test_malformed_content_length(values: tuple[bytes, ...]) -> None:
    """RFC 9112 section 6.3, rule 5."""
    fields = [(b"Content-Length", value) for value in values]
    assert refuse(request_bytes(b"POST", headers=fields)).status_hint == 400


@pytest.mark.parametrize("value", [b"chunked", b"CHUNKED", b" chunked "])
def test_chunked(value: bytes) -> None:
    """RFC 9112 section 7.1."""
    request = parse(request_bytes(b"POST", headers=[(b"Transfer-Encoding", value)]))
    assert request.content_length is None
    assert request.has_body


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"Transfer-Encoding", b"gzip, chunked")], 501),
        ([(b"Transfer-Encoding", b"gzip"), (b"Transfer-Encoding", b"chunked")], 501),
        ([(b"Transfer-Encoding", b"gzip")], 400),
        ([(b"Transfer-Encoding", b"")], 400),
        ([(b"Transfer-Encoding", b"chunked, gzip")], 400),
        ([(b"Transfer-Encoding", b"chunked, chunked")], 400),
        ([(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")], 400),
        ([(b"Transfer-Encoding", b"xchunked")], 400),
        ([(b"Transfer-Encoding", b"chunked;q=1")], 400),
        ([(b"Transfer-Encoding", b'"chunked"')], 400),
        ([(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"1")], 400),
        ([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], 400),
        ([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"identity")], 400),
    ],
)
def test_refused_codings(fields: list[tuple[bytes, bytes]], status: int) -> None:
    """RFC 9112 sections 6.1 and 6.3; B39, B40."""
    assert refuse(request_bytes(b"POST", headers=fields)).status_hint == status


@pytest.mark.parametrize(
    ("fields", "version", "status"),
    [
        ({b"transfer-encoding": [b"chunked"], b"content-length": [b"1"]}, "1.1", 400),
        ({b"transfer-encoding": [b"chunked"]}, "1.0", 400),
        ({b"transfer-encoding": [b"gzip"]}, "1.1", 400),
        ({b"transfer-encoding": [b"chunked, chunked"]}, "1.1", 400),
        ({b"transfer-encoding": [b"gzip, chunked"]}, "1.1", 501),
        ({b"content-length": [b"1", b"1"]}, "1.1", 400),
        ({b"content-length": [b"-1"]}, "1.1", 400),
    ],
)
def test_framing_does_not_rely_on_llhttp(
    fields: dict[bytes, list[bytes]], version: str, status: int
) -> None:
    """RFC 9112 section 6.3: llhttp refuses most of these first, which depends on its version."""
    with pytest.raises(RemoteProtocolError) as caught:
        _body_length(fields, version)
    assert caught.value.status_hint == status


def test_chunked_from_http_10() -> None:
    """RFC 9112 section 6.1."""
    fields = [(b"Transfer-Encoding", b"chunked")]
    assert refuse(request_bytes(b"POST", headers=fields, version=b"1.0")).status_hint == 400


@pytest.mark.parametrize(
    ("fields", "version", "waits"),
    [
        ([(b"Expect", b"100-continue"), (b"Content-Length", b"1")], b"1.1", True),
        ([(b"Expect", b"100-Continue"), (b"Transfer-Encoding", b"chunked")], b"1.1", True),
        ([(b"Expect", b"100-continue")], b"1.1", False),
        ([(b"Expect", b"100-continue"), (b"Content-Length", b"0")], b"1.1", False),
        ([(b"Expect", b"something-else"), (b"Content-Length", b"1")], b"1.1", False),
        ([(b"Expect", b"100-continue"), (b"Content-Length", b"1")], b"1.0", False),
    ],
)
def test_expectation(fields: list[tuple[bytes, bytes]], version: bytes, waits: bool) -> None:
    """RFC 9110 section 10.1.1; B55."""
    request = parse(request_bytes(b"PUT", headers=fields, version=version))
    assert request.expect_continue is waits
