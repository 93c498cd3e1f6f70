"""Looking into objects without running their code: no property, no `__getattr__`, no metaclass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import GetSetDescriptorType, MappingProxyType, MemberDescriptorType
from typing import Any, Final, cast

__all__ = [
    "UNCLEAN",
    "attributes",
    "bases_of",
    "clean",
    "head_of",
    "instance_items",
    "qualified_name",
    "type_name",
    "vars_of",
]

# The descriptors of `type` itself: a metaclass may have properties with these names.
_MRO: Final[Any] = type.__dict__["__mro__"]
_DICT: Final[Any] = type.__dict__["__dict__"]
_NAME: Final[Any] = type.__dict__["__name__"]
_QUALNAME: Final[Any] = type.__dict__["__qualname__"]

_MOST_OF_A_NAME: Final = 100

# What UTF-8 cannot hold, what a terminal obeys, and what lets text look like other text.
UNCLEAN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def clean(text: str) -> str:
    """The text with surrogates and control characters as escapes; line feeds and tabs stay."""
    return text if text.isprintable() else UNCLEAN.sub(_escape, text)  # which takes 10 us


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def head_of(text: str, most: int) -> str:
    """The first characters, as an exact `str`; of a subclass, no method is called."""
    return str.__getitem__(text, slice(0, most))


def bases_of(kind: type) -> tuple[type, ...]:
    """The MRO of a class."""
    return cast("tuple[type, ...]", _MRO.__get__(kind))


def vars_of(kind: type) -> MappingProxyType[str, object]:
    """The namespace of a class, without those of its bases."""
    return cast("MappingProxyType[str, object]", _DICT.__get__(kind))


def type_name(kind: type) -> str:
    """The name of a class, bounded."""
    return clean(head_of(_NAME.__get__(kind), _MOST_OF_A_NAME))


def qualified_name(kind: type) -> str:
    """The name of a class with those of what it is in, bounded."""
    return clean(head_of(_QUALNAME.__get__(kind), 2 * _MOST_OF_A_NAME))


def instance_items(obj: object) -> Iterable[tuple[str, object]]:
    """What is in the real `__dict__` of an object; nothing if there is none.

    A class can define `__dict__` itself, e.g. as a property; that one is not run.
    """
    for base in bases_of(type(obj)):
        found = vars_of(base).get("__dict__")
        if found is None:
            continue
        if type(found) is not GetSetDescriptorType and type(found) is not MemberDescriptorType:
            break
        namespace = found.__get__(obj, type(obj))
        if issubclass(type(namespace), dict):
            return cast("Iterable[tuple[str, object]]", dict.items(namespace))
        if issubclass(type(namespace), MappingProxyType):  # of a class
            return cast("Iterable[tuple[str, object]]", namespace.items())
        break
    return ()


def attributes(obj: object) -> Iterator[tuple[str, object]]:
    """Attributes of the object itself: of its `__dict__`, then its slots; none of its class."""
    for name, value in instance_items(obj):
        if issubclass(type(name), str):
            yield name, value
    for base in bases_of(type(obj)):
        for name, slot in _slots(base):
            try:
                value = slot.__get__(obj, type(obj))
            except AttributeError:  # not set
                continue
            yield name, value


def _slots(kind: type) -> Iterator[tuple[str, MemberDescriptorType]]:
    """The slots that a class adds, in its order where that is known: Python sorts them."""
    namespace = vars_of(kind)
    if "__slots__" not in namespace:
        return
    said = namespace["__slots__"]
    order = list(said) if type(said) is tuple or type(said) is list else []
    found = [(name, slot) for name, slot in namespace.items() if type(slot) is MemberDescriptorType]
    ranks = {name: order.index(name) for name, _ in found if name in order}
    yield from sorted(found, key=lambda item: ranks.get(item[0], len(order)))
