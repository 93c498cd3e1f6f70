"""Finding the end of a request's head, and refusing early what will never be one.

`HeadScanner` looks at each byte of a head once, however many reads bring it. Whatever it or
`parse_head` refuses is refused with the same status for any division of the bytes into
reads: the fault that the slowest client would have been told about first is the one that counts.
"""

from __future__ import annotations

import re
from typing import Final

from ..config import Limits
from ..errors import RemoteProtocolError

__all__ = ["END_OF_HEAD", "HeadScanner", "check_start"]

END_OF_HEAD: Final = b"\r\n\r\n"

# What no head may contain (RFC 9110 section 5.5, RFC 9112 section 2.2), looked for before the
# head is complete, so that a client that will never complete it gets its answer at once.
_HOPELESS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
_FIRST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\r\n ]+ HTTP/[0-9]\.[0-9]\r\n")
_TLS_HELLO: Final = b"\x16\x03"


class HeadScanner:
    """Takes heads off the front of a buffer.

    Args:
        limits: Bounds on request line and head.
    """

    __slots__ = ("_limits", "_line", "_searched", "always_fits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._searched = 0  # how far the buffer was searched for the end of the head
        self._line = -1  # where the request line ends, once it was seen and found good
        # A head of at most this size breaks neither limit, whatever its shape.
        self.always_fits = min(limits.limit_request_line, limits.limit_request_head)

    def take(self, buffer: bytearray) -> bytes | None:
        """Remove a head with the empty line that ends it; None while it is incomplete.

        Raises:
            RemoteProtocolError: 414 or 431 when it breaks a limit, 400 when it is hopeless.
        """
        # RFC 9112 section 2.2: a server ignores empty lines in front of the request line.
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
            self._searched = 0
        end = buffer.find(END_OF_HEAD, max(0, self._searched - 3))
        size = len(buffer) if end < 0 else end + 4
        if size > self.always_fits:
            self._check_size(buffer, size)
        if end < 0:
            # One byte further back, so that a CR at the end of the last read is seen again.
            check_start(buffer, max(0, self._searched - 1), with_line=self._line < 0)
            self._line = self._end_of_line(buffer)
            self._searched = len(buffer)
            return None
        self._searched = 0
        self._line = -1
        block = bytes(memoryview(buffer)[:size])
        del buffer[:size]
        return block

    def _check_size(self, buffer: bytearray, size: int) -> None:
        """Refuse a head that breaks a limit; `size` bytes of it are here."""
        longest = self._limits.limit_request_line
        line = self._end_of_line(buffer)
        if line < 0:
            if size >= longest + 2:
                check_start(buffer, 0, longest + 2)
                raise RemoteProtocolError(
                    f"the request line is longer than {longest} bytes (limit_request_line)",
                    status_hint=414,
                )
            return
        longest = self._limits.limit_request_head
        fits = line + longest + len(END_OF_HEAD)
        if size > fits:
            check_start(buffer, 0, fits)
            raise RemoteProtocolError(
                f"the header fields are longer than {longest} bytes (limit_request_head)",
                status_hint=431,
            )

    def _end_of_line(self, buffer: bytearray) -> int:
        """Where the request line ends; -1 while it does not, or when it is too long."""
        if self._line >= 0:
            return self._line
        longest = self._limits.limit_request_line
        return buffer.find(b"\r\n", max(0, self._searched - 1), longest + 2)


def check_start(
    head: bytes | bytearray, start: int = 0, end: int | None = None, *, with_line: bool = True
) -> None:
    """Refuse what can never become a head.

    Args:
        head: The head as far as it is here, perhaps with more behind it.
        start: Where to look for characters that no head may have.
        end: Where to stop looking; None for the end of `head`.
        with_line: The request line was not checked yet; then it does not end before `start`.

    Raises:
        RemoteProtocolError: 400.
    """
    if end is None:
        end = len(head)
    if head.startswith(_TLS_HELLO):
        raise RemoteProtocolError(
            "this is TLS, but plain HTTP is spoken here: open http://, or serve with --https"
        )
    if _HOPELESS.search(head, start, end):
        raise RemoteProtocolError("a bare CR or LF or a control character in the head")
    if with_line and head.find(b"\n", start, end) >= 0 and not _FIRST_LINE.match(head, 0, end):
        raise RemoteProtocolError("malformed request line")
