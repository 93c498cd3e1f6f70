"""The Date header, made once per second (RFC 9110 sections 5.6.7 and 6.6.1)."""

from __future__ import annotations

from time import gmtime, time
from typing import Final

__all__ = ["Clock"]

# By hand: `strftime` follows the locale, and `email.utils` takes 5 ms to import.
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


class Clock:
    """Keeps the current Date line. Any thread: it is replaced as a whole."""

    __slots__ = ("_current",)

    def __init__(self) -> None:
        self._current = (0, b"")

    def date_line(self) -> bytes:
        """`Date: …` with its CRLF."""
        second = int(time())
        of_second, line = self._current
        if second != of_second:
            line = b"Date: %b\r\n" % imf_fixdate(second).encode("ascii")
            self._current = (second, line)
        return line


def imf_fixdate(second: int) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT` for seconds since the epoch."""
    year, month, day, hour, minute, sec, weekday, *_ = gmtime(second)
    return (
        f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{sec:02} GMT"
    )
