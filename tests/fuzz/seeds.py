"""What fuzzing begins with: the tables of the conformance tests, and streams around the limits."""

from __future__ import annotations

from collections.abc import Iterator

from ..conformance import rfc9112, smuggling
from ..helpers import chunked, request_bytes
from ..properties.parsing import TIGHT

__all__ = ["seeds"]


def seeds(target: str) -> Iterator[bytes]:
    """Streams for a target; for `chunks` the bodies alone."""
    yield from map(_body if target == "chunks" else bytes, _streams())


def _streams() -> Iterator[bytes]:
    yield from (row.sent for row in rfc9112.ROWS)
    yield from (case.sent for case in smuggling.CASES)
    yield from _around_limits()


def _around_limits() -> Iterator[bytes]:
    """One byte below each limit, at it, and above; whole, and cut off before the end."""
    for more in (-1, 0, 1):
        # "GET / HTTP/1.1" and "Host: test" have 14 and 12 bytes, the latter with its CRLF.
        line = b"/" + b"a" * (TIGHT.limit_request_line - 14 + more)
        yield request_bytes(target=line)
        yield request_bytes(target=line)[:-4]
        value = b"a" * (TIGHT.limit_request_head - 12 - len("X: ") + more)
        yield request_bytes(headers=[(b"X", value)])
        yield request_bytes(headers=[(b"X", value)])[:-3]
        yield request_bytes(headers=[(b"X", b"1")] * (TIGHT.limit_request_fields - 1 + more))
        overhead = TIGHT.limit_chunk_overhead + more
        coding = [(b"Transfer-Encoding", b"chunked")]
        for body in (
            b"1;%b\r\nx\r\n" % (b"e" * (overhead - 1)),
            b"1;%b" % (b"e" * (overhead + 16)),
            chunked(b"x", trailers=b"T:%b\r\n" % (b"t" * (overhead - 2))),
            b"1;%b\r\nx\r\n" % (b"e" * (overhead - 5)) + chunked(trailers=b"T: 1\r\n"),
        ):
            yield request_bytes(b"POST", headers=coding, body=body)
    for length in (b"1", b"18", b"9" * 18, b"9" * 19):
        yield request_bytes(b"PUT", headers=[(b"Content-Length", length)]) + b"x" * 18


def _body(stream: bytes) -> bytes:
    return stream.partition(b"\r\n\r\n")[2]
