"""Text that came from elsewhere, as it may be shown on a terminal or written into a log."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["harmless", "harmless_line", "same_length"]

# What could move the cursor, forge a line or turn the direction of writing: C0, DEL, C1, line and
# paragraph separators, the marks of direction, the invisible mark of byte order, what is no
# character, and lone surrogates, which cannot be written. The one list of them in this package.
_REST: Final = (
    "\x7f-\x9f\u061c\u200e\u200f\u2028\u2029"
    "\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"
)
_IN_TEXT: Final = re.compile(f"[\x00-\x08\x0b-\x1f{_REST}]")
_IN_LINE: Final = re.compile(f"[\x00-\x1f{_REST}]")


def harmless(text: str) -> str:
    """The text with escapes like `\\x1b` for what a terminal would obey; its lines stay lines."""
    return _IN_TEXT.sub(_escape, text)


def harmless_line(text: str) -> str:
    """The same as one line: line feeds and tabs are escaped, too."""
    return _IN_LINE.sub(_escape, text)


def same_length(text: str) -> str:
    """The same with one sign for each, so that columns stay what they are."""
    return _IN_TEXT.sub("\ufffd", text)


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
