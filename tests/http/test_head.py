"""`parse_head`: from the bytes of a head to a `Request`."""

from __future__ import annotations

import pytest

from aserve.errors import RemoteProtocolError
from aserve.events import Request
from aserve.http.head import parse_head

from ..helpers import request_bytes

HOST = (b"Host", b"test")


def parse(head: bytes) -> Request:
    return parse_head(head, 200)


def refuse(head: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(head)
    return caught.value


def test_whole_head() -> None:
    request = parse(b"GET /a%20b?c=d HTTP/1.1\r\nHost: test:80\r\nX-One:  1 \t\r\nx-ONE: 2\r\n\r\n")
    assert request.method == "GET"
    assert request.target == b"/a%20b?c=d"
    assert (request.path, request.query) == (b"/a%20b", b"c=d")
    assert request.http_version == "1.1"
    assert request.headers == ((b"host", b"test:80"), (b"x-one", b"1"), (b"x-one", b"2"))
    assert request.host == b"test:80"
    assert request.keep_alive
    assert request.content_length == 0
    assert not request.has_body
    assert not request.expect_continue


def test_same_bytes_give_the_same_object() -> None:
    """What a layer above derives from a head is kept with it."""
    assert parse(request_bytes(target=b"/same")) is parse(request_bytes(target=b"/same"))


@pytest.mark.parametrize("method", [b"GET", b"get", b"PATCH", b"X-MY!VERB", b"PROPFIND", b"QUERY"])
def test_any_token_is_a_method(method: bytes) -> None:
    """RFC 9110 section 9.1, B69."""
    assert parse(request_bytes(method)).method == method.decode()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "method"),
        (b" GET / HTTP/1.1", "method"),
        (b"(GET) / HTTP/1.1", "method"),
        (b"GET", "request line"),
        (b"GET /", "request line"),
        (b"GET  / HTTP/1.1", "request line"),
        (b"GET /  HTTP/1.1", "request line"),
        (b"GET\t/ HTTP/1.1", "request line"),
        (b"GET / HTTP/1.1 ", "request line"),
        (b"GET /a b HTTP/1.1", "request line"),
        (b"GET /\x7f HTTP/1.1", "request line"),
        (b"GET / http/1.1", "request line"),
        (b"GET / HTTP/11", "request line"),
        (b"GET / HTTP/1.10", "request line"),
        (b"GET / HTTP/1,1", "request line"),
    ],
)
def test_malformed_request_line(line: bytes, says: str) -> None:
    """RFC 9112 section 3."""
    error = refuse(line + b"\r\nHost: test\r\n\r\n")
    assert error.status_hint == 400
    assert says in str(error)


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0"])
def test_other_versions(version: bytes) -> None:
    """RFC 9110 section 15.6.6."""
    assert refuse(request_bytes(version=version)).status_hint == 505


def test_too_many_fields() -> None:
    """RFC 6585 section 5; the limit is named."""
    head = request_bytes(headers=[(b"X-%d" % n, b"") for n in range(3)])
    assert len(parse_head(head, 4).headers) == 4
    with pytest.raises(RemoteProtocolError, match="limit_request_fields") as caught:
        parse_head(head, 3)
    assert caught.value.status_hint == 431


@pytest.mark.parametrize(
    "lines",
    [
        b"X: 1\r\n folded\r\n",
        b"X: 1\r\n\tfolded\r\n",
        b"X: 1\nY: 2\r\n",
        b"X: 1\rY: 2\r\n",
        b"X: a\x00b\r\n",
        b"X: a\x01b\r\n",
        b"X: a\x7fb\r\n",
        b"X : 1\r\n",
        b"X\t: 1\r\n",
        b" X: 1\r\n",
        b": 1\r\n",
        b"X\r\n",
        b"X Y: 1\r\n",
        b"X\xe4: 1\r\n",
        b"(X): 1\r\n",
    ],
)
def test_malformed_fields(lines: bytes) -> None:
    """RFC 9112 sections 2.2, 5.1 and 5.2, RFC 9110 section 5.5; B37."""
    head = b"GET / HTTP/1.1\r\nHost: test\r\n" + lines + b"\r\n"
    assert refuse(head).status_hint == 400


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_in_a_value(byte: int) -> None:
    """RFC 9110 section 5.5: visible characters, obs-text, space and tab, and nothing else."""
    head = b"GET / HTTP/1.1\r\nHost: test\r\nX: a%cb\r\n\r\n" % byte
    if byte == 0x09 or (byte >= 0x20 and byte != 0x7F):
        assert parse(head).headers[1] == (b"x", b"a%cb" % byte)
    else:
        refuse(head)


def test_empty_value() -> None:
    """RFC 9110 section 5.5."""
    assert parse(request_bytes(headers=[(b"X", b"")])).headers[1] == (b"x", b"")


