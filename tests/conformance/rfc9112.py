"""RFC 9112 and the parts of RFC 9110 that a server's engine answers for, as a table.

Each row is what a client sends and what has to come of it. Behind the bytes of each row the test
sends one more request, for `/next`, in the same breath: a row says whether the connection
`stays`, and then it is answered; else it must never be taken for a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..helpers import chunked, request_bytes

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True)
class Row:
    """One exchange, or several in a row.

    Args:
        section: Of RFC 9112, unless it begins with "9110".
        what: Shown as the test's name.
        sent: Bytes of the client.
        statuses: Of the responses, in order.
        seen: What the application saw: method, target path, body.
        stays: The connection goes on to the next request.
        bodies: Of the responses; not looked at when it is None.
        has: Must stand in the bytes of the responses.
        lacks: Must not, in any case of letters.
        heads: The responses, counted from 0, that answer a HEAD.
    """

    section: str
    what: str
    sent: bytes
    statuses: tuple[int, ...]
    seen: tuple[str, ...] = ()
    stays: bool = False
    bodies: tuple[bytes, ...] | None = None
    has: tuple[bytes, ...] = ()
    lacks: tuple[bytes, ...] = ()
    heads: tuple[int, ...] = ()


Headers = list[tuple[bytes, bytes]]

CHUNKED: Final = (b"Transfer-Encoding", b"chunked")
CLOSE: Final = b"Connection: close\r\n"
SMUGGLED: Final = request_bytes(target=b"/smuggled")


def _fields(*lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request with raw field lines behind a good Host."""
    head = b"%b / HTTP/%b\r\nHost: test\r\n" % (method, version)
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _post(*headers: tuple[bytes, bytes], body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return request_bytes(b"POST", b"/", headers, body, version=version)


def _refused(section: str, what: str, sent: bytes, status: int = 400) -> Row:
    """Answered with `status`, closed, and the application never reached."""
    return Row(section, what, sent, (status,), has=(CLOSE,))


def _request_lines() -> Iterator[Row]:
    yield Row("2.2", "empty line in front", b"\r\n" + request_bytes(), (200,), ("GET / ",), True)
    for what, line in {
        "bare LF": b"GET / HTTP/1.1\n",
        "bare CR": b"GET / HTTP/1.1\r",
        "two spaces": b"GET  / HTTP/1.1\r\n",
        "tab": b"GET\t/ HTTP/1.1\r\n",
        "space at the end": b"GET / HTTP/1.1 \r\n",
        "space in the target": b"GET /a b HTTP/1.1\r\n",
        "NUL in the target": b"GET /\0 HTTP/1.1\r\n",
        "no version": b"GET /\r\n",
        "no target": b"GET HTTP/1.1\r\n",
        "method is no token": b"GE(T) / HTTP/1.1\r\n",
        "space in front": b" GET / HTTP/1.1\r\n",
        "version in lower case": b"GET / http/1.1\r\n",
        "version with two digits": b"GET / HTTP/1.10\r\n",
        "not HTTP at all": b"EHLO mail.example\r\n",
    }.items():
        yield _refused("3", what, line + b"Host: test\r\n\r\n" + SMUGGLED)
    yield _refused("2.3", "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
    yield _refused("2.3", "HTTP/0.9", _fields(version=b"0.9"), 505)
    yield _refused("3", "line too long", request_bytes(target=b"/" + b"a" * 65_536), 414)
    yield Row("9110 9.1", "any method", request_bytes(b"X-Y"), (200,), ("X-Y / ",), True)
    yield Row("9110 9.1", "case of a method", request_bytes(b"get"), (200,), ("get / ",), True)


def _targets() -> Iterator[Row]:
    for section, what, sent, path, body in (
        ("3.2.1", "two slashes", request_bytes(target=b"//a"), "//a", b"test"),
        ("3.2.1", "query", request_bytes(target=b"/a?b"), "/a", b"test"),
        ("3.2.2", "absolute-form", request_bytes(target=b"http://other:8/a"), "/a", b"other:8"),
        ("3.2.2", "no path", request_bytes(target=b"HTTP://other"), "/", b"other"),
        ("3.2.2", "HTTP/1.1 without Host", b"GET http://a/ HTTP/1.0\r\n\r\n", "/", b"a"),
        ("3.2", "HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", "/", b""),
        ("3.2", "IPv6", request_bytes(headers=[(b"Host", b"[::1]:8")]), "/", b"[::1]:8"),
    ):
        stays = b"HTTP/1.1\r\n" in sent
        yield Row(section, what, sent, (200,), (f"GET {path} ",), stays, bodies=(body,))
    star = request_bytes(b"OPTIONS", b"*")
    yield Row("3.2.4", "asterisk-form", star, (200,), ("OPTIONS  ",), True)
    yield _refused("3.2.3", "CONNECT", request_bytes(b"CONNECT", b"test:80"), 501)
    for target in (b"*", b"a", b"/#a", b"ftp://a/", b"http://u@a/", b"http://:8/", b"http://a b/"):
        yield _refused("3.2", f"target {target.decode()}", request_bytes(target=target))
    yield _refused("3.2", "Host is missing", b"GET / HTTP/1.1\r\n\r\n")
    yield _refused("3.2", "Host is missing, absolute-form", b"GET http://a/ HTTP/1.1\r\n\r\n")
    yield _refused("3.2", "Host is repeated", _fields(b"Host: other"))
    yield _refused("3.2", "Host is repeated, and the same", _fields(b"host: test"))
    for host in (b"a b", b"a/b", b"u@a", b"a:b", b":80", b"[::1", b"a,b c", b"\xff", b"a%"):
        yield _refused("3.2", f"Host {host!r}", request_bytes(headers=[(b"Host", host)]))


def _header_fields() -> Iterator[Row]:
    for section, what, line in (
        ("5.1", "space before the colon", b"X : 1"),
        ("5.1", "space before the colon of Content-Length", b"Content-Length : 5"),
        ("5.1", "tab before the colon", b"X\t: 1"),
        ("5.1", "no name", b": 1"),
        ("5.1", "no colon", b"X"),
        ("5.1", "name is no token", b"X@: 1"),
        ("5.2", "obs-fold", b"X: 1\r\n 2"),
        ("5.2", "obs-fold with a tab", b"X: 1\r\n\t2"),
        ("5.2", "obs-fold of nothing", b"X:\r\n \r\n 1"),
        ("2.2", "bare LF", b"X: 1\nY: 2"),
        ("2.2", "bare CR", b"X: 1\rY: 2"),
        ("2.2", "bare LF ends the head", b"X: 1\n\n" + SMUGGLED),
        ("9110 5.5", "NUL", b"X: \0"),
        ("9110 5.5", "control character", b"X: \x08"),
    ):
        yield _refused(section, what, _fields(line))
    yield _refused("2.2", "space in front of the fields", b"GET / HTTP/1.1\r\n Host: test\r\n\r\n")
    yield _refused("5", "too many fields", _fields(*[b"X: 1"] * 200), 431)
    yield _refused("5", "fields too long", _fields(b"X: " + b"a" * 65_536), 431)
    yield Row("5", "obs-text and tabs", _fields(b"X: \xe4\t1 \t"), (200,), ("GET / ",), True)
    yield Row("5", "empty value", _fields(b"X:"), (200,), ("GET / ",), True)


def _lengths() -> Iterator[Row]:
    sent = _post(body=b"hello")
    yield Row("6.2", "Content-Length", sent, (200,), ("POST / hello",), True)
    sent = _post((b"Content-Length", b"0"))
    yield Row("6.2", "Content-Length: 0", sent, (200,), ("POST / ",), True)
    yield Row("6.3", "no length at all", _post(), (200,), ("POST / ",), True)
    for value in (b"", b"-1", b"+5", b"5.0", b"0x5", b"5 5", b"5,5", b"5,6", b"1_0", b"9" * 30):
        sent = _post((b"Content-Length", value), body=b"hello")
        yield _refused("6.3", f"Content-Length: {value.decode()}", sent)
    for other in (b"5", b"6"):
        sent = _post((b"Content-Length", b"5"), (b"Content-Length", other), body=b"hello")
        yield _refused("6.3", f"Content-Length: 5 and {other.decode()}", sent)


def _codings() -> Iterator[Row]:
    empty = chunked() + SMUGGLED
    for what, headers in {
        "behind Content-Length": [(b"Content-Length", b"5"), CHUNKED],
        "in front of Content-Length": [CHUNKED, (b"Content-Length", b"5")],
        "with Content-Length: 0": [CHUNKED, (b"Content-Length", b"0")],
        "twice": [CHUNKED, CHUNKED],
        "twice in one": [(b"Transfer-Encoding", b"chunked, chunked")],
        "not last": [(b"Transfer-Encoding", b"chunked, gzip")],
        "missing": [(b"Transfer-Encoding", b"gzip")],
        "with a letter too many": [(b"Transfer-Encoding", b"xchunked")],
        "behind a vertical tab": [(b"Transfer-Encoding", b"\x0bchunked")],
        "with a parameter": [(b"Transfer-Encoding", b"chunked;a=b")],
        "empty": [(b"Transfer-Encoding", b"")],
        "identity": [(b"Transfer-Encoding", b"identity")],
    }.items():
        yield _refused("6.1", f"Transfer-Encoding {what}", _post(*headers, body=empty))
    yield _refused("6.1", "chunked from HTTP/1.0", _post(CHUNKED, body=empty, version=b"1.0"))
    coding = (b"Transfer-Encoding", b"gzip, chunked")
    yield _refused("6.1", "coding that is not known", _post(coding, body=empty), 501)


def _chunks() -> Iterator[Row]:
    for what, body in {
        "chunks": chunked(b"he", b"llo"),
        "extensions": b'2;a\r\nhe\r\n3 ;a=b;c="d"\r\nllo\r\n0;e\r\n\r\n',
        "leading zeros and upper case": b"00005\r\nhello\r\n0000\r\n\r\n",
        "trailers": chunked(b"hello", trailers=b"Content-Length: 3\r\nHost: evil\r\n"),
    }.items():
        yield Row("7.1", what, _post(CHUNKED, body=body), (200,), ("POST / hello",), True)
    upper = _post((b"TRANSFER-ENCODING", b"CHUNKED"), body=chunked(b"hello"))
    yield Row("7", "names of codings have no case", upper, (200,), ("POST / hello",), True)
    for what, body in {
        "size is no number": b"x\r\n",
        "size is negative": b"-1\r\n",
        "size with 0x": b"0x5\r\nhello\r\n",
        "size with a space": b"5 \r\nhello\r\n",
        "size is missing": b"\r\n",
        "size too large": b"1" * 17 + b"\r\n",
        "size ends with LF": b"5\nhello\r\n0\r\n\r\n",
        "extension ends with LF": b"5;a\nhello\r\n0\r\n\r\n",
        "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        "data too long": b"5\r\nhello!\r\n0\r\n\r\n",
        "data ends with LF": b"5\r\nhello\n0\r\n\r\n",
        "data ends with two other bytes": b"5\r\nhelloXX0\r\n\r\n",
        "last chunk ends with LF": b"5\r\nhello\r\n0\n\n",
        "trailer without a colon": b"0\r\nX\r\n\r\n",
        "trailer is folded": b"0\r\nX: 1\r\n 2\r\n\r\n",
    }.items():
        yield _refused("7.1", what, _post(CHUNKED, body=body + SMUGGLED))
    long = b"0;" + b"a" * 20_000 + b"\r\n\r\n"
    yield _refused("7.1.1", "extensions too long", _post(CHUNKED, body=long), 431)


def _persistence() -> Iterator[Row]:
    yield Row("9.3", "HTTP/1.1 stays", request_bytes(), (200,), ("GET / ",), True, lacks=(CLOSE,))
    close = request_bytes(headers=[(b"Connection", b"x, Close")])
    yield Row("9.6", "close is the last", close + SMUGGLED, (200,), ("GET / ",), has=(CLOSE,))
    old = request_bytes(version=b"1.0")
    yield Row("9.3", "HTTP/1.0 closes", old + SMUGGLED, (200,), ("GET / ",), has=(CLOSE,))
    old = request_bytes(headers=[(b"Connection", b"Keep-Alive")], version=b"1.0")
    kept = (b"Connection: keep-alive\r\n",)
    yield Row("9.3", "HTTP/1.0 stays when it asks", old, (200,), ("GET / ",), True, has=kept)
    stream = request_bytes(
        target=b"/stream", headers=[(b"Connection", b"keep-alive")], version=b"1.0"
    )
    yield Row(
        "6.1", "HTTP/1.0 gets no chunks", stream, (200,), ("GET /stream ",),
        bodies=(b"onetwothree",), lacks=(b"transfer-encoding", b"keep-alive"),
    )  # fmt: skip
    three = b"".join(_post(body=body) for body in (b"1", b"2", b"3"))
    seen = ("POST / 1", "POST / 2", "POST / 3")
    yield Row("9.3.2", "pipelining keeps the order", three, (200,) * 3, seen, True)
    mixed = _post(CHUNKED, body=chunked(b"1")) + b"\r\n" + request_bytes(b"HEAD") + _post(body=b"3")
    seen = ("POST / 1", "HEAD / ", "POST / 3")
    yield Row("9.3.2", "pipelining of all kinds", mixed, (200,) * 3, seen, True, heads=(1,))
    bad = _post(body=b"1") + b"nonsense\r\n\r\n" + SMUGGLED
    yield Row("9.3.2", "good, then broken", bad, (200, 400), ("POST / 1",))
    unread = request_bytes(b"POST", b"/unread", body=SMUGGLED)
    yield Row("9.3", "unread body", unread, (200,), ("POST /unread ",), True)
    unread = request_bytes(b"POST", b"/unread", [CHUNKED], chunked(SMUGGLED))
    yield Row("9.3", "unread chunks", unread, (200,), ("POST /unread ",), True)
    own = request_bytes(target=b"/close")
    yield Row("9.6", "the app closes", own + SMUGGLED, (200,), ("GET /close ",), has=(CLOSE,))


def _responses() -> Iterator[Row]:
    yield Row(
        "7.1", "chunks without a length", request_bytes(target=b"/stream"), (200,),
        ("GET /stream ",), True, bodies=(b"onetwothree",),
        has=(b"Transfer-Encoding: chunked\r\n", b"3\r\none\r\n"), lacks=(b"content-length: 11",),
    )  # fmt: skip
    for path in (b"/", b"/stream", b"/unread"):
        sent = request_bytes(b"HEAD", path)
        seen = (f"HEAD {path.decode()} ",)
        yield Row(
            "9110 9.3.2", f"HEAD {path.decode()}", sent, (200,), seen, True, bodies=(b"",),
            lacks=(b"transfer-encoding", b"one"), heads=(0,),
        )  # fmt: skip
    for status in (204, 304):
        sent = request_bytes(target=b"/status/%d" % status)
        yield Row(
            "6.3", f"{status} has no body", sent, (status,), (f"GET /status/{status} ",), True,
            bodies=(b"",), lacks=(b"transfer-encoding", b"leak"),
        )  # fmt: skip
    for status in (205, 404, 299):
        sent = request_bytes(target=b"/status/%d" % status)
        yield Row("6.3", f"{status}", sent, (status,), (f"GET /status/{status} ",), True)
    for kind in ("name", "value", "status"):
        for char in ("cr", "lf", "nul"):
            where = f"/inject/{kind}/{char}"
            yield Row(
                "9110 5.5", f"{char} in a header's {kind}", request_bytes(target=where.encode()),
                (500,), (f"GET {where} ",), True, lacks=(b"injected", b"x-before"),
            )  # fmt: skip


ROWS: Final = (
    *_request_lines(),
    *_targets(),
    *_header_fields(),
    *_lengths(),
    *_codings(),
    *_chunks(),
    *_persistence(),
    *_responses(),
)
