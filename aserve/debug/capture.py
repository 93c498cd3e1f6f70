"""An exception as data: everything that a page shows, and the frames that it can be asked about."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Final, Literal, TypeGuard, TypeVar

from ..advice import advise
from .model import Frame, Problem, Repetition, Value
from .peek import (
    attributes,
    bases_of,
    clean,
    head_of,
    qualified_name,
    type_name,
    vars_of,
)
from .places import frame_of, shown_steps, syntax_frame, variables
from .redact import hide
from .reprs import cut
from .source import Files
from .suggest import suggest
from .templates import django_frame
from .values import describe

__all__ = ["Captured", "capture"]

_MOST_OF_A_MESSAGE: Final = 5000  # characters
_MOST_NOTES: Final = 20
_MOST_EARLIER: Final = 20
_MOST_PROBLEMS: Final = 60  # with all members of groups
_MOST_MEMBERS: Final = 15
_MOST_LEVELS: Final = 5  # of groups in groups
_MOST_VARIABLES: Final = 30  # of a frame, ahead
_MOST_FRAMES_AHEAD: Final = 20


@dataclass(frozen=True, slots=True)
class Captured:
    """An exception as it is shown, and the frames that are shown, alive.

    Args:
        problem: Its `Frame.id` are indexes into `frames`.
        frames: They keep alive everything that they refer to.
    """

    problem: Problem
    frames: tuple[FrameType, ...]


def capture(
    error: BaseException, *, skip: Collection[str] = (), root: str | None = None
) -> Captured:
    """Read everything from an exception, its causes and its members that is to be shown.

    The text of the exception is asked for in this thread, those of variables within a time; see
    `values.describe`. A frame with a true local `__tracebackhide__` is left out.

    Args:
        error: With its traceback.
        skip: Packages and modules by name, e.g. `aserve`, or files: their frames are left out at
            the outer end.
        root: The directory of the project; without it the working directory.

    Thread: the one that caught the exception, for the context variables that reprs read.
    """
    taking = _Taking(skip, Files(root))
    problem = taking.problem(error, 0)
    return Captured(_with_values(problem, taking.values()), tuple(taking.frames))


class _Taking:
    """What has been found so far of one exception."""

    def __init__(self, skip: Collection[str], files: Files) -> None:
        self._skip = skip
        self._files = files
        self._seen: set[int] = set()
        self._problems = 0
        self._ahead: list[tuple[int, list[tuple[str, object]]]] = []
        self.frames: list[FrameType] = []

    def problem(self, error: BaseException, levels: int, earlier: int = 0) -> Problem:
        """An exception without the values of variables; `levels` of groups are around it."""
        self._seen.add(id(error))
        self._problems += 1
        places = self._places(error)
        notes = _notes(error)
        before, relation = _earlier(error)
        told = ""
        if before is not None and id(before) in self._seen:
            before = None
        if before is not None and (earlier >= _MOST_EARLIER or self._problems >= _MOST_PROBLEMS):
            told, before = "… more exceptions came before this one", None
        group, left = self._members(error, levels)
        return Problem(
            type=_full_name(type(error)),
            message=_message(error),
            notes=(*notes, *filter(None, (left, told))),
            suggestion=suggest(error, _innermost(error)),
            advice="" if levels or earlier else hide(clean(advise(error))),
            places=places,
            relation=relation if before is not None else "",
            earlier=None if before is None else self.problem(before, levels, earlier + 1),
            group=group,
        )

    def _places(self, error: BaseException) -> tuple[Frame | Repetition, ...]:
        places: list[Frame | Repetition] = []
        for step in shown_steps(error.__traceback__, self._skip):
            if isinstance(step, Repetition):
                places.append(step)
            elif isinstance(step, int):
                places.append(
                    Frame(id=None, file="", shown_file="", line=0, name=f"… {step:,} more frames")
                )
            else:
                places.append(frame_of(step, len(self.frames), self._files))
                self.frames.append(step.frame)
        self._look_ahead(places)
        extra = django_frame(error, self._files)
        if extra is None and _is_a(error, SyntaxError):
            extra = syntax_frame(error, self._files)
        return (*places, extra) if extra is not None else tuple(places)

    def _look_ahead(self, places: list[Frame | Repetition]) -> None:
        """Note the variables of the innermost frames of the project."""
        for place in reversed(places):
            if len(self._ahead) == _MOST_FRAMES_AHEAD:
                break
            if isinstance(place, Frame) and place.is_user and place.id is not None:
                found = variables(self.frames[place.id], _MOST_VARIABLES)
                self._ahead.append((place.id, found))

    def _members(self, error: BaseException, levels: int) -> tuple[tuple[Problem, ...], str]:
        """The members of a group, and a note on those that were left out."""
        if not _is_a(error, BaseExceptionGroup):
            return (), ""
        shown: list[Problem] = []
        for member in error.exceptions[:_MOST_MEMBERS]:
            if levels >= _MOST_LEVELS or self._problems >= _MOST_PROBLEMS:
                break
            shown.append(self.problem(member, levels + 1))
        left = len(error.exceptions) - len(shown)
        what = "exception" if left == 1 else "exceptions"
        return tuple(shown), f"… {left:,} more {what} of this group" if left else ""

    def values(self) -> dict[int, tuple[Value, ...]]:
        """The values of variables by the ids of frames, all asked for at once."""
        made = iter(describe([each for _, found in self._ahead for each in found]))
        return {number: tuple(next(made) for _ in found) for number, found in self._ahead}


def _with_values(problem: Problem, values: dict[int, tuple[Value, ...]]) -> Problem:
    places = tuple(
        replace(place, values=values[place.id])
        if isinstance(place, Frame) and place.id is not None and place.id in values
        else place
        for place in problem.places
    )
    earlier = None if problem.earlier is None else _with_values(problem.earlier, values)
    group = tuple(_with_values(member, values) for member in problem.group)
    return replace(problem, places=places, earlier=earlier, group=group)


_E = TypeVar("_E", bound=BaseException)


def _is_a(error: BaseException, kind: type[_E]) -> TypeGuard[_E]:
    """`isinstance`, without asking for `__class__`, which may be a property."""
    return issubclass(type(error), kind)


def _innermost(error: BaseException) -> FrameType | None:
    frame, traceback = None, error.__traceback__
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
    return frame


def _earlier(
    error: BaseException,
) -> tuple[BaseException | None, Literal["", "cause", "context"]]:
    if error.__cause__ is not None:
        return error.__cause__, "cause"
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__, "context"
    return None, ""


def _full_name(kind: type) -> str:
    module = next((vars_of(base).get("__module__") for base in bases_of(kind)), None)
    name = qualified_name(kind)
    if type(module) is not str or module in ("builtins", "__main__"):
        return name
    return f"{clean(head_of(module, 200))}.{name}"


def _text(obj: object, most: int) -> str:
    """`str()` of an exception or a note, which can do anything."""
    try:
        return hide(cut(str(obj), most))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever it is, it is no reason to lose the report
        return f"<str raised {type_name(type(error))}>"


def _message(error: BaseException) -> str:
    if _is_a(error, SyntaxError) and type(error.msg) is str:
        return hide(cut(error.msg, _MOST_OF_A_MESSAGE))
    return _text(error, _MOST_OF_A_MESSAGE)


def _notes(error: BaseException) -> Iterator[str]:
    found = dict(attributes(error)).get("__notes__")
    if type(found) is not list and type(found) is not tuple:
        return iter(() if found is None else (_text(found, _MOST_OF_A_MESSAGE),))
    texts = [_text(note, _MOST_OF_A_MESSAGE) for note in found[:_MOST_NOTES]]
    if len(found) > _MOST_NOTES:
        texts.append(f"… {len(found) - _MOST_NOTES:,} more notes")
    return iter(texts)
