"""Places in templates: Jinja puts them into the traceback, Django beside it."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import Final

from .model import Frame, Mark, SourceLine
from .peek import clean
from .source import Files, printable

__all__ = ["django_frame", "is_jinja", "jinja_lines"]

_LINES_AROUND: Final = 5
_MOST_OF_A_TAG: Final = 100


def is_jinja(frame: FrameType) -> bool:
    """Whether this is a frame that Jinja made for a place in a template."""
    return "__jinja_exception__" in frame.f_globals


def jinja_lines(frame: FrameType) -> Sequence[str]:
    """The source of a template that is in no file, where the exception has it."""
    source = getattr(frame.f_globals["__jinja_exception__"], "source", None)
    return source.splitlines() if type(source) is str else ()


def django_frame(error: BaseException, files: Files) -> Frame | None:
    """The place in a Django template, which Django notes while its templates are debugged."""
    try:
        noted = vars(error).get("template_debug")
        return _django_frame(noted, files) if type(noted) is dict else None
    except Exception:  # it may be of something else with such an attribute
        return None


def _django_frame(noted: dict[str, object], files: Files) -> Frame:
    file, line = str(noted["name"]), int(noted["line"])  # type: ignore[call-overload]
    before, during = str(noted["before"]), str(noted["during"])
    place = files.place(file)
    mark = None
    if during and "\n" not in before + during:
        mark = Mark(line, line, len(before), len(before) + len(during))
    return Frame(
        id=None,
        file=clean(file),
        shown_file=clean(place.shown),
        line=line,
        name=clean(during.strip()[:_MOST_OF_A_TAG]) or "template",
        kind="template",
        is_user=place.is_user,
        source=tuple(
            SourceLine(number, printable(text))
            for number, text in noted["source_lines"]  # type: ignore[attr-defined]
            if abs(number - line) <= _LINES_AROUND
        ),
        mark=mark,
        can_open=place.can_open,
    )
