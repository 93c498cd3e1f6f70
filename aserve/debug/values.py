"""Objects as they are shown: their texts, made within a time, and their parts."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from time import monotonic
from typing import Any, Final

from .. import native
from .model import Value
from .peek import attributes, bases_of, clean, head_of, is_ours, type_name, vars_of
from .redact import HIDDEN, hide, is_hidden
from .reprs import MOST_OF_A_KEY, is_plain, is_secret_key, key_text, text_of

__all__ = ["can_expand", "children", "describe", "look_up"]

BUDGET: Final = 0.5  # seconds for all texts of a call
PATIENCE: Final = 0.2  # seconds for one of them
_TOO_LONG: Final = "<repr takes too long>"
_MOST_HANGING: Final = 8  # threads that were left alone
_NOT_ASKED: Final = "<repr was not asked: too many others hang>"
_MOST_PARTS: Final = 50

_ARGS: Final[Any] = BaseException.__dict__["args"]
_CONTAINERS: Final[tuple[Any, ...]] = (
    dict,
    list,
    tuple,
    deque,
    set,
    frozenset,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)


class _Left:
    """Stands for the parts that were left out."""

    def __init__(self, text: str) -> None:
        self.text = text


def describe(objects: Sequence[tuple[str, object]]) -> tuple[Value, ...]:
    """Show objects, each under a name that tells whether it is hidden.

    Other people's reprs run in a daemon thread, with the caller's context variables. One that
    hangs is left alone there, and the rest goes on in a new thread.

    Args:
        objects: Names, as of `children` or of variables, and what they stand for.

    Returns:
        As many values, after at most `BUDGET` seconds and what builtin types take.

    Thread: any; the caller waits.
    """
    values: list[Value | None] = []
    jobs: list[tuple[str, object]] = []
    for name, obj in objects:
        is_quick = is_plain(obj) or type(obj) is _Left or is_hidden(_bare(name), obj)
        values.append(_value(name, obj) if is_quick else None)
        if not is_quick:
            jobs.append((name, obj))
    later = iter(_in_time(jobs))
    return tuple(value or next(later) for value in values)


def _value(name: str, obj: object) -> Value:
    shown = clean(head_of(name, 2 * MOST_OF_A_KEY))
    kind = type_name(type(obj))
    if type(obj) is _Left:
        return Value(name=shown, type="", text=obj.text)
    if is_hidden(_bare(name), obj):
        return Value(name=shown, type=kind, text=HIDDEN, is_hidden=True)
    return Value(name=shown, type=kind, text=hide(text_of(obj)), can_expand=can_expand(obj))


def _late(job: tuple[str, object], text: str = _TOO_LONG) -> Value:
    name, obj = job
    shown = clean(head_of(name, 2 * MOST_OF_A_KEY))
    return Value(name=shown, type=type_name(type(obj)), text=text, can_expand=can_expand(obj))


def _bare(name: str) -> str:
    """The name without what `children` puts around: `.x`, `['x']` and `[b'x']` are `x`."""
    if name.startswith("."):
        return name[1:]
    return name[1:-1].removeprefix("b").strip("'\"") if name.startswith("[") else name


class _Run:
    """One thread's way through the jobs, until it hangs.

    Args:
        jobs: Names and objects.
    """

    def __init__(self, jobs: Sequence[tuple[str, object]]) -> None:
        self._jobs = jobs
        self._since = monotonic()
        self._is_over = native.threading.Event()
        self._is_left = False
        self.values: list[Value] = []

    def work(self) -> None:
        """Make the values. In the thread of its own."""
        for name, obj in self._jobs:
            if self._is_left:
                return
            self.values.append(_value(name, obj))
            self._since = monotonic()
        self._is_over.set()

    def wait(self, deadline: float) -> list[Value]:
        """The values that were made in time. In the caller's thread."""
        while (left := min(self._since + PATIENCE, deadline) - monotonic()) > 0:
            if self._is_over.wait(left):
                return self.values
        self._is_left = True
        return self.values[:]  # it may still add the one that it is at


_hanging: Final[list[threading.Thread]] = []
_hanging_lock: Final = native.threading.Lock()


def _too_many_hang(more: threading.Thread | None = None) -> bool:
    """Whether no further thread is to be risked; `more` was left alone now."""
    with _hanging_lock:
        alive = [thread for thread in _hanging if thread.is_alive()]
        _hanging[:] = alive if more is None else [*alive, more]
        return len(_hanging) >= _MOST_HANGING


