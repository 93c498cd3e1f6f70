"""What was probably meant. Python itself looks for that only when it prints an exception."""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterable
from itertools import islice
from types import FrameType
from typing import Final

from .peek import attributes, bases_of, clean, vars_of

__all__ = ["suggest"]

_MOST_CANDIDATES: Final = 750
_MOST_OF_A_NAME: Final = 40  # characters; longer ones take long to compare
_CLOSE: Final = 0.7
_IMPORTED: Final = re.compile(r"cannot import name '([^']+)'")


def suggest(error: BaseException, frame: FrameType | None) -> str:
    """A sentence, or nothing; runs no code of what is looked through.

    Args:
        error: What was raised.
        frame: Where; None if that is not known.

    Thread: any.
    """
    try:
        return _suggest(error, frame)
    except KeyboardInterrupt:
        raise
    except BaseException:  # an attribute of the exception may be anything
        return ""


def _suggest(error: BaseException, frame: FrameType | None) -> str:
    name = getattr(error, "name", None)
    message = error.args[0] if error.args and type(error.args[0]) is str else ""
    if type(name) is not str or "Did you mean" in message:
        return ""
    if isinstance(error, UnboundLocalError):
        return ""
    if isinstance(error, NameError):
        return _for_name(name, frame) if frame is not None else ""
    if isinstance(error, AttributeError):
        return _meant(name, _names_of(error.obj)) if error.obj is not None else ""
    if isinstance(error, ModuleNotFoundError):
        known = {module.partition(".")[0] for module in list(sys.modules)}
        return _meant(name, {*sys.stdlib_module_names, *known}) if "." not in name else ""
    if isinstance(error, ImportError):
        wanted = _IMPORTED.match(message)
        is_circular = "circular import" in message
        if wanted is None or is_circular or (module := sys.modules.get(name)) is None:
            return ""
        return _meant(wanted[1], _names_of(module))
    return ""


def _for_name(name: str, frame: FrameType) -> str:
    here = dict(frame.f_locals)
    if "self" in here and name in _names_of(here["self"]):
        return f"Did you mean 'self.{name}'?"
    if name in sys.stdlib_module_names and not name.startswith("_"):
        return f"Did you forget to import '{name}'?"
    return _meant(name, [*here, *frame.f_globals, *vars(builtins)])


def _names_of(obj: object) -> set[str]:
    """What `dir` finds, without running code of the object."""
    names = {name for name, _ in attributes(obj)}
    for base in bases_of(type(obj)):
        names.update(vars_of(base))
    if issubclass(type(obj), type):
        for base in bases_of(obj):  # type: ignore[arg-type]
            names.update(vars_of(base))
    return names


def _meant(name: str, candidates: Iterable[object]) -> str:
    import difflib

    if len(name) < 2 or len(name) > _MOST_OF_A_NAME:
        return ""
    near = [
        each
        for each in islice(candidates, _MOST_CANDIDATES)
        if type(each) is str
        and each != name
        and abs(len(each) - len(name)) <= max(1, len(name) // 2)
        and (name.startswith("_") or not each.startswith("_"))
    ]
    found = [each for each in near if each.lower() == name.lower()]
    found = found or difflib.get_close_matches(name, near, n=1, cutoff=_CLOSE)
    return f"Did you mean '{clean(found[0])}'?" if found else ""
