"""Reading the body of a request: by length, or chunk by chunk (RFC 9112 sections 6 and 7).

A reader eats from the connection's buffer and gives back data; it never reads past the end
of its body, so what follows in the buffer is the next request.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from ..errors import RemoteProtocolError

__all__ = ["BodyReader", "ChunkedReader", "LengthReader", "check_size"]

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
# RFC 9110 section 5.6.4. No CR or LF in it: where one reader ends a line inside of the quotes
# and another one does not, requests are smuggled.
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
# RFC 9112 section 7.1: chunk-size is hexadecimal digits only. Sixteen of them are 2**64.
# Extensions (7.1.1) are ignored, as a recipient must, but only those that the grammar knows.
_CHUNK_HEAD: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*"
)
_TRAILER: Final = re.compile(_TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")
_CRLF: Final = b"\r\n"
# The longest chunk head without extensions, up to its LF: 16 digits and CR.
_BARE_LINE: Final = 17


class BodyReader(Protocol):
    """Takes body bytes out of a buffer."""

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        ...

    def read(self, buffer: bytearray, pieces: list[bytes]) -> None:
        """Move body bytes from the front of `buffer` to the end of `pieces`, decoded.

        Raises:
            RemoteProtocolError: The framing is broken; what came before is in `pieces`.
        """
        ...

    @property
    def remaining(self) -> int | None:
        """Bytes still to come; None when nobody knows."""
        ...


def check_size(size: int, limit: int | None) -> None:
    """Refuse a body that is announced to be longer than allowed.

    Raises:
        RemoteProtocolError: 413.
    """
    if limit is not None and size > limit:
        raise RemoteProtocolError(
            f"the body is longer than {limit} bytes (limit_body)", status_hint=413
        )


class LengthReader:
    """A body of Content-Length bytes."""

    __slots__ = ("_remaining",)

    def __init__(self, length: int) -> None:
        self._remaining = length

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self._remaining == 0

    @property
    def remaining(self) -> int | None:
        """Bytes still to come."""
        return self._remaining

    def take(self, size: int) -> bool:
        """Count `size` bytes that were read without this object; False when they are too many."""
        if size > self._remaining:
            return False
        self._remaining -= size
        return True

    def read(self, buffer: bytearray, pieces: list[bytes]) -> None:
        """See `BodyReader.read`; never raises."""
        size = min(len(buffer), self._remaining)
        if not size:
            return
        self._remaining -= size
        pieces.append(bytes(buffer) if size == len(buffer) else bytes(memoryview(buffer)[:size]))
        del buffer[:size]


class ChunkedReader:
    """A body in the chunked transfer coding; trailers are checked and dropped.

    Args:
        max_overhead: Most bytes of chunk extensions and of trailers, together.
        max_size: Most bytes of the body; None for no limit.
    """

    __slots__ = (
        "_in_chunk",
        "_in_trailers",
        "_left",
        "_max_size",
        "_overhead",
        "_searched",
        "_size",
        "complete",
    )

    def __init__(self, max_overhead: int, max_size: int | None = None) -> None:
        self.complete = False
        self._overhead = max_overhead
        self._max_size = max_size
        self._size = 0  # bytes of all chunks so far, as they were announced
        self._left = 0  # bytes of the current chunk still to come
        self._in_chunk = False  # its data or the CRLF behind them are still to come
        self._in_trailers = False
        self._searched = 0  # bytes of a line that has no end yet

    @property
    def remaining(self) -> int | None:
        """Unknown until the last chunk: None."""
        return 0 if self.complete else None

    def read(self, buffer: bytearray, pieces: list[bytes]) -> None:
        """See `BodyReader.read`."""
        position = 0
        while not self.complete:
            if self._left:
                piece = bytes(memoryview(buffer)[position : position + self._left])
                if not piece:
                    break
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
            elif self._in_chunk:
                if not _ends_chunk(buffer, position):
                    break
                position += len(_CRLF)
                self._in_chunk = False
            else:
                line, position = self._line(buffer, position)
                if line is None:
                    break
                if self._in_trailers:
                    self._trailer(line)
                else:
                    self._chunk_head(line)
        del buffer[:position]

    def _line(self, buffer: bytearray, start: int) -> tuple[bytes | None, int]:
        """The line at `start` without its CRLF and the position behind it, or None to wait."""
        # What an earlier read has brought of this line is not searched again.
        end = buffer.find(b"\n", start + self._searched)
        length = (end if end >= 0 else len(buffer)) - start
        if length > self._overhead + _BARE_LINE:
            raise RemoteProtocolError(
                "chunk extensions or trailers are too long (limit_chunk_overhead)", status_hint=431
            )
        if end < 0:
            self._searched = length
            return None, start
        self._searched = 0
        if end == start or buffer[end - 1] != 0x0D:
            # RFC 9112 section 2.2 allows a bare LF elsewhere; here it is how requests are smuggled.
            raise RemoteProtocolError("a chunk line ends without CRLF")
        return bytes(memoryview(buffer)[start : end - 1]), end + 1

    def _chunk_head(self, line: bytes) -> None:
        match = _CHUNK_HEAD.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("malformed chunk size or extension")
        self._spend(len(line) - match.end(1))
        self._left = int(match[1], 16)
        self._size += self._left
        check_size(self._size, self._max_size)
        if self._left:
            self._in_chunk = True
        else:
            self._in_trailers = True

    def _trailer(self, line: bytes) -> None:
        # RFC 9110 section 6.5.1: trailers may be discarded, and never merged into the head.
        if not line:
            self.complete = True
            return
        if _TRAILER.fullmatch(line) is None:
            raise RemoteProtocolError("malformed trailer field")
        self._spend(len(line))

    def _spend(self, size: int) -> None:
        self._overhead -= size
        if self._overhead < 0:
            raise RemoteProtocolError(
                "chunk extensions or trailers are too long (limit_chunk_overhead)", status_hint=431
            )


def _ends_chunk(buffer: bytearray, position: int) -> bool:
    """Whether the CRLF behind a chunk is here; anything else is refused at its first byte."""
    got = bytes(memoryview(buffer)[position : position + len(_CRLF)])
    if not _CRLF.startswith(got):
        raise RemoteProtocolError("a chunk is longer than its size says")
    return got == _CRLF
