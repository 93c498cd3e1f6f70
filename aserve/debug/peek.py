"""Looking into objects without running their code: no property, no `__getattr__`, no metaclass."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, Final, cast

from ..harmless import harmless

__all__ = [
    "attributes",
    "bases_of",
    "clean",
    "head_of",
    "instance_items",
    "is_ours",
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

# This package. What belongs to it is opened by nobody: it holds the app and its own secrets.
_HOME: Final = __name__.partition(".")[0]
_FOLDER: Final = str(Path(__file__).absolute().parents[1]) + os.sep
# An app like any other.
_DEMO: Final = f"{_HOME}.demo"


def clean(text: str) -> str:
    """The text with surrogates and control characters as escapes; line feeds and tabs stay."""
    return text if text.isprintable() else harmless(text)  # which takes 10 us


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


def is_ours(obj: object) -> bool:
    """Whether an object belongs to this package: by its class, or where its code comes from.

    Classes with a base of this package belong to it, and so do bound methods of its objects,
    functions and generators of its code, its modules and their namespaces. Runs none of its code.
    """
    kind = type(obj)
    if any(_is_home(vars_of(base).get("__module__")) for base in bases_of(kind)):
        return True
    if issubclass(kind, type):
        return any(_is_home(vars_of(base).get("__module__")) for base in bases_of(obj))  # type: ignore[arg-type]
    look = _LOOKS.get(id(kind))
    return look is not None and look(obj)


def _is_home(name: object) -> bool:
    if type(name) is not str or not name.startswith(_HOME) or name == _DEMO:
        return False
    return len(name) == len(_HOME) or name[len(_HOME)] == "."


def _is_our_code(code: CodeType) -> bool:
    name = code.co_filename
    return name.startswith(_FOLDER) and name != f"{_FOLDER}demo.py"


def _is_our_method(method: Any) -> bool:
    return is_ours(method.__self__) or is_ours(method.__func__)


# By the id of the class, for none of these can be derived from.
_LOOKS: Final[dict[int, Callable[[Any], bool]]] = {
    id(FunctionType): lambda obj: (
        _is_our_code(obj.__code__) or _is_home(obj.__globals__.get("__name__"))
    ),
    id(MethodType): _is_our_method,
    id(BuiltinMethodType): lambda obj: is_ours(obj.__self__),
    id(MethodWrapperType): lambda obj: is_ours(obj.__self__),
    id(CodeType): _is_our_code,
    id(FrameType): lambda obj: _is_our_code(obj.f_code),
    id(GeneratorType): lambda obj: _is_our_code(obj.gi_code),
    id(CoroutineType): lambda obj: _is_our_code(obj.cr_code),
    id(AsyncGeneratorType): lambda obj: _is_our_code(obj.ag_code),
    id(functools.partial): lambda obj: is_ours(obj.func),
    id(ModuleType): lambda obj: _is_home(_namespace_of(obj).get("__name__")),
    # The namespace of a module; other dicts have no such pair.
    id(dict): lambda obj: "__spec__" in obj and _is_home(obj.get("__name__")),
}


def _namespace_of(module: ModuleType) -> dict[str, Any]:
    descriptor: Any = vars_of(ModuleType)["__dict__"]  # a class of modules can have a property
    return cast("dict[str, Any]", descriptor.__get__(module))
