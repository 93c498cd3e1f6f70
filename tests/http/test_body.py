"""Readers of request bodies (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

import pytest

from aserve.errors import RemoteProtocolError
from aserve.http.body import BodyReader, ChunkedReader, LengthReader

from ..helpers import chunked
from ..work import CountedBuffer, most_work

OVERHEAD = 64


def read(reader: BodyReader, buffer: bytearray) -> bytes:
    pieces: list[bytes] = []
    reader.read(buffer, pieces)
    return b"".join(pieces)


def read_whole(reader: BodyReader, data: bytes) -> bytes:
    return read(reader, bytearray(data))


def drip(reader: BodyReader, data: bytes) -> bytes:
    """Feed byte by byte."""
    buffer = bytearray()
    out = b""
    for byte in data:
        buffer.append(byte)
        out += read(reader, buffer)
    return out


def test_length_counts_what_was_read_without_it() -> None:
    """A read that brings nothing but body goes past the reader, as long as all of it is body."""
    reader = LengthReader(5)
    assert reader.take(3)
    assert not reader.take(3)
    assert (reader.remaining, reader.complete) == (2, False)
    assert reader.take(2)
    assert reader.complete


def test_length_takes_no_more_than_its_own() -> None:
    """RFC 9112 section 6.3, rule 6."""
    reader = LengthReader(5)
    buffer = bytearray(b"123")
    assert read(reader, buffer) == b"123"
    assert reader.remaining == 2
    assert not reader.complete
    assert read(reader, buffer) == b""
    buffer += b"45GET /"
    assert read(reader, buffer) == b"45"
    assert reader.remaining == 0
    assert buffer == b"GET /"


def test_chunks_take_no_more_than_their_own() -> None:
    """RFC 9112 section 7.1; B41."""
    reader = ChunkedReader(OVERHEAD)
    buffer = bytearray(chunked(b"hello", b" ", b"world" * 9) + b"GET /")
    assert read(reader, buffer) == b"hello " + b"world" * 9
    assert reader.complete
    assert reader.remaining == 0
    assert buffer == b"GET /"


def test_chunks_byte_by_byte() -> None:
    """RFC 9112 section 7.1."""
    reader = ChunkedReader(OVERHEAD)
    data = b"5;a=b\r\nhello\r\n00A \t;x\r\n0123456789\r\n000\r\nT: 1\r\nU:\r\n\r\n"
    assert drip(reader, data) == b"hello0123456789"
    assert reader.complete


def test_data_of_a_chunk_is_not_held_back() -> None:
    """A client that sends half of a chunk gets it to the application."""
    buffer = bytearray(b"a\r\nhalf")
    reader = ChunkedReader(OVERHEAD)
    assert read(reader, buffer) == b"half"
    assert reader.remaining is None
    assert buffer == b""


def test_sixteen_digits() -> None:
    """No integer overflows here (RFC 9112 section 7.1), and a size is not read for ever."""
    reader = ChunkedReader(OVERHEAD)
    assert read(reader, bytearray(b"F" * 16 + b"\r\nx")) == b"x"
    with pytest.raises(RemoteProtocolError):
        read(ChunkedReader(OVERHEAD), bytearray(b"0" * 17 + b"\r\n"))


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"0x5\r\n",
        b"+5\r\n",
        b"-5\r\n",
        b"5 \r\n",
        b" 5\r\n",
        b"5_0\r\n",
        b"\xd9\xa5\r\n",
        b"5 a\r\n",
        b"5;\x00\r\n",
        b"5;\x7f\r\n",
        b"5;a\rb\r\n",
        b"5;\r\n",
        b"5; \r\n",
        b"5;a=\r\n",
        b"5;a b\r\n",
        b"5;\xff\r\n",
        b"5;a;\r\n",
        b'5;a="\r\n',
        b'5;a="b\r\n',
        b'5;a="b\\\r\n',
        b'5;a="\x00"\r\n',
        b'5;a="b"c\r\n',
        b"5\n",
        b"\n",
        b"5\r\nhelloX",
        b"5\r\nhello\n",
        b"5\r\nhello\rX",
        b"5\r\nhello5\r\n",
        b"0\r\n\n",
        b"0\r\nX\r\n",
        b"0\r\nX : 1\r\n",
        b"0\r\n folded: 1\r\n",
        b"0\r\nX: \x00\r\n",
        b"0\r\nX: 1\n",
    ],
)
def test_broken_chunks(data: bytes) -> None:
    """RFC 9112 section 7.1; B41: 400, whole or in drops, and no byte of the next request eaten."""
    for feed in (read_whole, drip):
        with pytest.raises(RemoteProtocolError) as caught:
            feed(ChunkedReader(OVERHEAD), data)
        assert caught.value.status_hint == 400


@pytest.mark.parametrize(
    "extension",
    [b";a", b" ;\ta", b";a;b", b";a=b", b" ; a = b ; c", b';a=""', b';a="b ;\xff=\t"', b';a="\\""'],
)
def test_extensions(extension: bytes) -> None:
    """RFC 9112 section 7.1.1: ignored, when they are extensions."""
    for feed in (read_whole, drip):
        reader = ChunkedReader(OVERHEAD)
        assert feed(reader, b"1" + extension + b"\r\nx\r\n0\r\n\r\n") == b"x"
        assert reader.complete


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"e" * 9000 + b"\r\nx\r\n",
        b"0\r\nT: " + b"t" * 9000 + b"\r\n\r\n",
        b"1\r\nx\r\n" * 2000,
    ],
)
def test_no_byte_is_searched_again_and_again(data: bytes) -> None:
    """A client that sends byte by byte costs no more than its bytes."""
    reader, buffer = ChunkedReader(16_384), CountedBuffer()
    for byte in data:
        buffer.append(byte)
        reader.read(buffer, [])
    assert buffer == b""
    assert 0 < buffer.work <= most_work(len(data), len(data))


def test_what_came_before_a_broken_chunk_is_kept() -> None:
    """The same data as if it had come in a read of its own."""
    pieces: list[bytes] = []
    with pytest.raises(RemoteProtocolError):
        ChunkedReader(OVERHEAD).read(bytearray(b"2\r\nok\r\nzzz\r\n"), pieces)
    assert pieces == [b"ok"]


@pytest.mark.parametrize(
    ("data", "fits"),
    [
        (b"0;" + b"e" * (OVERHEAD - 1) + b"\r\n\r\n", True),
        (b"0;" + b"e" * OVERHEAD + b"\r\n\r\n", False),
        (b"0\r\nT:" + b"t" * (OVERHEAD - 2) + b"\r\n\r\n", True),
        (b"0\r\nT:" + b"t" * (OVERHEAD - 1) + b"\r\n\r\n", False),
        (b"1;eeee\r\nx\r\n" * 20 + b"0\r\n\r\n", False),
        (b"0\r\n" + b"T: t\r\n" * 20 + b"\r\n", False),
        (b"0;" + b"e" * 2 * OVERHEAD, False),
        (b"1" * 2 * OVERHEAD, False),
    ],
)
def test_overhead_is_limited(data: bytes, fits: bool) -> None:
    """RFC 9112 section 7.1.1: a recipient ought to limit extensions; trailers count as well."""
    for feed in (read_whole, drip):
        reader = ChunkedReader(OVERHEAD)
        if fits:
            feed(reader, data)
            assert reader.complete
        else:
            with pytest.raises(RemoteProtocolError, match="limit_chunk_overhead") as caught:
                feed(reader, data)
            assert caught.value.status_hint == 431
