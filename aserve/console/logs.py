"""The loggers of aserve, their one handler, and the question of colour.

One rule (B115): if the loggers `aserve.access` or `aserve.error` have any other handler in
their chain, it gets the records and ours prints none; else ours does. The rule is looked up at
each record, so an app may configure logging at any time.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, Final, TextIO

from ..harmless import harmless
from ..safe_log import get_logger

__all__ = [
    "ACCESS",
    "OwnHandler",
    "configure_logging",
    "is_ours_alone",
    "is_terminal",
    "wants_colour",
]

_PACKAGE: Final = get_logger("aserve")
ACCESS: Final = logging.getLogger("aserve.access")
_ERROR: Final = get_logger("aserve.error")

_RESET: Final = "\x1b[0m"
_NAME: Final[Any] = type.__dict__["__name__"]
_LEVEL_COLOURS: Final = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}


def wants_colour(stream: TextIO, environment: Mapping[str, str] | None = None) -> bool:
    """Whether to colour what is written to this stream.

    `NO_COLOR` beats `FORCE_COLOR`, and both beat `TERM=dumb` and the test for a terminal; the
    order is CPython's own. An empty value counts as absent (no-color.org).
    """
    environment = os.environ if environment is None else environment
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return environment["FORCE_COLOR"] != "0"
    if environment.get("TERM") == "dumb":
        return False
    return is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


class _Formatter(logging.Formatter):
    """Access lines as they are; others with time and level, and nothing that a terminal obeys."""

    def __init__(self, colour: bool) -> None:
        super().__init__("%(message)s")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.name == ACCESS.name:
            return text
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = record.levelname
        if self._colour and level in _LEVEL_COLOURS:
            level = f"{_LEVEL_COLOURS[level]}{level}{_RESET}"
        return f"[{stamp}] {level} {harmless(text)}"

    def formatException(self, ei: Any) -> str:
        """As usual, also for what cannot be shown."""
        try:
            return super().formatException(ei)
        except Exception as failure:
            # E.g. a class that was made by code without a `__name__`, and has no `__module__`:
            # the request would go unanswered.
            name = _NAME.__get__(type(ei[1]))
            frames = "".join(traceback.format_tb(ei[2]))
            return f"{frames}{name} (it cannot be shown: {type(failure).__name__})"


class OwnHandler(logging.StreamHandler[TextIO]):
    """Our handler: silent as soon as the app has a handler of its own for the record."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.colour = wants_colour(stream)
        self.setFormatter(_Formatter(self.colour))

    def emit(self, record: logging.LogRecord) -> None:
        if not _has_other_handler(logging.getLogger(record.name)):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Swallow a closed stream; the server outlives its terminal."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


def _has_other_handler(logger: logging.Logger) -> bool:
    """Whether a handler that is not ours would get this logger's records."""
    current: logging.Logger | None = logger
    while current is not None:
        for handler in current.handlers:
            if not isinstance(handler, OwnHandler | logging.NullHandler):
                return True
        current = current.parent if current.propagate else None
    return False


_levels_set: set[int] = set()


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Make the loggers of aserve print, unless the app's own handlers do.

    Called by the command line and by `run`, after the app was imported; never by `serve`. A
    second call replaces level and stream. A level that the app itself has set on the
    logger `aserve` is kept.

    Args:
        level: One of `debug`, `info`, `warning`, `error`, `critical`.
        stream: Where to print; standard error when None. Stays the caller's to close.
    """
    for handler in list(_PACKAGE.handlers):
        if isinstance(handler, OwnHandler):
            _PACKAGE.removeHandler(handler)
    _PACKAGE.addHandler(OwnHandler(sys.stderr if stream is None else stream))
    if _PACKAGE.level == logging.NOTSET or _PACKAGE.level in _levels_set:
        number = getattr(logging, level.upper())
        _levels_set.add(number)
        _PACKAGE.setLevel(number)
    for logger in (_PACKAGE, ACCESS, _ERROR):
        # `logging.config` switches off, by default, loggers that it does not name; nobody means
        # the server's errors by that. Options switch them off on purpose.
        logger.disabled = False


def is_ours_alone(stream: TextIO | None) -> bool:
    """Whether an access line reaches our handler on this stream and nothing else.

    Costs 0.4 us. Other handlers, filters and streams want a `LogRecord`.
    """
    if ACCESS.handlers or ACCESS.filters or len(_PACKAGE.handlers) != 1:
        return False
    if not ACCESS.propagate or (_PACKAGE.propagate and logging.root.handlers):
        return False
    handler = _PACKAGE.handlers[0]
    return type(handler) is OwnHandler and not handler.filters and handler.stream is stream