def test_upgrade_is_ignored() -> None:
    """RFC 9110 section 7.8: a server may ignore Upgrade; what follows is HTTP all the same."""
    fields = [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket"), (b"Content-Length", b"3")]
    request = parse(request_bytes(b"POST", headers=fields))
    assert request.content_length == 3
    assert request.headers[1:3] == ((b"connection", b"upgrade"), (b"upgrade", b"websocket"))


@pytest.mark.parametrize(
    ("method", "target", "path", "query"),
    [
        (b"GET", b"/", b"/", b""),
        (b"GET", b"/?", b"/", b""),
        (b"GET", b"/a?b?c", b"/a", b"b?c"),
        (b"GET", b"//two/slashes", b"//two/slashes", b""),
        (b"GET", b"/\xc3\xa4", b"/\xc3\xa4", b""),
        (b"GET", b'/"<>\\^`{|}', b'/"<>\\^`{|}', b""),
        (b"GET", b"/http://x/", b"/http://x/", b""),
        (b"OPTIONS", b"*", b"*", b""),
        (b"GET", b"http://other/a?b", b"/a", b"b"),
        (b"GET", b"HTTPS://other:8/a", b"/a", b""),
        (b"GET", b"http://other", b"/", b""),
        (b"GET", b"http://other?b", b"/", b"b"),
        (b"OPTIONS", b"http://other", b"*", b""),
        (b"OPTIONS", b"http://other/", b"/", b""),
        (b"OPTIONS", b"http://other?b", b"/", b"b"),
    ],
)
def test_targets(method: bytes, target: bytes, path: bytes, query: bytes) -> None:
    """RFC 9112 section 3.2; B32, B33."""
    request = parse(request_bytes(method, target))
    assert (request.path, request.query) == (path, query)
    assert request.target == target


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"CONNECT", b"test:80", 501),
        (b"CONNECT", b"/", 501),
        (b"GET", b"*", 400),
        (b"GET", b"a", 400),
        (b"GET", b"?a", 400),
        (b"GET", b"/a#b", 400),
        (b"GET", b"http://other/#b", 400),
        (b"GET", b"ftp://other/", 400),
        (b"GET", b"http:/other/", 400),
        (b"GET", b"http:///", 400),
        (b"GET", b"http://:80/", 400),
        (b"GET", b"http://user@other/", 400),
        (b"GET", b"http://user:pass@other/", 400),
        (b"GET", b"http://oth\\er/", 400),
        (b"GET", b"http://[::1/", 400),
        (b"GET", b"test:80", 400),
    ],
)
def test_malformed_targets(method: bytes, target: bytes, status: int) -> None:
    """RFC 9112 section 3.2, RFC 9110 sections 4.2.1 and 4.2.4."""
    assert refuse(request_bytes(method, target)).status_hint == status


def test_absolute_form_wins_over_host() -> None:
    """RFC 9112 section 3.2.2; B32."""
    request = parse(request_bytes(target=b"http://other:8/", headers=[(b"A", b"1"), HOST]))
    assert request.host == b"other:8"
    assert request.headers == ((b"host", b"other:8"), (b"a", b"1"))


def test_absolute_form_of_http_10_needs_no_host() -> None:
    """RFC 9112 section 3.2.2."""
    request = parse(b"GET http://other/ HTTP/1.0\r\n\r\n")
    assert request.headers == ((b"host", b"other"),)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"test",
        b"test:",
        b"test:80",
        b"127.0.0.1:8000",
        b"[::1]",
        b"[::1]:80",
        b"[::ffff:1.2.3.4]",
        b"[v1.fe80::a+en1]",
        b"my_host",
        b"a%20b",
        b"xn--bcher-kva.example",
    ],
)
def test_good_hosts(host: bytes) -> None:
    """RFC 9112 section 3.2, RFC 3986 section 3.2.2."""
    assert parse(request_bytes(headers=[(b"Host", host)])).host == host


@pytest.mark.parametrize(
    "host",
    [
        b":80",
        b"a b",
        b"a/b",
        b"a\\b",
        b"a?b",
        b"a#b",
        b"u@a",
        b"a:b",
        b"a:80:80",
        b"a:123456",
        b"a%2",
        b"a%zz",
        b"::1",
        b"[::1",
        b"[::1]80",
        b"[g::]",
        b"[v1.]",
        b"b\xc3\xbccher",
        b'"a"',
        b"<a>",
    ],
)
def test_malformed_hosts(host: bytes) -> None:
    """RFC 9112 section 3.2; B48."""
    assert refuse(request_bytes(headers=[(b"Host", host)])).status_hint == 400


def test_missing_host() -> None:
    """RFC 9112 section 3.2: required from HTTP/1.1 on."""
    assert "missing" in str(refuse(b"GET / HTTP/1.1\r\n\r\n"))
    assert parse(b"GET / HTTP/1.0\r\n\r\n").host == b""


def test_repeated_host() -> None:
    """RFC 9112 section 3.2: also when both say the same."""
    assert "repeated" in str(refuse(request_bytes(headers=[HOST, HOST])))
