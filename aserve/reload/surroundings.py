"""What code can see of its process while it is imported, besides other modules.

Variables, the path, the working directory, the arguments: what of them was different for a module
that was imported ahead makes it another module. These can be set as they were, for the next time;
finders, filters of warnings and functions of the standard library that somebody has replaced can
only be compared.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "Surroundings",
    "filters_changed",
    "listen_to_opens",
    "patched",
    "set_variable",
    "variables",
]

# What libraries replace that change the world for all others. Compared by identity.
_PATCHED: Final = (
    ("builtins", "__import__"), ("builtins", "open"), ("datetime", "datetime"),
    ("json", "loads"), ("json", "dumps"), ("logging", "_loggerClass"), ("os", "fork"),
    ("os", "read"), ("queue", "SimpleQueue"), ("queue", "Queue"), ("random", "random"),
    ("select", "select"), ("select", "poll"), ("select", "epoll"),
    ("selectors", "DefaultSelector"), ("signal", "signal"), ("socket", "socket"),
    ("socket", "create_connection"), ("socket", "getaddrinfo"), ("ssl", "SSLContext"),
    ("subprocess", "Popen"), ("sys", "excepthook"), ("threading", "Thread"), ("threading", "Lock"),
    ("threading", "RLock"), ("threading", "local"), ("threading", "_start_new_thread"),
    ("_thread", "start_new_thread"), ("time", "sleep"), ("time", "time"), ("warnings", "warn"),
    ("warnings", "showwarning"),
)  # fmt: skip


def variables() -> dict[Any, Any]:
    """The environment as `os` keeps it: bytes, or on Windows texts in capitals."""
    return os.environ._data  # type: ignore[attr-defined, no-any-return]


def set_variable(name: str, value: str | None) -> None:
    """Set a variable, or take it away."""
    if value is None:
        os.environ.pop(name, None)
    elif os.environ.get(name) != value:
        os.environ[name] = value


def filters_changed() -> None:
    """Tell `warnings` that its filters were changed behind its back."""
    for name in ("_filters_mutated_lock_held", "_filters_mutated"):
        function: Callable[[], None] | None = getattr(warnings, name, None)
        if function is not None:
            try:
                function()
            except Exception:  # it wants its lock held
                continue
            return


def patched(modules: Mapping[str, Any]) -> list[tuple[Any, str, Any]]:
    """What is to be compared later: module, attribute, value.

    Args:
        modules: By their names; those that are there.
    """
    return [
        (module, attribute, getattr(module, attribute, None))
        for name, attribute in _PATCHED
        if (module := modules.get(name)) is not None
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """All of it at one moment."""

    variables: dict[Any, Any]
    path: list[str]
    directory: str
    arguments: list[str]
    finders: list[Any]
    hooks: list[Any]
    filters: list[Any]

    @classmethod
    def now(cls) -> Surroundings:
        """As they are."""
        return cls(
            dict(variables()), list(sys.path), _directory(), list(sys.argv), _finders(),
            list(sys.path_hooks), list(warnings.filters),
        )  # fmt: skip

    def is_now(self) -> bool:
        """Whether nothing has changed; takes a few microseconds."""
        return (
            self.variables == variables()
            and self.path == sys.path
            and self.arguments == sys.argv
            and self.directory == _directory()
            and _are_same(self.finders, _finders())
            and self.hooks == sys.path_hooks
            and self.filters == warnings.filters
        )

    def difference(self) -> tuple[str, str]:
        """What has changed: a kind ("settable" or "fixed"), and its name for people; or two ""."""
        now = variables()
        names = [key for key in {*self.variables, *now} if self.variables.get(key) != now.get(key)]
        if names:
            return "settable", ", ".join(sorted(map(os.fsdecode, names))[:3])
        if self.path != sys.path:
            return "settable", "sys.path"
        if self.arguments != sys.argv:
            return "settable", "sys.argv"
        if self.directory != _directory():
            return "settable", "the working directory"
        if not _are_same(self.finders, _finders()) or self.hooks != sys.path_hooks:
            return "fixed", "an import hook"
        if self.filters != warnings.filters:
            return "settable", "a filter of warnings"
        return "", ""

    def settable(self, before: Surroundings) -> dict[str, Any]:
        """What can be set elsewhere, in JSON: variables as changes to those of `before`."""
        changes = {
            os.fsdecode(key): None if (value := self.variables.get(key)) is None
            else os.fsdecode(value)
            for key in {*before.variables, *self.variables}
            if before.variables.get(key) != self.variables.get(key)
        }  # fmt: skip
        return {
            "variables": changes,
            "path": self.path,
            "directory": self.directory,
            "arguments": self.arguments,
            "filters": [] if self.filters == before.filters else list(map(_told, self.filters)),
        }

    def restore(self, changes: Mapping[str, Any] | None = None) -> None:
        """Make what can be set as it was here, and with what `settable` has told."""
        changes = changes or {}
        now = variables()
        wanted = {
            os.fsdecode(key): os.fsdecode(value) for key, value in self.variables.items()
        } | dict(changes.get("variables", {}))
        for key in {*map(os.fsdecode, now), *wanted}:
            set_variable(key, wanted.get(key))
        sys.path[:] = changes.get("path", self.path)
        sys.argv[:] = changes.get("arguments", self.arguments)
        filters = [_understood(one) for one in changes.get("filters", ())] or self.filters
        if filters != warnings.filters:
            # One that cannot be understood here is one that differs.
            warnings.filters[:] = [one for one in filters if one is not None]  # type: ignore[index]
            filters_changed()
        directory = changes.get("directory", self.directory)
        if directory and directory != _directory():
            os.chdir(directory)


def _told(one: Any) -> list[Any]:
    """A filter of warnings in JSON: action, message, category, module, line."""
    action, message, category, module, line = one
    return [action, _pattern(message), category.__module__, category.__qualname__,
            _pattern(module), line]  # fmt: skip


def _pattern(text: Any) -> Any:
    """None, a text, or the pattern and the flags of a regular expression."""
    return text if text is None or isinstance(text, str) else [text.pattern, text.flags]


def _understood(told: Sequence[Any]) -> Any:
    """The filter; None where its category is of a module that is not loaded."""
    import re

    action, message, owner, name, module, line = told
    category = getattr(sys.modules.get(owner), name, None)
    made = [re.compile(*one) if isinstance(one, list) else one for one in (message, module)]
    return None if category is None else (action, made[0], category, made[1], line)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _finders() -> list[Any]:
    """Those of other people."""
    return [one for one in sys.meta_path if not type(one).__module__.startswith("aserve.")]


def _are_same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


_listener: Callable[[str], object] | None = None
_is_hooked = False


def listen_to_opens(listener: Callable[[str], object] | None) -> None:
    """Have `listener` called with the absolute path of each file that is opened to be read.

    By an audit hook (PEP 578), which sees also what is opened by C code, and patches nothing. It
    cannot be taken out again, so it does nothing while there is no listener.
    """
    global _listener, _is_hooked
    _listener = listener
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or _listener is None:
        return
    path, mode, flags = arguments
    if isinstance(path, str | bytes) and (
        not flags & os.O_ACCMODE if mode is None else "r" in mode
    ):
        _listener(os.path.abspath(os.fsdecode(path)))
