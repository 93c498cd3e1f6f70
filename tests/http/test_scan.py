"""Finding heads, and refusing early what is none."""

from __future__ import annotations

import pytest

from aserve.config import Limits
from aserve.errors import RemoteProtocolError
from aserve.http.scan import HeadScanner

from ..work import CountedBuffer, most_work, pattern_work

LINE, HEAD = 64, 256
LIMITS = Limits(limit_request_line=LINE, limit_request_head=HEAD)

GET = b"GET / HTTP/1.1\r\n"


def line(size: int) -> bytes:
    """A request line of exactly `size` bytes, with its CRLF behind them."""
    return b"GET /%b HTTP/1.1\r\n" % (b"a" * (size - 14))


def fields(size: int) -> bytes:
    """One header field that makes the header block `size` bytes, with its CRLF."""
    return b"X: %b\r\n" % (b"a" * (size - 5))


def scan(data: bytes, *, limits: Limits = LIMITS) -> bytes | None:
    return HeadScanner(limits).take(bytearray(data))


def drip(data: bytes, *, limits: Limits = LIMITS) -> bytes | None:
    scanner, buffer = HeadScanner(limits), bytearray()
    head = None
    for byte in data:
        buffer.append(byte)
        head = head or scanner.take(buffer)
    return head


def status(data: bytes, *, limits: Limits = LIMITS) -> int:
    """The status with which `data` is refused, whole and in drops; 0 when it is not."""
    found = []
    for feed in (scan, drip):
        try:
            feed(data, limits=limits)
        except RemoteProtocolError as error:
            found.append(error.status_hint)
        else:
            found.append(0)
    assert found[0] == found[1]
    return found[0]


def test_head_is_taken_and_the_rest_left() -> None:
    scanner, buffer = HeadScanner(LIMITS), bytearray(GET + b"\r\nbody")
    assert scanner.take(buffer) == GET + b"\r\n"
    assert buffer == b"body"


def test_byte_by_byte() -> None:
    head = GET + b"Host: test\r\n\r\n"
    assert drip(head) == head


def test_empty_lines_in_front_are_ignored() -> None:
    """RFC 9112 section 2.2."""
    head = GET + b"\r\n"
    assert scan(b"\r\n\r\n" + head) == head
    assert drip(b"\r\n\r\n" + head) == head
    assert scan(b"\r\n") is None


@pytest.mark.parametrize(
    ("size", "expected"), [(LINE - 1, 0), (LINE, 0), (LINE + 1, 414), (4 * LINE, 414)]
)
def test_longest_line(size: int, expected: int) -> None:
    """RFC 9112 section 3, RFC 9110 section 15.5.15; B68: as soon as it is too long."""
    assert status(line(size) + b"\r\n") == expected
    assert status(line(size) + b"Host: test\r\n\r\n") == expected
    assert status(line(size)[:-2]) == (414 if size >= LINE + 2 else 0)


@pytest.mark.parametrize(
    ("size", "expected"), [(HEAD - 1, 0), (HEAD, 0), (HEAD + 1, 431), (4 * HEAD, 431)]
)
def test_largest_head(size: int, expected: int) -> None:
    """RFC 6585 section 5; B68."""
    assert status(GET + fields(size) + b"\r\n") == expected
    assert status(GET + fields(2 * size)) == (431 if 2 * size > HEAD else 0)


def test_line_longer_than_the_header_block() -> None:
    """Each limit counts its own part, whichever of them is larger."""
    limits = Limits(limit_request_line=1000, limit_request_head=256)
    assert status(line(1000) + b"\r\n", limits=limits) == 0
    assert status(line(900), limits=limits) == 0
    assert status(line(1001) + b"\r\n", limits=limits) == 414


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"\rX",
        b"\x00",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\rH",
        b"GET / HTTP/1.1\r\nHost: test\n",
        b"GET / HTTP/1.1\r\nX: \x00",
        b"GET / HTTP/1.1\r\nX: \x1b",
        b"GET /\x7f",
        b"GET\r\n",
        b"GET /\r\n",
        b"hello\r\n",
        b"GET / HTTP/x\r\n",
        b"\x16",
    ],
)
def test_hopeless_heads_are_refused_at_once(data: bytes) -> None:
    """RFC 9112 section 2.2; a client that waits for an answer before it ends its head gets one."""
    assert status(data) == 400
    assert status(data[:-1]) == 0


def test_tls_is_named() -> None:
    """B66."""
    with pytest.raises(RemoteProtocolError, match="TLS"):
        scan(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /\x00" + b"a" * LINE + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * LINE + b"\x00 HTTP/1.1\r\n\r\n", 414),
        (b"G T /" + b"a" * LINE + b" HTTP/1.1\r\n\r\n", 414),
        (GET + b"\x00" + fields(HEAD) + b"\r\n", 400),
        (GET + fields(HEAD) + b"X: 1\r\n\x00\r\n\r\n", 431),
    ],
)
def test_the_first_fault_counts(data: bytes, expected: int) -> None:
    """The status does not depend on how much of a bad head came in the first packet."""
    assert status(data) == expected


@pytest.mark.parametrize(
    ("line_size", "field_size"), [(65_000, 65_000), (20, 65_000), (65_000, 10), (20, 10)]
)
def test_no_byte_is_looked_at_again_and_again(line_size: int, field_size: int) -> None:
    """A client that sends byte by byte costs no more than its bytes, request line included."""
    data = line(line_size) + fields(field_size) + b"\r\n"
    scanner, buffer = HeadScanner(Limits()), CountedBuffer()
    with pattern_work() as patterns:
        for byte in data:
            buffer.append(byte)
            head = scanner.take(buffer)
        work = buffer.work + sum(pattern.work for pattern in patterns)
    assert head == data
    assert len(data) <= work <= most_work(len(data), len(data))


def test_next_head_is_looked_at_from_its_start() -> None:
    """Nothing of the head before it is left: not how far it went, nor that its line was good."""
    scanner = HeadScanner(LIMITS)
    buffer = bytearray(GET + b"X: 1\r\n")
    assert scanner.take(buffer) is None
    buffer += b"\r\nGET /\r\n"
    assert scanner.take(buffer) == GET + b"X: 1\r\n\r\n"
    with pytest.raises(RemoteProtocolError, match="malformed request line"):
        scanner.take(buffer)
