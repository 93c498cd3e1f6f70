"""The access line: one line about a finished exchange; a pure function of its record."""

from __future__ import annotations

import re
import time
from typing import Final
from urllib.parse import unquote_to_bytes

from ..events import ExchangeRecord
from ..sealed import hide_known

__all__ = ["AccessLines", "access_line"]

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
# By the first digit of the status; success stays in the terminal's own colour, so that what
# differs stands out. 0 is a client that left before the answer.
_STATUS_COLOURS: Final = {0: _DIM, 1: _DIM, 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[1;31m"}

# What could move the cursor, forge a line or hide text: C0, DEL, C1, line and paragraph
# separators, the marks that turn the direction of writing, lone surrogates. And the backslash,
# or else a real one could not be told from an escape.
_UNSAFE: Final = (
    "[\x00-\x1f\x7f-\x9f\\\\\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# No more of an unparsable request than fills a line or two.
_RAW_SHOWN: Final = 120
# A development session asks for a few dozen targets; 512 of them are some 100 KiB.
_CACHE_SIZE: Final = 512


def _escape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        code = ord(match[0])
        if match[0] == "\\":
            return "\\\\"
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return re.sub(_UNSAFE, replace, text)


def _readable_target(target: bytes) -> str:
    """The IRI of a target: percent-encoded UTF-8 is decoded for the reader.

    What is no UTF-8 after decoding stays as `\\xNN`. Blanks, quotes and percent signs stay
    encoded: with them a line could not be split any more.
    """
    if b"%" in target:
        kept = re.sub(rb"%(?=2[025]|22)", b"%25", target)
        target = unquote_to_bytes(kept)
    text = target.decode("utf-8", "surrogateescape")
    # surrogateescape keeps a bad byte as U+DC80 + byte; show the byte itself.
    escaped = _escape(text)
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", escaped).replace('"', "%22")


def _request_text(record: ExchangeRecord) -> str:
    request = record.request
    if request is None:
        head = record.raw_head
        line = head.split(b"\n", 1)[0].rstrip(b"\r")[:_RAW_SHOWN]
        text = _escape(line.decode("ascii", "surrogateescape"))
        return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", text).replace('"', "\\x22") or "-"
    target = hide_known(_readable_target(request.target))
    return f"{_escape(request.method)} {target} HTTP/{request.http_version}"


class AccessLines:
    """Formats access lines; remembers what two lines have in common."""

    __slots__ = ("_colour", "_requests", "_second", "_time")

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._requests: dict[tuple[str, bytes, str], str] = {}
        self._second = -1
        self._time = ""

    def format(self, record: ExchangeRecord) -> str:
        request = record.request
        if request is None:
            text = _request_text(record)
        else:
            key = (request.method, request.target, request.http_version)
            known = self._requests.get(key)
            if known is None:
                if len(self._requests) >= _CACHE_SIZE:
                    self._requests.clear()
                known = self._requests[key] = _request_text(record)
            text = known
        second = int(record.started_at)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        status = record.status_code
        tail = f"{record.body_sent} {record.duration * 1000.0:.1f}ms"
        if not record.complete:
            tail += " (client left)" if record.client_left else " (cut)"
        told = f'"{text}" {status or "-"}'
        if self._colour and (colour := _STATUS_COLOURS.get(status // 100)):
            told = f"{colour}{told}{_RESET}"
        return f"{record.client} [{self._time}] {told} {tail}"


def access_line(record: ExchangeRecord, *, colour: bool = False) -> str:
    """One line about a finished exchange, without the line's end.

    Client, local time at which the head was complete, `"METHOD IRI VERSION"`, status (`-` when
    there was no answer), bytes of the body, milliseconds.

    Args:
        record: What happened. If the request could not be parsed, its first line is shown raw.
        colour: Colour request and status by the class of the status.
    """
    return AccessLines(colour).format(record)
