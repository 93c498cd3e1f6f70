"""What a person sees in the shell: the banner, the access lines, the log, the colours.

Everything goes to one stream, standard error unless told otherwise; standard output belongs
to the app. `Console` serves one server: `on_ready` prints the banner one time, `on_exchange`
one line per request. Both are called on the loop thread and take microseconds. The stream is
written there: whoever stops reading it (a full pipe, a terminal held with Ctrl-S) holds the
server up, as with any program that logs to its terminal.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Final, TextIO

from ..config import LOG_LEVELS, ServerConfig
from ..events import ExchangeRecord
from .access import AccessLines, access_line
from .banner import About, Places, ReadyServer, paint, plain_banner, wide_banner
from .logs import ACCESS, configure_logging, is_ours_alone, is_terminal, wants_colour

__all__ = ["About", "Console", "access_line", "configure_logging", "wants_colour"]

# How TLS begins (RFC 8446 section 5.1). On a plain port it is no request, and nothing that anybody
# can read; the line about its refusal has said all there is to say (B66).
_TLS: Final = b"\x16\x03"
# What the scripts of the debugger's and the reloader's pages ask for, again and again.
_OWN_PATHS: Final = frozenset((b"/.aserve/debug/command", b"/.aserve/changed"))


class Console:
    """Banner and access lines of one server.

    Args:
        config: Says whether there is an access log, and from which level on to print.
        about: What is served; `run(app)` may leave it away.
        stream: Where to print; standard error when None. Stays the caller's to close.
    """

    def __init__(
        self, config: ServerConfig, about: About | None = None, *, stream: TextIO | None = None
    ) -> None:
        self._config = config
        self._about = about or About()
        self._started_at = self._about.started_at or time.perf_counter()
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self._is_terminal = self._stream is not None and is_terminal(self._stream)
        self._colour = self._stream is not None and wants_colour(self._stream)
        self._lines = AccessLines(self._colour)
        self._has_access_log = config.access_log
        self._has_banner = LOG_LEVELS.index(config.log_level) <= LOG_LEVELS.index("info")
        self._is_ready = False
        self._waiting: list[str] = []
        # Standard error flushes each line by itself; a second flush would cost 10 % of a line.
        self._must_flush = not getattr(self._stream, "line_buffering", False)

    def on_ready(self, server: ReadyServer) -> None:
        """Print the banner, one time; for `run(..., on_ready=...)`."""
        if self._is_ready or not self._has_banner:
            return
        self._is_ready = True
        elapsed = (time.perf_counter() - self._started_at) * 1000
        places = Places.of(server)
        if self._is_terminal:
            text = wide_banner(self._config, self._about, places, elapsed)
            if self._colour:
                text = paint(text)
        else:
            text = plain_banner(self._about, places, elapsed)
        self._write(text)

    def on_exchange(self, record: ExchangeRecord) -> None:
        """Log one access line; for `run(..., on_exchange=...)`.

        While nothing but our own handler listens, the line is formatted at once (3 us instead of
        15 us through a `LogRecord`), and written together with the others of the same turn of
        the loop: each write lets the threads fight for the interpreter's lock.
        """
        if not self._has_access_log or record.raw_head.startswith(_TLS):
            return
        request = record.request
        if request is not None and request.path in _OWN_PATHS and record.status_code != 403:
            return  # a page asks each second whether the app was loaded anew
        if is_ours_alone(self._stream):
            if ACCESS.isEnabledFor(logging.INFO):
                self._write_soon(self._lines.format(record) + "\n")
        elif ACCESS.isEnabledFor(logging.INFO):
            line = access_line(record, colour=False)
            ACCESS.info("%s", line, extra={"exchange": record})

    def _write_soon(self, line: str) -> None:
        self._waiting.append(line)
        if len(self._waiting) > 1:
            return
        try:
            asyncio.get_running_loop().call_soon(self._write_waiting)
        except RuntimeError:  # called by hand
            self._write_waiting()

    def _write_waiting(self) -> None:
        text = "".join(self._waiting)
        self._waiting.clear()
        self._write(text)

    def _write(self, text: str) -> None:
        stream = self._stream
        if stream is None:
            return
        try:
            stream.write(text)
            if self._must_flush:
                stream.flush()
        except UnicodeEncodeError:
            for line in text.splitlines(keepends=True):
                try:
                    stream.write(line)
                except UnicodeEncodeError:
                    stream.write(line.encode("ascii", "backslashreplace").decode("ascii"))
        except (OSError, ValueError):
            # The terminal is gone or the stream was closed: the server outlives it.
            self._stream = None
