"""What a name at the end of a line may go on as, found without running code where possible."""

from __future__ import annotations

import inspect
import keyword
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

__all__ = ["complete"]

_MOST: Final = 100
_MOST_KEYS: Final = 10_000
# Nobody types longer names, and the search below is quadratic.
_TAIL: Final = 500

_PATH: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_WORD: Final = re.compile(rf"(?:(?P<path>{_PATH})\.)?(?P<word>\w*)\Z")
_KEY: Final = re.compile(rf"(?<![\w.])(?P<path>{_PATH})\[\s*(?P<key>(?P<quote>['\"])[^'\"\\]*)\Z")


def complete(text: str, scopes: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Find what the word at the end of `text` may be: a name, an attribute, a key of a dict.

    No property and no `__getattr__` is run; the `__dir__` of what stands before the last dot is.

    Args:
        text: What was typed, up to the cursor.
        scopes: Where names are looked up, the innermost first; builtins last.

    Returns:
        At most 100 completions, and where in `text` the word starts that each of them replaces:
        behind the last dot, or at the quote of a key. None for what is not understood.

    Raises:
        Exception: Whatever a `__dir__` raises.
    """
    before = max(0, len(text) - _TAIL)
    tail = text[before:]
    if (match := _KEY.search(tail)) is not None:
        found = _keys(_resolve(match["path"], scopes), match["key"], match["quote"])
        return found, before + match.start("key")
    match = _WORD.search(tail)
    assert match is not None  # it matches the empty word
    start, word = match.start("word"), match["word"]
    if tail[: match.start()].endswith(".") or word[:1].isdigit():
        return [], before + start  # an attribute of more than a name, or a number
    if match["path"] is None:
        names = [*keyword.kwlist, *(name for scope in scopes for name in tuple(scope))]
    else:
        names = _attributes(_resolve(match["path"], scopes))
    return _matching(names, word), before + start


def _matching(names: Iterable[object], word: str) -> list[str]:
    """Those that begin so; underscored ones if they are asked for."""
    return sorted(
        {
            name
            for name in names
            if isinstance(name, str)
            and name.startswith(word)
            and (word.startswith("_") or not name.startswith("_"))
        }
    )[:_MOST]


_NOTHING: Final = object()


def _attributes(value: object) -> list[str]:
    return [] if value is _NOTHING else dir(value)


def _keys(value: object, typed: str, quote: str) -> list[str]:
    """Keys as they are written behind the bracket; those that need no escape."""
    if not issubclass(type(value), dict):
        return []
    assert isinstance(value, dict)
    simple = (
        f"{quote}{key}{quote}]"
        for key in islice(list(dict.keys(value)), _MOST_KEYS)
        if type(key) is str and repr(key) == f"'{key}'" and '"' not in key
    )
    return sorted(key for key in simple if key.startswith(typed))[:_MOST]


def _resolve(path: str, scopes: Sequence[Mapping[str, Any]]) -> object:
    """The object of a dotted name; `_NOTHING` if code would have to run for it."""
    first, *rest = path.split(".")
    value: object = next((scope[first] for scope in scopes if first in scope), _NOTHING)
    for name in rest:
        if value is _NOTHING:
            break
        value = _attribute(value, name)
    return value


_PLAIN_DESCRIPTORS: Final = (types.MemberDescriptorType, types.GetSetDescriptorType)
_FUNCTIONS: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)


def _attribute(value: object, name: str) -> object:
    try:
        raw = inspect.getattr_static(value, name)
    except AttributeError:
        return _NOTHING
    if isinstance(raw, (staticmethod, classmethod)):
        return raw.__func__
    if isinstance(raw, _FUNCTIONS) or not hasattr(type(raw), "__get__"):
        return raw
    if isinstance(value, types.ModuleType) or name in _own(value):
        return raw  # a descriptor is one only in a class
    if isinstance(raw, _PLAIN_DESCRIPTORS) and not isinstance(value, type):
        try:
            return raw.__get__(value, type(value))  # a slot
        except AttributeError:
            return _NOTHING  # an empty one
    return _NOTHING


def _own(value: object) -> Mapping[str, object]:
    """The attributes of an instance itself; nothing for a class."""
    if isinstance(value, type):
        return {}
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return own if type(own) is dict else {}
