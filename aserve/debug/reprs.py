"""The text of one object, bounded; the reprs of other people's classes run in it."""

from __future__ import annotations

import array
import dataclasses
from collections import deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import FunctionType, SimpleNamespace
from typing import Any, Final, NamedTuple

from .peek import (
    attributes,
    bases_of,
    clean,
    head_of,
    is_ours,
    type_name,
    vars_of,
)
from .redact import HIDDEN, is_hidden

__all__ = ["MOST_OF_A_KEY", "cut", "is_plain", "is_secret_key", "key_text", "text_of"]

_MOST_OF_A_TEXT: Final = 300  # characters of a value
_LEAST_OF_A_LEAF: Final = 20  # characters of an item when there is hardly room
_MOST_OF_AN_ERROR: Final = 120
MOST_OF_A_KEY: Final = 100
_MOST_ITEMS: Final = 50
_MOST_LEVELS: Final = 5
_MOST_BITS: Final = 1000

# Classes are told by their id: a metaclass can define what a dict asks for, `__hash__`.
_PLAIN: Final = frozenset(
    map(id, (str, bytes, bytearray, int, float, complex, bool, type(None), type(...)))
)


class _Sequence(NamedTuple):
    """How a builtin container is traversed, past what a subclass defines."""

    count: Callable[[Any], int]
    items: Callable[[Any], Iterator[object]]
    start: str
    end: str


def _sequence(kind: Any, start: str, end: str) -> tuple[int, _Sequence]:
    return id(kind.__repr__), _Sequence(kind.__len__, kind.__iter__, start, end)


_SEQUENCES: Final = dict(
    (
        _sequence(list, "[", "]"),
        _sequence(tuple, "(", ")"),
        _sequence(set, "{", "}"),
        _sequence(frozenset, "frozenset({", "})"),
        _sequence(deque, "deque([", "])"),
        _sequence(type({}.keys()), "dict_keys([", "])"),
        _sequence(type({}.values()), "dict_values([", "])"),
        _sequence(type({}.items()), "dict_items([", "])"),
        _sequence(array.array, "array([", "])"),
    )
)
_EMPTY: Final = {id(set.__repr__): "set()", id(frozenset.__repr__): "frozenset()"}


@dataclasses.dataclass
class _Probe:
    """Shows the code of the `__repr__` that dataclasses make."""


# All classes that are made so share the code of this function.
_NAMEDTUPLE_CODE: Final = namedtuple("_Made", "item").__repr__.__code__
_DATACLASS_CODE: Final = _Probe.__repr__.__code__


def is_plain(obj: object) -> bool:
    """Whether the text of this object needs none of other people's code."""
    return id(type(obj)) in _PLAIN


def is_secret_key(key: Any, value: object) -> bool:
    """Whether the value at this key of a dict is to be hidden."""
    if issubclass(type(key), str):
        return is_hidden(head_of(key, MOST_OF_A_KEY), value)
    if issubclass(type(key), bytes):
        name = bytes.__getitem__(key, slice(0, MOST_OF_A_KEY)).decode("latin-1")
        return is_hidden(name, value)
    return False


def key_text(key: object) -> str:
    """A key of a dict, without running its code."""
    if is_plain(key):
        return text_of(key, MOST_OF_A_KEY)
    if type(key) is tuple and len(key) <= 5 and all(map(is_plain, key)):
        return text_of(key, MOST_OF_A_KEY)
    return f"<{type_name(type(key))}>"


def text_of(obj: object, most: int = _MOST_OF_A_TEXT) -> str:
    """The repr of an object, in about `most` characters; never raises.

    Builtin containers, dataclasses and named tuples are traversed here, so that big ones take no
    time and secrets are hidden at any depth. What else has a `__repr__` of its own is asked, and
    may hang. Thread: any.
    """
    writer = _Writer(most)
    try:
        writer.write(obj, _MOST_LEVELS)
    except Exception:  # another thread changed it, or its class lies about its fields
        return f"<{type_name(type(obj))} that cannot be read>"
    return writer.text()


def cut(text: str, most: int) -> str:
    """The text, clean, and with a note of what was left out when it is longer than `most`."""
    size = str.__len__(text)
    head = clean(head_of(text, most))[:most]
    return head if size <= most else f"{head}… {size - most:,} more characters"


def _slot_of(kind: type) -> object:
    """The `__repr__` that counts, as it is in the namespace of a class."""
    for base in bases_of(kind):
        if (found := vars_of(base).get("__repr__")) is not None:
            return found
    return None


