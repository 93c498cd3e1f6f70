"""The places of a traceback: which of its frames are shown, and how."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, Final, NamedTuple

from .model import Frame, Mark, Repetition, SourceLine
from .peek import clean, head_of, is_ours
from .source import Files, mark_of, printable
from .templates import is_jinja, jinja_lines

__all__ = ["Step", "frame_of", "shown_steps", "syntax_frame", "variables"]

_LONGEST_PERIOD: Final = 8  # functions that call each other in turn
_ROUNDS_SHOWN: Final = 2
_MOST_STEPS: Final = 400  # of a recursion that does not repeat itself
_OUTER_STEPS: Final = 100
_MACHINERY: Final = ("importlib._bootstrap", "importlib._bootstrap_external", "runpy")
_CODE: Final = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)
_HIDE: Final = ("__tracebackhide__", "__traceback_hide__")


class Step(NamedTuple):
    """An entry of a traceback, as it was when it was read."""

    frame: FrameType
    code: CodeType
    line: int
    last: int


def shown_steps(
    traceback: TracebackType | None, skip: Collection[str]
) -> list[Step | Repetition | int]:
    """What is shown of a traceback; a number stands for so many frames that are too many.

    Args:
        traceback: The outermost frame first.
        skip: Modules and packages by their names, or files: left out at the outer end.
    """
    steps: list[Step] = []
    while traceback is not None:
        frame = traceback.tb_frame
        steps.append(Step(frame, frame.f_code, traceback.tb_lineno or 0, traceback.tb_lasti))
        traceback = traceback.tb_next
    seen = [step for step in _without_outer(steps, skip) if not _is_hidden(step)]
    return _bounded(list(_collapsed(seen or steps)))


def _without_outer(steps: Sequence[Step], skip: Collection[str]) -> Sequence[Step]:
    for index, step in enumerate(steps):
        if not _is_of(step, skip) and not _is_machinery(step):
            return steps[index:]
    return steps  # what is skipped has failed itself


def _is_of(step: Step, skip: Collection[str]) -> bool:
    name = step.frame.f_globals.get("__name__")
    for each in skip:
        package = each.rstrip(".")
        if step.code.co_filename == each or name == package:
            return True
        if type(name) is str and name.startswith(f"{package}."):
            return True
    return False


def _is_machinery(step: Step) -> bool:
    if step.code.co_filename.startswith(("<frozen importlib.", "<frozen runpy")):
        return True
    return step.frame.f_globals.get("__name__") in _MACHINERY


def _is_hidden(step: Step) -> bool:
    """Whether a frame is to be left out: machinery, or it says so by a true local.

    The words that Werkzeug knows ("before", "reset") hide the frame itself, too.
    """
    if _is_machinery(step):
        return True
    for name in _HIDE:
        # Asking the code first: making the dict of the variables takes longer.
        if name in step.code.co_varnames or name in step.code.co_names:
            value = dict(_locals(step.frame)).get(name)
            if type(value) in (bool, int, str) and value:
                return True
    return False


def _collapsed(steps: Sequence[Step]) -> Iterator[Step | Repetition]:
    # The last one is what raised: it is shown, whatever it repeats.
    keys = [(id(step.code), step.line) for step in steps[:-1]]
    at = 0
    while at < len(steps):
        period, rounds = _rounds_at(keys, at)
        if not period:
            yield steps[at]
            at += 1
            continue
        yield from steps[at : at + period * _ROUNDS_SHOWN]
        yield Repetition(period, rounds - _ROUNDS_SHOWN)
        at += period * rounds


def _rounds_at(keys: Sequence[tuple[int, int]], at: int) -> tuple[int, int]:
    """The shortest period from here on that is worth a note, and how many rounds it has."""
    for period in range(1, _LONGEST_PERIOD + 1):
        end = at + period
        while end < len(keys) and keys[end] == keys[end - period]:
            end += 1
        rounds = (end - at) // period
        if rounds > _ROUNDS_SHOWN + 1:
            return period, rounds
    return 0, 0


def _bounded(steps: list[Step | Repetition]) -> list[Step | Repetition | int]:
    if len(steps) <= _MOST_STEPS:
        return [*steps]
    inner = len(steps) - (_MOST_STEPS - _OUTER_STEPS)
    return [*steps[:_OUTER_STEPS], inner - _OUTER_STEPS, *steps[inner:]]


def frame_of(step: Step, number: int, files: Files) -> Frame:
    """A frame as it is shown, without its variables.

    Args:
        step: The place.
        number: Its id.
        files: Of this exception.
    """
    frame, code, line, last = step
    file, module = code.co_filename, frame.f_globals
    place, lines = files.place(file, module), files.lines(file, module)
    is_template = is_jinja(frame)
    if is_template:
        lines = lines or jinja_lines(frame)
    return Frame(
        id=number,
        file=clean(file),
        shown_file=clean(place.shown),
        line=line,
        name=clean(code.co_name if is_template else code.co_qualname),
        kind="template" if is_template else "python",
        is_user=place.is_user or (is_template and file.startswith("<")),
        source=files.around(lines, line),
        mark=None if is_template else mark_of(code, last, lines),
        can_open=place.can_open,
    )


def syntax_frame(error: SyntaxError, files: Files) -> Frame | None:
    """The place that a SyntaxError is about; None if it names none."""
    file, line, text = error.filename, error.lineno, error.text
    if type(line) is not int or line < 1:
        return None
    file = file if type(file) is str else "<string>"
    place, lines = files.place(file), files.lines(file)
    source = files.around(lines, line)
    if type(text) is str and (not source or lines[line - 1].strip() != text.strip()):
        source = (SourceLine(line, printable(text)),)
    return Frame(
        id=None,
        file=clean(file),
        shown_file=clean(place.shown),
        line=line,
        name="",
        is_user=place.is_user,
        source=source,
        mark=_syntax_mark(error, line),
        can_open=place.can_open,
    )


def _syntax_mark(error: SyntaxError, line: int) -> Mark | None:
    """Columns of a SyntaxError are counted from 1, in characters."""
    start, end, end_line = error.offset, error.end_offset, error.end_lineno
    if type(start) is not int or start < 1:
        return None
    if type(end) is not int or type(end_line) is not int or (end_line, end) <= (line, start):
        return Mark(line, line, start - 1, start)
    return Mark(line, end_line, start - 1, end - 1)


def variables(frame: FrameType, most: int | None = None) -> list[tuple[str, object]]:
    """The variables of a frame that are worth a look, in the order to show them.

    There are none of this package's frames. Names of the language (`__file__`) are left out; so are
    modules and functions at the level of a module, and elsewhere they come last.

    Args:
        frame: Running or done.
        most: How many; None for all.

    Thread: any.
    """
    if is_ours(frame):
        return []
    data: list[tuple[str, object]] = []
    code: list[tuple[str, object]] = []
    for name, value in _locals(frame):
        if type(name) is str and not name.startswith((".", "__")):
            (code if _is_code(value) else data).append((head_of(name, 200), value))
    if frame.f_locals is not frame.f_globals:
        data += code
    return data if most is None else data[:most]


def _is_code(value: object) -> bool:
    return issubclass(type(value), _CODE)


def _locals(frame: FrameType) -> Iterable[tuple[str, Any]]:
    """The items of `f_locals`, which can be any mapping where code was given one by `exec`."""
    found: Mapping[str, Any] = frame.f_locals
    if issubclass(type(found), dict):
        return list(dict.items(found))  # type: ignore[arg-type]
    if type(found) is MappingProxyType or type(found).__name__ == "FrameLocalsProxy":
        return list(found.items())
    return ()
