"""What an error page shows, as plain data: `capture` makes it, `page` and `text` read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import is_
from typing import Any, Literal, TypeAlias, TypeVar, cast

from ..pages.elements import Mark, SourceLine

__all__ = [
    "Frame",
    "Mark",
    "Problem",
    "Repetition",
    "RequestView",
    "SourceLine",
    "Value",
    "with_texts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An object, as it is shown.

    Args:
        name: Of a variable, an attribute or an item, e.g. `user`, `.name`, `['key']`, `[3]`.
        type: The name of its class.
        text: Its repr, bounded; or in angle brackets why there is none.
        is_hidden: Its name says that it is a secret, so `text` says nothing.
        can_expand: It has parts that can be asked for.
    """

    name: str
    type: str
    text: str
    is_hidden: bool = False
    can_expand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A place that the exception came through.

    Args:
        id: What commands call it: its index in `Captured.frames`; None without a living frame
            (the place of a SyntaxError, or of a Django template).
        file: As the code says, in full.
        shown_file: Short: below the working directory or the place of its installation.
        line: Counted from 1; 0 if it is not known.
        name: Qualified name of the function; for templates, of the block.
        kind: Templates are marked.
        is_user: It belongs to the project, and not to a library.
        source: Lines around the place; empty if there are none.
        mark: What to mark in them; None for the whole line.
        values: Its variables, if they were rendered ahead; None to ask for them.
        can_open: Whether the file is one of the project that an editor can open.
        is_alive: Whether its variables can be asked for.
    """

    id: int | None
    file: str
    shown_file: str
    line: int
    name: str
    kind: Literal["python", "template"] = "python"
    is_user: bool = False
    source: tuple[SourceLine, ...] = ()
    mark: Mark | None = None
    values: tuple[Value, ...] | None = None
    can_open: bool = False
    is_alive: bool = True


@dataclass(frozen=True, slots=True)
class Repetition:
    """The `frames` frames before this come `times` times more."""

    frames: int
    times: int


Place: TypeAlias = Frame | Repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An exception.

    Args:
        type: Its class, with the module unless that is `builtins` or `__main__`.
        message: Its text, bounded; may be empty, may have several lines.
        notes: From `add_note`.
        suggestion: What was probably meant, as a sentence; or empty.
        advice: What to do about it, where the cause is known, with code in backticks; or empty.
        places: The outermost first.
        relation: What `earlier` is: its cause (`raise ... from`), or what was being handled.
        earlier: The exception before; None for the first, and where a circle would begin.
        group: The members of an exception group.
    """

    type: str
    message: str
    notes: tuple[str, ...] = ()
    suggestion: str = ""
    advice: str = ""
    places: tuple[Place, ...] = ()
    relation: Literal["", "cause", "context"] = ""
    earlier: Problem | None = None
    group: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request, with its secrets hidden.

    Args:
        method: E.g. `GET`.
        url: In full, secrets in its query hidden.
        sections: Title ("Headers", "Query", "Cookies", "Form", "Environ") and its values.
    """

    method: str
    url: str
    sections: tuple[tuple[str, tuple[Value, ...]], ...] = ()


_T = TypeVar("_T")


def with_texts(item: _T, change: Callable[[str], str]) -> _T:
    """A copy of what is shown with each of its texts changed; the very same where none was.

    Args:
        item: Anything of this module, or a tuple of it.
        change: Returns what stands in place of a text.
    """
    return cast("_T", _with_texts(item, change))


def _with_texts(item: Any, change: Callable[[str], str]) -> Any:
    if type(item) is str:
        return change(item)
    if type(item) is tuple:
        made = tuple(_with_texts(part, change) for part in item)
        return item if all(map(is_, made, item)) else made
    if not is_dataclass(item):
        return item
    parts = {field.name: getattr(item, field.name) for field in fields(item)}
    changed = {name: _with_texts(part, change) for name, part in parts.items()}
    changed = {name: part for name, part in changed.items() if part is not parts[name]}
    return replace(cast("Any", item), **changed) if changed else item