class _Writer:
    """Collects text until there is no room.

    Args:
        room: In characters. Brackets are closed and notes are added beyond it.
    """

    def __init__(self, room: int) -> None:
        self._parts: list[str] = []
        self._room = room
        self._inside: set[int] = set()

    def text(self) -> str:
        """What was written."""
        return clean("".join(self._parts))

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self._room -= len(text)

    def write(self, obj: Any, levels: int) -> None:
        """Write an object, and what is in it for so many levels."""
        kind = type(obj)
        if is_ours(obj):
            self._add(f"<{type_name(kind)} of aserve>")
            return
        slot = _slot_of(kind)
        room = max(self._room, _LEAST_OF_A_LEAF)
        if sequence := _SEQUENCES.get(id(slot)):
            self._write_sequence(obj, levels, sequence, _EMPTY.get(id(slot), ""))
        elif issubclass(kind, dict) and (id(slot) == id(dict.__repr__) or dict.__len__(obj)):
            # Subclasses too, whatever they write: a form with a password is one.
            self._write_dict(obj, levels)
        elif id(slot) == id(str.__repr__):
            self._add(_string(obj, room, str))
        elif id(slot) == id(bytes.__repr__):
            self._add(_string(obj, room, bytes))
        elif id(slot) == id(bytearray.__repr__):
            self._add(_string(obj, room, bytearray))
        elif id(slot) == id(int.__repr__):
            self._add(_int(obj))
        elif (fields := _fields(obj, slot)) is not None:
            self._write_fields(obj, levels, fields)
        else:
            self._add(_asked(obj, room))

    def _enter(self, obj: object, levels: int, start: str, end: str) -> bool:
        if id(obj) in self._inside or not levels:
            self._add(f"{start}…{end}")
            return False
        self._inside.add(id(obj))
        self._add(start)
        return True

    def _leave(self, obj: object, end: str) -> None:
        self._inside.discard(id(obj))
        self._add(end)

    def _is_full(self, index: int, count: int) -> bool:
        """Whether this item is the first that is left out; else the way to it is written."""
        if index:
            self._add(", ")
        if index < _MOST_ITEMS and self._room > 0:
            return False
        self._add(f"… {max(count - index, 1):,} more")
        return True

    def _write_sequence(self, obj: object, levels: int, how: _Sequence, empty: str) -> None:
        count = how.count(obj)
        if not count and empty:
            self._add(empty)
            return
        if not self._enter(obj, levels, how.start, how.end):
            return
        items = _snapshot(how.items(obj))
        is_secret_pair = how.start == "(" and count == 2 and is_secret_key(*items[:2])
        for index, item in enumerate(items):
            if self._is_full(index, count):
                break
            if is_secret_pair and index:
                self._add(HIDDEN)  # a header, or an item of a dict
            else:
                self.write(item, levels - 1)
        self._leave(obj, f",{how.end}" if count == 1 and how.start == "(" else how.end)

    def _write_dict(self, obj: dict[object, object], levels: int) -> None:
        start, end = "{", "}"
        if type(obj) is not dict:
            start, end = f"{type_name(type(obj))}({{", "})"
        if not self._enter(obj, levels, start, end):
            return
        count = dict.__len__(obj)
        for index, (key, value) in enumerate(_snapshot(dict.items(obj))):
            if self._is_full(index, count):
                break
            self.write(key, levels - 1)
            self._add(": ")
            if is_secret_key(key, value):
                self._add(HIDDEN)
            else:
                self.write(value, levels - 1)
        self._leave(obj, end)

    def _write_fields(self, obj: object, levels: int, fields: list[tuple[str, object]]) -> None:
        start = f"{type_name(type(obj))}("
        if not self._enter(obj, levels, start, ")"):
            return
        for index, (name, value) in enumerate(fields):
            if self._is_full(index, len(fields)):
                break
            self._add(f"{head_of(name, MOST_OF_A_KEY)}=")
            if is_secret_key(name, value):
                self._add(HIDDEN)
            else:
                self.write(value, levels - 1)
        self._leave(obj, ")")


def _snapshot(items: Iterable[Any]) -> list[Any]:
    """The first items at once: another thread may change the container meanwhile."""
    return list(islice(items, _MOST_ITEMS + 1))


def _fields(obj: Any, slot: object) -> list[tuple[str, object]] | None:
    """The fields of an object whose `__repr__` was made for it; None for any other."""
    if id(slot) == id(SimpleNamespace.__repr__):
        return list(islice(attributes(obj), _MOST_ITEMS + 1))
    if type(slot) is not FunctionType:
        return None
    if slot.__code__ is _NAMEDTUPLE_CODE:
        names = _class_variable(type(obj), "_fields")
        if type(names) is tuple and issubclass(type(obj), tuple):
            return list(zip(names, tuple.__iter__(obj), strict=False))
    elif slot.__code__ is _DATACLASS_CODE:
        made = vars(slot).get("__wrapped__")
        fields = _class_variable(type(obj), "__dataclass_fields__")
        if type(made) is FunctionType and "<string>" in made.__code__.co_filename and fields:
            here = dict(attributes(obj))
            return [
                (name, here[name])
                for name, field in fields.items()  # type: ignore[attr-defined]
                if field.repr and name in here
            ]
    return None


def _class_variable(kind: type, name: str) -> object:
    for base in bases_of(kind):
        if (found := vars_of(base).get(name)) is not None:
            return found
    return None


def _string(obj: Any, room: int, kind: Any) -> str:
    """The repr of a `str` or `bytes`, of which only what is shown is copied."""
    size = kind.__len__(obj)
    head = kind.__getitem__(obj, slice(0, room))
    text = repr(head)
    while len(text) > room + 20 and head:  # escapes take up to ten characters
        head = head[: len(head) * room // len(text)]
        text = repr(head)
    left = size - len(head)
    unit = "characters" if kind is str else "bytes"
    return f"{text}… {left:,} more {unit}" if left else text


def _int(obj: int) -> str:
    bits = int.bit_length(obj)
    if bits <= _MOST_BITS:
        return int.__repr__(obj)
    # Python refuses to write thousands of digits, for it takes long.
    return f"<int with about {int(bits * 0.30103) + 1:,} digits>"


def _asked(obj: object, room: int) -> str:
    """What the object says of itself."""
    try:
        return cut(repr(obj), room)
    except BaseException as error:  # whatever it is, it is no reason to lose the report
        name = type_name(type(error))
        try:
            message = cut(str(error), _MOST_OF_AN_ERROR)
        except BaseException:
            message = ""
        return f"<repr raised {name}: {message}>" if message else f"<repr raised {name}>"
