"""What clients send: good requests, and good requests with something wrong in them."""

from __future__ import annotations

import itertools
from typing import Final

from hypothesis import strategies as st

from ..helpers import request_bytes

__all__ = ["mutated", "pipelines", "requests", "splits"]

_TOKEN: Final = st.sampled_from([b"X", b"x-y", b"Accept", b"!#$%&'*+.^_`|~9"])
_VALUE: Final = st.sampled_from([b"", b"1", b"a b", b"a\t b", b"\xe4\xff", b'"q, r"; s=t'])
_METHOD: Final = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"get", b"X-Y"])
_TARGET: Final = st.sampled_from([b"/", b"/a%20b?c=d&e", b"//x", b"/\xc3\xa4?", b"/" + b"a" * 30])
_CONNECTION: Final = st.sampled_from([b"close", b"keep-alive", b"x, Keep-Alive", b"upgrade"])
_BODY: Final = st.binary(max_size=40)

# What is likely to confuse a parser when it stands where it should not.
_NASTY: Final = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0",
        b"-",
        b"\x16\x03\x01",
        b"\xff",
        b"\r\n ",
        b"0\r\n\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: other\r\n",
        b"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
        b"a" * 70,
        b"X: 1\r\n" * 60,
    ]
)


@st.composite
def _chunks(draw: st.DrawFn) -> bytes:
    """A chunked body with everything that is allowed in one (RFC 9112 section 7.1)."""
    parts: list[bytes] = []
    for piece in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3)):
        size = draw(st.sampled_from([b"%x", b"%X", b"000%x"])) % len(piece)
        extension = draw(st.sampled_from([b"", b"", b";a", b" ;a=b", b';a="b;c"', b';a="\xff"']))
        parts += [size, extension, b"\r\n", piece, b"\r\n"]
    trailers = draw(st.sampled_from([b"", b"", b"T: 1\r\n", b"T:\r\nU: \t2\r\n"]))
    last = draw(st.sampled_from([b"0", b"00", b"0;e"]))
    return b"".join((*parts, last, b"\r\n", trailers, b"\r\n"))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request that every server has to understand."""
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
    headers = draw(st.lists(st.tuples(_TOKEN, _VALUE), max_size=2))
    if draw(st.integers(0, 4)) == 0:
        headers.append((b"Connection", draw(_CONNECTION)))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if version == b"1.0" and framing == "chunked":
        framing = "length"
    body = b""
    if framing == "length":
        body = draw(_BODY)
        headers.append((b"Content-Length", b"%d" % len(body)))
    elif framing == "chunked":
        body = draw(_chunks())
        headers.append((b"transfer-Encoding", draw(st.sampled_from([b"chunked", b"CHUNKED"]))))
    if body and draw(st.booleans()):
        headers.append((b"Expect", b"100-continue"))
    return request_bytes(draw(_METHOD), draw(_TARGET), headers, body, version=version)


@st.composite
def pipelines(draw: st.DrawFn) -> bytes:
    """Some requests in a row, sometimes with empty lines in front (RFC 9112 section 2.2)."""
    parts = draw(st.lists(requests(), min_size=1, max_size=4))
    return b"".join(draw(st.sampled_from([b"", b"", b"", b"\r\n"])) + part for part in parts)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A pipeline in which some bytes were replaced, removed, inserted, or cut off."""
    data = bytearray(draw(pipelines()))
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["insert", "insert", "replace", "remove", "cut", "repeat"]))
        if kind == "cut":
            del data[where:]
        elif kind == "remove":
            del data[where : where + draw(st.integers(1, 4))]
        elif kind == "repeat":
            start = draw(st.integers(0, len(data)))
            data[where:where] = data[start : start + draw(st.integers(1, 40))]
        else:
            end = where + (1 if kind == "replace" else 0)
            data[where:end] = draw(st.one_of(_NASTY, st.binary(min_size=1, max_size=1)))
    return bytes(data)


def splits(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The same bytes, cut into pieces."""
    places = st.lists(st.integers(1, max(1, len(data) - 1)), max_size=8, unique=True)
    return places.map(lambda found: _cut(data, sorted(found)))


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *places, len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]
