"""The loggers of aserve, whose records obey nobody, whichever handler and formatter writes them.

What a client sends ends up in messages and exceptions: escape sequences, marks of the direction of
writing, line feeds behind which something follows that looks like another line of the log. So the
text of a record is made before any formatter sees it: control characters as escapes, and each line
of a message behind its first one indented.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, Final

from .harmless import harmless, harmless_line
from .sealed import hide_known

__all__ = ["get_logger", "log_exception", "traceback_text"]

_INDENT: Final = "    "
_BLANKS: Final = (" ", "\t")
_NAME: Final[Any] = type.__dict__["__name__"]


def get_logger(name: str) -> logging.Logger:
    """The logger `aserve`, or one below it, with safe records."""
    logger = logging.getLogger(name)
    if _SAFE not in logger.filters:
        logger.addFilter(_SAFE)
    return logger


def log_exception(
    logger: logging.Logger,
    message: str,
    error: BaseException,
    change: Callable[[str], str] = lambda text: text,
) -> None:
    """Log an exception.

    Args:
        logger: One of `get_logger`.
        message: What has happened.
        error: With its traceback.
        change: Returns what is to be written in place of a text.
    """
    if not logger.isEnabledFor(logging.ERROR):
        return
    info = (type(error), error, error.__traceback__)
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, change(message), (), info, "log_exception"
    )
    record.exc_text = change(traceback_text(error))
    logger.handle(record)


def traceback_text(error: BaseException) -> str:
    """As Python prints it, but harmless; without a line feed at its end. Never raises."""
    try:
        told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _indent_all(told)
        return harmless("\n".join(_indented(piece.rstrip("\n")) for piece in told.format()))
    except Exception as failure:
        # E.g. a class that was made by code without a `__name__`, and has no `__module__`: the
        # request would go unanswered.
        frames = "".join(traceback.format_tb(error.__traceback__))
        name = _NAME.__get__(type(error))
        return harmless(f"{frames}{name} (it cannot be shown: {type(failure).__name__})")


def _indent_all(told: traceback.TracebackException) -> None:
    """Indent what others have said, in the whole chain."""
    left: list[Any] = [told]
    while left:
        one = left.pop()
        for name, change in _TEXTS:
            if type(text := getattr(one, name, None)) is str:
                setattr(one, name, change(text))
        notes = one.__notes__
        if isinstance(notes, list | tuple):
            one.__notes__ = [_INDENT + _indented(_said(note)) for note in notes]
        for frame in one.stack:
            frame.filename, frame.name = harmless_line(frame.filename), harmless_line(frame.name)
        left += [each for each in (one.__cause__, one.__context__) if each is not None]
        left += one.exceptions or ()


def _said(note: object) -> str:
    try:
        return str(note)
    except Exception:
        return f"<str of {_NAME.__get__(type(note))} failed>"


def _indented(text: str) -> str:
    """The text with its lines behind the first one indented."""
    first, *rest = text.replace("\r\n", "\n").split("\n")
    return "\n".join([first, *(line if line[:1] in _BLANKS else _INDENT + line for line in rest)])


# The second and those behind it are those of a SyntaxError.
_TEXTS: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("_str", _indented), ("msg", _indented), ("text", _indented), ("filename", harmless_line),
)  # fmt: skip


class _Safe(logging.Filter):
    """Makes the text of records; lets all of them pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception:
            return True  # logging itself tells of it
        if (safe := hide_known(harmless(_indented(text)))) != text:
            record.msg, record.args = safe, ()
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = hide_known(traceback_text(record.exc_info[1]))
        return True


_SAFE: Final = _Safe()
