"""How requests were smuggled, as a table: a corpus of our own.

Two programs that read the same bytes as different requests are what smuggling needs (RFC 9112
section 11.2). Each case is such a byte stream with `GET /smuggled` somewhere in it, and the
reason why somebody read it wrongly. It is either refused, and nothing behind the fault is read as
a request, or it is exactly the requests that the RFC makes of it.

The faults of form alone, without an attack around them, are in `rfc9112.py`. What is about lengths
and codings is in `smuggling_framing.py`, and the bodies are in `smuggling_chunks.py`.
"""

from __future__ import annotations

from typing import Final

from . import smuggling_chunks, smuggling_framing
from .smuggling_case import (
    CHUNKED,
    SMUGGLED,
    STREAM,
    Case,
    head,
    is_read,
    is_refused,
    with_length,
)

__all__ = ["CASES"]

SIZE: Final = b"%d" % len(SMUGGLED)
BODY: Final = SMUGGLED.decode()


def _lines() -> tuple[Case, ...]:
    """Faults of lines in front of the second request, and targets that hide lines."""
    noise = tuple(
        is_refused(
            f"{mark!r} before a request line",
            STREAM + mark + SMUGGLED,
            "2.2: only CRLF is skipped there; CVE-2026-50020 (Netty)",
            seen=("GET /first ",),
        )
        for mark in (b"\0", b"\x01", b"\x0b", b"\x7f", b" ", b"\t", b"\n", b"\r")
    )
    separators = tuple(
        is_refused(
            f"{mark!r} in the request line",
            STREAM + b"GET" + mark + b"/smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
            "3: one space, and nothing else that split() takes for a blank",
            seen=("GET /first ",),
        )
        for mark in (b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xa0", b"  ")
    )
    versions = tuple(
        is_refused(
            f"version {version.decode('latin-1')!r}",
            STREAM + b"GET /smuggled " + version + b"\r\nHost: test\r\n\r\n",
            "2.3: HTTP-version has one form, and other versions frame in other ways",
            status,
            seen=("GET /first ",),
        )
        for version, status in (
            (b"http/1.1", 400),
            (b"HTTP/1.1\x0b", 400),
            (b"HTTP/01.1", 400),
            (b"HTTP/1.\xd9\xa1", 400),
            (b"HTTP/1,1", 400),
            (b"HTTP/1.2", 505),
            (b"HTTP/3.0", 505),
        )
    )
    return (*noise, *separators, *versions)


_ROUTES: Final = (
    is_refused(
        "two hosts",
        head(b"GET /smuggled HTTP/1.1", b"Host: evil"),
        "3.2: one reader routes by the first, another by the last; CVE-2026-34525 (aiohttp)",
    ),
    is_refused(
        "host hidden by a fold",
        b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\tevil\r\n\r\n",
        "5.2: folded, it is another host",
    ),
    is_refused(
        "host with NUL",
        b"GET /smuggled HTTP/1.1\r\nHost: test\0evil\r\n\r\n",
        "9110 5.5: for a reader with C strings it is the first half",
    ),
    is_read(
        "target and Host disagree",
        b"GET http://other/first HTTP/1.1\r\nHost: test\r\n\r\n",
        "3.2.2: the target's authority replaces what Host says",
        "GET /first ",
        after=SMUGGLED,
    ),
    is_refused(
        "two hosts behind an absolute target",
        head(b"GET http://other/smuggled HTTP/1.1", b"Host: evil"),
        "3.2: a repeated Host is refused whatever the target says",
    ),
    is_refused(
        "a tunnel with a request in it",
        b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n" + SMUGGLED,
        "9110 9.3.6: behind CONNECT there is no HTTP; 501, and nothing is read",
        501,
    ),
    is_read(
        "CRLF in the target, encoded",
        b"GET /a%20HTTP/1.1%0d%0aHost:%20test%0d%0a%0d%0aGET%20/smuggled HTTP/1.1\r\n"
        b"Host: test\r\n\r\n",
        "3.2, 11.1: decoded it is a part of the path, and never of a line",
        "GET /a HTTP/1.1\r\nHost: test\r\n\r\nGET /smuggled ",
    ),
    is_refused(
        "HTTP/0.9 behind HTTP/1.1",
        STREAM + b"GET /smuggled\r\n\r\n",
        "2.3: a line without a version is no request any more",
        seen=("GET /first ",),
    ),
    is_read(
        "request in a field value",
        head(b"GET /first HTTP/1.1", b"X: GET /smuggled HTTP/1.1"),
        "5: a value is a value",
        "GET /first ",
    ),
)

_BODIES: Final = (
    *(
        is_read(
            f"body of {method} by {how}",
            head(method.encode() + b" /first HTTP/1.1", field) + body,
            "6.3: whether there is a body depends on the framing, not on the method; a reader "
            "that thinks otherwise takes it for the next request (CL.0, TE.0)",
            f"{method} /first {BODY}",
            is_head=method == "HEAD",
        )
        for method in ("GET", "HEAD", "OPTIONS", "DELETE", "TRACE")
        for how, field, body in (
            ("length", b"Content-Length: " + SIZE, SMUGGLED),
            ("chunks", CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        )
    ),
    *(
        is_read(
            f"body with Expect: {value.decode()}",
            with_length(SIZE, b"Expect: " + value),
            "9110 10.1.1: an expectation changes nothing about where the body ends",
            f"POST / {BODY}",
        )
        for value in (b"100-continue", b"100-Continue", b"y 100-continue", b"100-continue, x")
    ),
    is_read(
        "body that the app leaves unread",
        head(b"GET /unread HTTP/1.1", b"Content-Length: " + SIZE) + SMUGGLED,
        "9.3: it is read all the same before the next request",
        "GET /unread ",
    ),
    is_read(
        "upgrade that does not happen",
        head(b"GET /first HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket"),
        "9110 7.8: the server stays with HTTP/1.1, and so do the bytes that follow",
        "GET /first ",
        after=SMUGGLED,
    ),
    is_read(
        "h2c that does not happen",
        head(b"GET /first HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"),
        "9110 7.8: a proxy that opens a tunnel here hands everything through",
        "GET /first ",
        after=SMUGGLED,
    ),
    is_read(
        "body behind empty lines",
        b"\r\n\r\n" + STREAM + b"\r\n\r\n\r\n" + with_length(SIZE),
        "2.2: empty lines in front of a request line are skipped, and only there",
        "GET /first ",
        f"POST / {BODY}",
    ),
)

CASES: Final[tuple[Case, ...]] = (
    *smuggling_framing.CASES,
    *_lines(),
    *_ROUTES,
    *_BODIES,
    *smuggling_chunks.CASES,
)
