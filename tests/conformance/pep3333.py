"""The rules of PEP 3333 as rows: each names its section, and what goes in and comes out.

`ENVIRON` is about what an app is given, `REFUSED` about what it is never given, `GOOD` about apps
that keep the rules; for those that break them see `pep3333_wrong.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .wsgi_server import App, chunked, request

ABSENT = object()
ENVIRON_SECTION = "environ Variables"


@dataclass(frozen=True)
class EnvironRow:
    """What must stand in the environ for a request."""

    name: str
    sent: bytes
    expected: dict[str, Any]
    section: str = ENVIRON_SECTION


@dataclass(frozen=True)
class GoodRow:
    """What must come back."""

    section: str
    name: str
    app: App
    status: int
    body: bytes
    headers: dict[str, list[str]] = field(default_factory=dict)
    sent: bytes = field(default_factory=request)


def _raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


ENVIRON = [
    EnvironRow("B46 method", request("/", "PURGE"), {"REQUEST_METHOD": "PURGE"}),
    EnvironRow("B69 any token is a method", request("/", "x!y"), {"REQUEST_METHOD": "x!y"}),
    EnvironRow("mounted at the root", request("/a"), {"SCRIPT_NAME": "", "PATH_INFO": "/a"}),
    EnvironRow(
        "B28 path as latin-1",
        request("/%C3%A9%20%ff"),
        {"PATH_INFO": "/\xc3\xa9 \xff"},
        "Unicode Issues",
    ),
    EnvironRow(
        "B28 query as latin-1, not decoded",
        _raw("GET /?a=%20&b=\xe9 HTTP/1.1", "Host: a"),
        {"QUERY_STRING": "a=%20&b=\xe9", "REQUEST_URI": "/?a=%20&b=\xe9"},
        "Unicode Issues",
    ),
    EnvironRow("no query", request("/a"), {"QUERY_STRING": ""}),
    EnvironRow("empty query", request("/a?"), {"QUERY_STRING": "", "RAW_URI": "/a?"}),
    EnvironRow(
        "B29 the raw target",
        request("/a%2Fb?c=%2F"),
        {"REQUEST_URI": "/a%2Fb?c=%2F", "RAW_URI": "/a%2Fb?c=%2F", "PATH_INFO": "/a/b"},
    ),
    EnvironRow(
        "B32 absolute target",
        _raw("GET http://x.example:81/y?z HTTP/1.1", "Host: other"),
        {
            "HTTP_HOST": "x.example:81",
            "PATH_INFO": "/y",
            "QUERY_STRING": "z",
            "REQUEST_URI": "http://x.example:81/y?z",
        },
        "URL Reconstruction",
    ),
    EnvironRow("B33 double slash", request("//a//b"), {"PATH_INFO": "//a//b"}),
    EnvironRow("asterisk", request("*", "OPTIONS"), {"PATH_INFO": "", "REQUEST_URI": "*"}),
    EnvironRow(
        "B34 a body",
        request("/", "POST", "Content-Type: text/x", body=b"abc"),
        {
            "CONTENT_TYPE": "text/x",
            "CONTENT_LENGTH": "3",
            "HTTP_CONTENT_TYPE": ABSENT,
            "HTTP_CONTENT_LENGTH": ABSENT,
        },
    ),
    EnvironRow("B34 no body", request(), {"CONTENT_TYPE": ABSENT, "CONTENT_LENGTH": ABSENT}),
    EnvironRow(
        "B38 chunked body",
        request("/", "POST", "Transfer-Encoding: chunked") + chunked(b"abc"),
        {
            "CONTENT_LENGTH": "3",
            "HTTP_TRANSFER_ENCODING": ABSENT,
            "wsgi.input_terminated": True,
        },
        "Input and Error Streams",
    ),
    EnvironRow(
        "B40 coding in any case",
        request("/", "POST", "Transfer-Encoding: Chunked") + chunked(b"abc"),
        {"wsgi.input_terminated": True},
    ),
    EnvironRow(
        "B35 repeated headers",
        request("/", "GET", "X-A: 1", "X-B: x  y", "x-a: 2"),
        {"HTTP_X_A": "1,2", "HTTP_X_B": "x  y"},
    ),
    EnvironRow(
        "B35 repeated cookies",
        request("/", "GET", "Cookie: a=1", "Cookie: b=2"),
        {"HTTP_COOKIE": "a=1; b=2"},
    ),
    EnvironRow(
        "B36 underscores",
        request("/", "GET", "X_Real: forged", "X-Real: 1", "Content_Length: 9"),
        {"HTTP_X_REAL": "1", "CONTENT_LENGTH": ABSENT},
    ),
    EnvironRow(
        "header bytes as latin-1",
        _raw("GET / HTTP/1.1", "Host: a", "X-Name: \xc3\xa9"),
        {"HTTP_X_NAME": "\xc3\xa9"},
        "Unicode Issues",
    ),
    EnvironRow("B46 version 1.1", request(), {"SERVER_PROTOCOL": "HTTP/1.1"}),
    EnvironRow(
        "B46 version 1.0, no Host",
        _raw("GET / HTTP/1.0"),
        {"SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": ABSENT},
    ),
    EnvironRow(
        "B31 name and port of the socket, not of Host",
        _raw("GET / HTTP/1.1", "Host: evil.example:1"),
        {"SERVER_NAME": "127.0.0.1", "REMOTE_ADDR": "127.0.0.1"},
    ),
    EnvironRow(
        "B46 constants",
        request(),
        {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "HTTPS": ABSENT,
        },
    ),
    EnvironRow("B26 threads", request(), {"wsgi.multithread": True}, "Thread Support"),
]

# B37, B39, B41, B48: these never reach an app.
REFUSED = [
    ("B37 folded header", _raw("GET / HTTP/1.1", "Host: a", "X: a", " b")),
    (
        "B39 length beside chunked",
        request("/", "POST", "Content-Length: 3", "Transfer-Encoding: chunked") + chunked(b"abc"),
    ),
    (
        "B41 bad chunk size",
        request("/", "POST", "Transfer-Encoding: chunked") + "٣\r\nabc\r\n0\r\n\r\n".encode(),
    ),
    ("B48 bad Host", _raw("GET / HTTP/1.1", "Host: a\xff/b")),
    ("B48 no Host", _raw("GET / HTTP/1.1")),
]


def answering(body: Any, *headers: tuple[str, str], status: str = "200 OK") -> App:
    """An app that gives the same answer each time; a callable body is called first."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return body() if callable(body) else body

    return app