def _in_time(jobs: Sequence[tuple[str, object]]) -> list[Value]:
    """A value for each job; those that took too long say so."""
    deadline = monotonic() + BUDGET
    values: list[Value] = []
    if jobs and _too_many_hang():
        return [_late(job, _NOT_ASKED) for job in jobs]
    while len(values) < len(jobs) and monotonic() < deadline:
        rest = jobs[len(values) :]
        run = _Run(rest)
        work = contextvars.copy_context().run
        thread = native.threading.Thread(
            target=work, args=(run.work,), name="aserve-debug-repr", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter is ending
            break
        made = run.wait(deadline)
        values += made
        if len(made) < len(rest):
            values.append(_late(rest[len(made)]))
            if _too_many_hang(thread):
                break
    return values + [_late(job) for job in jobs[len(values) :]]


def children(obj: object) -> tuple[tuple[str, object], ...]:
    """The parts of an object, one level down, without running its code; never raises.

    Returns:
        Names (`['key']`, `[0]`, `{0}` in what has no order, `.attribute`) and parts: about 50,
        and then a last one that says how many were left out.

    Thread: any.
    """
    for _ in range(3):
        try:
            found = list(islice(_parts(obj), _MOST_PARTS + 1))
        except RuntimeError:  # another thread changed it: once more
            continue
        except Exception:
            return ()
        if len(found) > _MOST_PARTS:
            found[-1] = ("…", _Left(_left_out(obj)))
        return tuple(found)
    return ()


def can_expand(obj: object) -> bool:
    """Whether an object has parts; never raises. Thread: any."""
    if is_plain(obj):
        return False
    try:
        return next(_parts(obj), None) is not None
    except Exception:
        return False


def _left_out(obj: object) -> str:
    builtin = _container(type(obj))
    size: int = builtin.__len__(obj) if builtin else 0
    return f"<{size + sum(1 for _ in _extras(obj)) - _MOST_PARTS:,} more>"


def _container(kind: type) -> Any:
    """The builtin class that a container is of, whose methods nobody has overridden."""
    return next((builtin for builtin in _CONTAINERS if issubclass(kind, builtin)), None)


def _parts(obj: object) -> Iterator[tuple[str, object]]:
    if is_ours(obj):
        return
    yield from _items(obj)
    yield from _extras(obj)


def _items(obj: Any) -> Iterator[tuple[str, object]]:
    kind = type(obj)
    builtin = _container(kind)
    if builtin is None:
        return
    if builtin is dict:
        yield from ((f"[{key_text(key)}]", value) for key, value in dict.items(obj))
        return
    items = builtin.__iter__(obj)
    if builtin is tuple:
        for base in bases_of(kind):
            names = vars_of(base).get("_fields")
            if type(names) is tuple and len(names) == tuple.__len__(obj):
                yield from ((f".{name}", item) for name, item in zip(names, items, strict=True))
                return
        if tuple.__len__(obj) == 2 and is_secret_key(*tuple.__iter__(obj)):
            first, second = tuple.__iter__(obj)
            # A header, or an item of a dict: the second is called as the first says.
            yield from (("[0]", first), (f"[{key_text(first)}]", second))
            return
    is_ordered = builtin is list or builtin is tuple or builtin is deque
    for index, item in enumerate(items):
        yield f"[{index}]" if is_ordered else f"{{{index}}}", item


def _extras(obj: Any) -> Iterator[tuple[str, object]]:
    if issubclass(type(obj), BaseException) and (args := _ARGS.__get__(obj)):
        yield ".args", args
    for name, value in attributes(obj):
        # Names with two underscores are the language's: of modules, classes and functions.
        if not (name.startswith("__") and name.endswith("__")):
            yield f".{head_of(name, MOST_OF_A_KEY)}", value


def look_up(locals_: Mapping[str, object], path: Sequence[str | int]) -> object:
    """Find a part of a part of ... a variable.

    Args:
        locals_: The variables of a frame.
        path: A name, and then indexes into `children`.

    Raises:
        LookupError: There is no such part, or it is hidden, or in something hidden.

    Thread: any.
    """
    if not path or not isinstance(path[0], str):
        raise LookupError("there is no such variable")
    found = locals_[path[0]]
    if is_hidden(path[0], found):
        raise LookupError("this variable is not shown")
    for index in path[1:]:
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise LookupError("a part is called by its index")
        name, found = children(found)[index]
        if type(found) is _Left or is_hidden(_bare(name), found):
            raise LookupError("this part is not shown")
    return found
