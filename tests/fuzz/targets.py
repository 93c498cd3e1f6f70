"""What holds for any bytes that a client may send. A target returns, or it has found a bug.

The bytes are a client's, as they are: no part of them is set aside to steer the test, so that a
file of the corpus can be read, and pasted into a test. Where something has to be chosen, a
checksum of the bytes chooses.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from aserve.config import Limits
from aserve.errors import RemoteProtocolError
from aserve.events import EndOfMessage, Event
from aserve.http import H1Connection
from aserve.http.body import ChunkedReader
from aserve.http.response import simple_response
from aserve.http.state import Receiving

from ..helpers import DATE, response
from ..properties.oracle import compare_all
from ..properties.parsing import TIGHT, facts, parse_all
from ..work import CountedBuffer, most_work, pattern_work
from .reference import Decoded, decode

__all__ = ["TARGETS", "bounds", "chunks", "oracle", "splits"]

# The size without extensions, and the CR.
_CHUNK_LINE: Final = 17
_STATUSES: Final = {400, 414, 431, 501, 505}


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The bytes in pieces: one by one, at some places, and around the ends of lines."""
    yield [bytes([byte]) for byte in data]
    choose = random.Random(zlib.crc32(data))
    if len(data) > 1:
        count = choose.randint(1, min(6, len(data) - 1))
        yield _cut(data, choose.sample(range(1, len(data)), count))
    for mark in (b"\r", b"\n"):
        yield _cut(
            data, [place for place in range(1, len(data)) if data[place : place + 1] == mark]
        )


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in itertools.pairwise([0, *sorted(places), len(data)])]


def _limits(data: bytes) -> Limits:
    """One of two: both would take twice as long, and what is next to these bytes has the other."""
    return TIGHT if zlib.crc32(data) & 1 else Limits()


def splits(data: bytes) -> None:
    """However the bytes are cut into packets, the same comes of them (RFC 9112 section 2.1)."""
    limits = _limits(data)
    whole = facts(parse_all([data], limits))
    for pieces in cuts(data):
        assert facts(parse_all(pieces, limits)) == whole, pieces


def chunks(data: bytes) -> None:
    """`ChunkedReader` decodes as the reference does, whole and in pieces."""
    overhead = _limits(data).limit_chunk_overhead
    expected = decode(data, overhead)
    for pieces in ([data], *cuts(data)):
        assert _decode_pieces(pieces, overhead) == expected, pieces


def _decode_pieces(pieces: list[bytes], overhead: int) -> Decoded:
    reader = ChunkedReader(overhead)
    buffer = CountedBuffer()
    found: list[bytes] = []
    size = 0
    for number, piece in enumerate(pieces, 1):
        buffer += piece
        size += len(piece)
        try:
            reader.read(buffer, found)
        except RemoteProtocolError as error:
            return Decoded(b"".join(found), status=error.status_hint)
        assert reader.remaining == (0 if reader.complete else None)
        assert reader.complete or len(buffer) <= overhead + _CHUNK_LINE
        assert buffer.work <= most_work(size, number), "bytes are looked at again and again"
    return Decoded(b"".join(found), left=bytes(buffer) if reader.complete else None)


def oracle(data: bytes) -> None:
    """What h11 accepts as well, it reads in the same way."""
    compare_all(data)


def bounds(data: bytes) -> None:
    """Only declared faults, each with an answer; no more is kept or looked at than needed."""
    for pieces in ([data], *itertools.islice(cuts(data), 2)):
        with pattern_work() as patterns:
            connection = H1Connection(TIGHT, lambda: DATE)
            buffer = CountedBuffer()
            connection._buffer = buffer
            size = 0
            for number, piece in enumerate(pieces, 1):
                size += len(piece)
                _answer(connection, connection.receive_data(piece))
                _check_kept(connection)
                # A pipelined request is looked at when its turn comes: up to 4 bytes of its head.
                work = buffer.work + sum(pattern.work for pattern in patterns)
                assert work <= most_work(size, number), "bytes are looked at again and again"
            connection.receive_eof()
            _refuse(connection)


def _answer(connection: H1Connection, events: list[Event]) -> None:
    """Answer each request that is complete, as long as the connection goes on."""
    while events and type(events[-1]) is EndOfMessage:
        assert connection.send_whole(response(204), b"")
        if not connection.keep_alive:
            return
        events = connection.next_cycle()


def _check_kept(connection: H1Connection) -> None:
    if connection.receiving is Receiving.HEAD:
        line = connection.buffered_data.find(b"\r\n")
        fields = TIGHT.limit_request_head + len(b"\r\n\r\n")
        most = line + fields if line >= 0 else TIGHT.limit_request_line + len(b"\r")
        assert connection.buffered <= most, "more is kept than the limits allow"
    elif connection.receiving is Receiving.BODY:
        assert connection.buffered <= TIGHT.limit_chunk_overhead + _CHUNK_LINE
    else:
        # Behind the last request, or behind a fault, nothing more is wanted.
        assert not connection.keep_alive
        assert connection.receiving is not Receiving.FAILED or not connection.receive_data(b"GET /")


def _refuse(connection: H1Connection) -> None:
    failure = connection.failure
    if failure is None:
        return
    assert type(failure) is RemoteProtocolError
    assert failure.status_hint in _STATUSES
    assert len(connection.failed_head) <= 256
    refusal, body = simple_response(failure.status_hint, str(failure))
    assert connection.send_whole(refusal, body).startswith(b"HTTP/1.1 %d " % failure.status_hint)
    assert not connection.keep_alive


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "splits": splits,
    "chunks": chunks,
    "oracle": oracle,
    "bounds": bounds,
}
