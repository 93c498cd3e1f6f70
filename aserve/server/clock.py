"""The Date header, made once per second (RFC 9110 section 6.6.1)."""

from __future__ import annotations

from email.utils import formatdate
from time import time

__all__ = ["Clock"]


class Clock:
    """Keeps the current Date line. Loop thread only."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def date_line(self) -> bytes:
        """`Date: …` with its CRLF."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")
        return self._line
