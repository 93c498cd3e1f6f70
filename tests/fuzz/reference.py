"""The chunked coding once more, slow and obvious, to compare `ChunkedReader` with.

It sees all bytes at once, walks through them one by one, and is written after the grammar of RFC
9112 section 7.1, without a regular expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Decoded", "decode"]

_HEX: Final = b"0123456789abcdefABCDEF"
_TCHAR: Final = b"!#$%&'*+-.^_`|~" + b"0123456789" + bytes(range(65, 91)) + bytes(range(97, 123))
_BLANK: Final = b" \t"
# RFC 9110 section 5.5: what a field value or a quoted string may hold, obs-text included.
_TEXT: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_MOST_DIGITS: Final = 16


@dataclass(frozen=True)
class Decoded:
    """What becomes of a body.

    Args:
        data: The decoded bytes.
        left: The bytes behind its end; None when it has none.
        status: Of the refusal; None when there is no fault in what is here.
    """

    data: bytes
    left: bytes | None = None
    status: int | None = None


class _Refused(Exception):
    """Carries the status."""


class _Incomplete(Exception):
    """More bytes are needed."""


class _Walk:
    """A place in the bytes, and what may still be spent on extensions and trailers."""

    def __init__(self, data: bytes, overhead: int) -> None:
        self.data = data
        self.place = 0
        self.overhead = overhead

    def line(self) -> bytes:
        """The next line without its CRLF."""
        line = b""
        while self.place < len(self.data):
            byte = self.data[self.place : self.place + 1]
            self.place += 1
            if byte == b"\n":
                if not line.endswith(b"\r"):
                    raise _Refused(400)
                return line[:-1]
            line += byte
            if len(line) > self.overhead + _MOST_DIGITS + 1:
                raise _Refused(431)
        raise _Incomplete

    def exactly(self, expected: bytes) -> None:
        """Pass these bytes and no others."""
        for number in expected:
            if self.place == len(self.data):
                raise _Incomplete
            if self.data[self.place] != number:
                raise _Refused(400)
            self.place += 1

    def spend(self, size: int) -> None:
        """Count bytes that are neither data nor the size of data."""
        self.overhead -= size
        if self.overhead < 0:
            raise _Refused(431)


def decode(data: bytes, overhead: int) -> Decoded:
    """Decode what is here of a body.

    Args:
        data: The body, perhaps with more behind it.
        overhead: Most bytes of extensions and trailers, together.
    """
    walk = _Walk(data, overhead)
    body = b""
    try:
        while size := _size(walk):
            body += data[walk.place : walk.place + size]
            walk.place += size
            if walk.place > len(data):
                raise _Incomplete
            walk.exactly(b"\r\n")
        while line := walk.line():
            _check_trailer(line)
            walk.spend(len(line))
    except _Refused as refusal:
        return Decoded(body, status=refusal.args[0])
    except _Incomplete:
        return Decoded(body)
    return Decoded(body, left=data[walk.place :])


def _size(walk: _Walk) -> int:
    """The size in front of a chunk; 0 for the last chunk."""
    line = walk.line()
    digits = _while(_HEX, line)
    rest = line[len(digits) :]
    if not 1 <= len(digits) <= _MOST_DIGITS:
        raise _Refused(400)
    after = rest
    while after:
        after = _extension(after)
    walk.spend(len(rest))
    return int(digits, 16)


def _extension(text: bytes) -> bytes:
    """Pass `BWS ; BWS name [BWS = BWS value]`; what is behind it."""
    text = text.lstrip(_BLANK)
    if not text.startswith(b";"):
        raise _Refused(400)
    text = _token(text[1:].lstrip(_BLANK))
    value = text.lstrip(_BLANK)
    if not value.startswith(b"="):
        return text
    value = value[1:].lstrip(_BLANK)
    return _quoted(value) if value.startswith(b'"') else _token(value)


def _token(text: bytes) -> bytes:
    name = _while(_TCHAR, text)
    if not name:
        raise _Refused(400)
    return text[len(name) :]


def _quoted(text: bytes) -> bytes:
    place = 1
    while text[place : place + 1] != b'"':
        if text[place : place + 1] == b"\\":
            place += 1
        if place >= len(text) or text[place] not in _TEXT:
            raise _Refused(400)
        place += 1
    return text[place + 1 :]


def _check_trailer(line: bytes) -> None:
    value = _token(line)
    if not value.startswith(b":") or any(byte not in _TEXT for byte in value):
        raise _Refused(400)


def _while(allowed: bytes, text: bytes) -> bytes:
    size = 0
    while size < len(text) and text[size] in allowed:
        size += 1
    return text[:size]