def _generator_that_starts_late(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("201 Created", [])
    yield b"a"


def _writes(environ: Any, start_response: Any) -> list[bytes]:
    write = start_response("200 OK", [])
    write(b"a")
    write(b"")
    write(b"b")
    return [b"c"]


def _replaces_the_head(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("X-Old", "1")])
    try:
        raise ValueError
    except ValueError:
        start_response("503 Later", [("X-New", "1")], sys.exc_info())
    return [b"later"]


def _echo(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def _reads_too_much(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    read = environ["wsgi.input"]
    return [read.read(2), read.readline(), *read.readlines(), *read, read.read(5), read.read()]


def _hop_by_hop(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Transfer-Encoding", "chunked"), ("Keep-Alive", "9"), ("X", "1")])
    return [b"abc"]


START = "The start_response() Callable"
BUFFERING = "Buffering and Streaming"
LENGTH = "Handling the Content-Length Header"
HTTP = "Other HTTP Features"
CHUNKED = {"transfer-encoding": ["chunked"], "content-length": []}


def _length(size: int) -> dict[str, list[str]]:
    return {"transfer-encoding": [], "content-length": [str(size)]}


GOOD = [
    GoodRow(LENGTH, "a list of one", answering([b"abc"]), 200, b"abc", _length(3)),
    GoodRow(LENGTH, "a list of many", answering([b"a", b"", b"bc"]), 200, b"abc", _length(3)),
    GoodRow(LENGTH, "B62 an empty list", answering([]), 200, b"", _length(0)),
    GoodRow(LENGTH, "B62 an empty generator", answering(lambda: iter(())), 200, b"", _length(0)),
    GoodRow(LENGTH, "B62 empty items", answering(lambda: iter([b"", b""])), 200, b"", _length(0)),
    GoodRow(
        LENGTH,
        "a generator with a length",
        answering(lambda: iter([b"a", b"bc"]), ("Content-Length", "3")),
        200,
        b"abc",
        _length(3),
    ),
    GoodRow(
        BUFFERING, "B49 a generator", answering(lambda: iter([b"a", b"b"])), 200, b"ab", CHUNKED
    ),
    GoodRow(
        BUFFERING,
        "B52 a generator for HTTP/1.0",
        answering(lambda: iter([b"a", b"b"])),
        200,
        b"ab",
        {"transfer-encoding": [], "content-length": [], "connection": ["close"]},
        _raw("GET / HTTP/1.0", "Connection: keep-alive"),
    ),
    GoodRow(START, "called at the first step", _generator_that_starts_late, 201, b"a", CHUNKED),
    GoodRow("The write() Callable", "B61 write", _writes, 200, b"abc", CHUNKED),
    GoodRow(
        "Error Handling", "B60 exc_info replaces", _replaces_the_head, 503, b"later",
        {"x-old": [], "x-new": ["1"]},
    ),
    GoodRow(START, "B63 no reason", answering([], status="200"), 200, b""),
    GoodRow(START, "values as latin-1", answering([], ("X", " \xe9 ")), 200, b"", {"x": ["\xe9"]}),
    GoodRow(
        HTTP,
        "B64 the app's own Date and Server",
        answering([], ("Date", "D"), ("server", "S")),
        200,
        b"",
        {"date": ["D"], "server": ["S"]},
    ),
    GoodRow(
        HTTP, "B64 the app closes", answering([], ("Connection", "close")), 200, b"",
        {"connection": ["close"]},
    ),
    GoodRow(
        HTTP, "repeated headers stay apart",
        answering([], ("Set-Cookie", "a"), ("Set-Cookie", "b")), 200, b"",
        {"set-cookie": ["a", "b"]},
    ),
    GoodRow(
        HTTP, "hop-by-hop headers are left out", _hop_by_hop, 200, b"abc",
        {"keep-alive": [], "x": ["1"], **_length(3)},
    ),
    GoodRow(HTTP, "B50 204", answering([], status="204 No Content"), 204, b"", {
        "transfer-encoding": [], "content-length": []}),
    GoodRow(HTTP, "B50 304 whatever it yields", answering([b"x"], status="304 Not Modified"), 304,
            b"", {"transfer-encoding": [], "content-length": []}),
    GoodRow(HTTP, "B51 HEAD of a list", answering([b"abc"]), 200, b"", _length(3),
            request("/", "HEAD")),
    GoodRow(HTTP, "B51 HEAD of a generator", answering(lambda: iter([b"abc"])), 200, b"", {},
            request("/", "HEAD")),
    GoodRow("Input and Error Streams", "B42 a body", _echo, 200, b"abc", {},
            request("/", "POST", body=b"abc")),
    GoodRow("Input and Error Streams", "B42 no body", _echo, 200, b""),
    GoodRow("Input and Error Streams", "B38 a chunked body", _echo, 200, b"abcdef", {},
            request("/", "POST", "Transfer-Encoding: chunked") + chunked(b"abc", b"def")),
    GoodRow("Input and Error Streams", "B42 reading past the end", _reads_too_much, 200,
            b"a\nb\nc\nd", {}, request("/", "POST", body=b"a\nb\nc\nd")),
    GoodRow("Input and Error Streams", "B42 a large body", _echo, 200, b"x" * 300_000, {},
            request("/", "POST", body=b"x" * 300_000)),
    GoodRow("Input and Error Streams", "B38 a large chunked body", _echo, 200, b"x" * 300_000, {},
            request("/", "POST", "Transfer-Encoding: chunked") + chunked(*[b"x" * 1000] * 300)),
]  # fmt: skip
