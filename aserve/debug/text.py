"""A problem as plain text, as Python prints it, and as Markdown for an issue; without variables."""

from __future__ import annotations

import platform
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from .model import Frame, Problem, Repetition, RequestView

__all__ = ["markdown", "plain"]

_TITLE: Final = "Traceback (most recent call last):"
_RELATIONS: Final = {
    "cause": "The above exception was the direct cause of the following exception:",
    "context": "During handling of the above exception, another exception occurred:",
}
_MOST_OF_A_TITLE: Final = 200  # characters
# Modules and distributions whose versions matter to whoever reads a report.
_DISTRIBUTIONS: Final = {
    "flask": "Flask",
    "django": "Django",
    "werkzeug": "Werkzeug",
    "jinja2": "Jinja2",
}

_Places = Callable[[Sequence[Frame | Repetition]], Iterator[str]]


def plain(problem: Problem) -> str:
    """The problem as Python prints one: what came first is first. Ends with a line feed.

    Thread: any.
    """
    return "\n".join(_chain(problem, _all_places, is_boxed=False)) + "\n"


def markdown(problem: Problem, request: RequestView | None = None) -> str:
    """The problem as a report in Markdown, to paste into an issue or a chat.

    Args:
        problem: Its frames of libraries are told by their number only.
        request: In which it occurred.

    Thread: any. The versions of packages are read from the disk.
    """
    text = "\n".join(_chain(problem, _folded_places, is_boxed=False))
    fence = "`" * max(3, 1 + _longest_ticks(text))
    lines = [f"# {_as_code(_summary(problem))}", ""]
    if request is not None:
        lines += [_as_code(f"{request.method} {request.url}"), ""]
    lines += [f"{fence}text", text, fence, ""]
    lines += [f"- {name} {version}" for name, version in _versions()]
    return "\n".join(lines) + "\n"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _as_code(text: str) -> str:
    """A code span, which begins and ends with more ticks than are in it."""
    ticks = "`" * (1 + _longest_ticks(text))
    space = " " if "`" in text else ""
    return f"{ticks}{space}{' '.join(text.split())}{space}{ticks}"


def _versions() -> Iterator[tuple[str, str]]:
    import importlib.metadata  # slow to load, and seldom needed

    yield platform.python_implementation().replace("CPython", "Python"), platform.python_version()
    for module, distribution in _DISTRIBUTIONS.items():
        if module in sys.modules:
            try:
                yield distribution, importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:  # a checkout on the path
                continue


def _summary(problem: Problem) -> str:
    first = problem.message.strip().partition("\n")[0]
    title = f"{problem.type}: {first}" if first else problem.type
    return title if len(title) <= _MOST_OF_A_TITLE else f"{title[:_MOST_OF_A_TITLE]}…"


def _chain(problem: Problem, places: _Places, *, is_boxed: bool) -> Iterator[str]:
    """Lines of a problem after those before it; in a group, with a bar at the left."""
    chain = [problem]
    while (earlier := chain[-1].earlier) is not None:
        chain.append(earlier)
    margin = "  | " if is_boxed else ""
    for index in range(len(chain) - 1, -1, -1):
        one = chain[index]
        if one.group:
            yield from _tree(one, places)
        else:
            yield from (f"{margin}{line}".rstrip() for line in _single(one, places, _TITLE))
        if index:
            for line in ("", _RELATIONS.get(chain[index - 1].relation, ""), ""):
                yield f"{margin}{line}".rstrip()


def _tree(problem: Problem, places: _Places) -> Iterator[str]:
    """Lines of a group and its members."""
    title, *lines = _single(problem, places, f"Exception Group {_TITLE}")
    yield f"  + {title}" if problem.places else f"  | {title}"
    yield from (f"  | {line}".rstrip() for line in lines)
    for number, member in enumerate(problem.group, 1):
        corner = "  +-+-" if number == 1 else "    +-"
        yield f"{corner}--------------- {number} ----------------"
        yield from (f"  {line}" for line in _chain(member, places, is_boxed=True))
    yield "    +------------------------------------"


def _single(problem: Problem, places: _Places, title: str) -> Iterator[str]:
    if problem.places:
        yield title
        yield from places(problem.places)
    yield from _with_suggestion(problem).split("\n")
    for note in problem.notes:
        yield from note.split("\n")
    if problem.advice:
        yield problem.advice


def _with_suggestion(problem: Problem) -> str:
    text = f"{problem.type}: {problem.message}" if problem.message else problem.type
    if not problem.suggestion:
        return text
    end = "" if text.endswith((".", "?", "!")) else "."
    return f"{text}{end} {problem.suggestion}"


def _all_places(places: Sequence[Frame | Repetition]) -> Iterator[str]:
    for place in places:
        yield from (
            _repetition(place) if isinstance(place, Repetition) else _frame(place, place.file)
        )


def _folded_places(places: Sequence[Frame | Repetition]) -> Iterator[str]:
    """Places with short names; of libraries, the one that raised only."""
    frames = [place for place in places if isinstance(place, Frame)]
    has_user = any(frame.is_user for frame in frames)
    folded = 0
    for index, place in enumerate(places):
        is_last = index == len(places) - 1
        if has_user and not is_last and _is_library(place, places[:index]):
            folded += place.frames * place.times if isinstance(place, Repetition) else 1
            continue
        yield from _fold(folded)
        folded = 0
        if isinstance(place, Repetition):
            yield from _repetition(place)
        else:
            yield from _frame(place, place.shown_file)
    yield from _fold(folded)


def _is_library(place: Frame | Repetition, before: Sequence[Frame | Repetition]) -> bool:
    if isinstance(place, Frame):
        return not place.is_user and place.id is not None
    repeated = before[-place.frames :]
    return all(isinstance(each, Frame) and not each.is_user for each in repeated)


def _fold(count: int) -> Iterator[str]:
    if count:
        yield f"  ... {count:,} frame{'s' if count > 1 else ''} of libraries ..."


def _repetition(place: Repetition) -> Iterator[str]:
    what = "line" if place.frames == 1 else f"{place.frames} frames"
    times = "time" if place.times == 1 else "times"
    yield f"  [Previous {what} repeated {place.times} more {times}]"


def _frame(frame: Frame, file: str) -> Iterator[str]:
    if not frame.file:  # stands for frames that were too many
        yield f"  {frame.name}"
        return
    where = f'  File "{file}", line {frame.line}'
    yield f"{where}, in {frame.name}" if frame.name else where
    line = next((line.text for line in frame.source if line.number == frame.line), "")
    if not line.strip():
        return
    yield f"    {line.strip()}"
    if frame.mark is not None and frame.mark.line <= frame.line <= frame.mark.end_line:
        yield from _carets(frame, line)


def _carets(frame: Frame, line: str) -> Iterator[str]:
    mark = frame.mark
    assert mark is not None
    indent = len(line) - len(line.lstrip())
    start = mark.column if mark.line == frame.line else indent
    end = mark.end_column if mark.end_line == frame.line else len(line.rstrip())
    start, end = max(start, indent), max(end, indent)
    if start < end:
        before = _width(line[indent:start]) + max(0, start - max(len(line), indent))
        yield f"    {' ' * before}{'^' * max(1, _width(line[start:end]))}"


def _width(text: str) -> int:
    """How many columns a terminal takes for this."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
