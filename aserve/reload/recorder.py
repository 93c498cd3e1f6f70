"""Imports modules ahead, and writes down of each what it has brought, used and changed.

A module is a *node*. While it is executed, other modules are, in it: its parts. Others it finds
ready, and uses. What it changes in the process (variables, path, filters of warnings, finders, exit
functions, loggers) are its effects: they are undone when everything is put aside, and done again
when the app gets the module.

What is imported here must be what the app would get. So a module that asks for one of the user's,
or fails, is *unfit*, and so is everything that was importing it: they are not kept, and not tried
ahead again.
"""

from __future__ import annotations

import atexit
import builtins
import importlib
import importlib.machinery
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from .generators import Generators
from .source import is_users, stamp_of
from .surroundings import Surroundings, filters_changed, listen_to_opens, set_variable

__all__ = ["Node", "Recorder", "do_again"]

_OWN: Final = "aserve"
_bootstrap: Final[Any] = importlib._bootstrap
_NO_FILES: Final = ("/proc/", "/sys/", "/dev/")


class Node:
    """A module that was executed ahead.

    Attributes:
        name: Of the module.
        module: The module; set when it is put aside.
        spec: Its own, which is not the one that hands it out.
        is_attribute: Whether its parent package has it as an attribute.
        starts, ends: When its execution began and ended, as numbers that only grow.
        parts: Modules that were executed in it.
        uses: Modules that it has imported, executed in it or before.
        absent: Names that it has looked for in vain.
        surroundings: Those in which it began.
        effects: What it has changed: kind, and what is needed to do it again.
        files: Those that it has read, or wanted to, beside what is installed: path and `stamp_of`.
        is_native: Whether it cannot be executed twice in a process.
    """

    __slots__ = (
        "absent", "effects", "ends", "files", "is_attribute", "is_native", "module", "name",
        "parts", "spec", "starts", "surroundings", "uses",
    )  # fmt: skip

    def __init__(self, name: str, starts: int, surroundings: Surroundings) -> None:
        self.name = name
        self.starts = starts
        self.ends = 0
        self.surroundings = surroundings
        self.module: Any = None
        self.spec: Any = None
        self.is_attribute = False
        self.is_native = False
        self.parts: list[str] = []
        self.uses: set[str] = set()
        self.absent: set[str] = set()
        self.effects: list[tuple[str, Any, Any]] = []
        self.files: dict[str, tuple[int, ...]] = {}


class Recorder:
    """A context in which modules are imported ahead. One use; main thread, and no other runs.

    Args:
        nodes: By name; what is recorded is added.
        order: Names in the order in which the app began to import them.
        refused: Names that are not imported, not even by others.
        mine: Top-level names of the user's modules.
        states: Index into `order` -> what is set from there on; see `Surroundings.settable`.
    """

    def __init__(
        self,
        nodes: dict[str, Node],
        order: Sequence[str],
        refused: Iterable[str],
        mine: Iterable[str],
        states: Iterable[tuple[int, Mapping[str, Any]]] = (),
    ) -> None:
        self._nodes = nodes
        self._order = frozenset(order)
        self._ranks = {name: index for index, name in enumerate(order)}
        self._refused = set(refused)
        self._mine = frozenset(mine)
        self._states = sorted(states, key=lambda state: state[0])
        self._stack: list[Node] = []
        self._counter = len(nodes) * 2
        # Name -> why.
        self.unfit: dict[str, str] = {}
        self.generators = Generators(self._drawn)

    # -- as a finder -----------------------------------------------------------------------

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """What the others find, unless it is refused or the user's."""
        if name in self._refused or name.partition(".")[0] in self._mine:
            self._doubt(f"asks for {name}")
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        for finder in list(sys.meta_path):
            if type(finder).__module__.startswith(f"{_OWN}."):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is None:
                continue
            if spec.origin and spec.has_location and is_users(spec.origin):
                self._doubt(f"asks for {name}, which is yours")
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return spec
        if self._stack:
            self._stack[-1].absent.add(name)
        return None

    def _doubt(self, why: str) -> None:
        """Whatever is being imported now would have gone on otherwise for the app."""
        for node in self._stack:
            self.refuse(node.name, why)

    def refuse(self, name: str, why: str) -> None:
        """This one is unfit."""
        if name not in self._refused:
            self._refused.add(name)
            self.unfit[name] = why

    # -- what is watched -------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        self._first = self._last = Surroundings.now()
        self._loggers = set(logging.root.manager.loggerDict)
        self._usual_load = _bootstrap._load_unlocked
        self._usual_import = builtins.__import__
        self._usual_import_module = _bootstrap._gcd_import
        self._usual_register = atexit.register
        self._usual_unraisable = sys.unraisablehook
        self._watch = self.generators.watch()
        self._watch.__enter__()
        listen_to_opens(self._opened)
        _bootstrap._load_unlocked = self._load
        _bootstrap._gcd_import = self._import_module
        builtins.__import__ = self._import
        atexit.register = self._register  # type: ignore[assignment]
        # An error that only code of C has seen: nobody knows what it has made of it.
        sys.unraisablehook = lambda _: self._doubt("had an error that code of C has swallowed")
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: object) -> None:
        listen_to_opens(None)
        sys.meta_path.remove(self)
        self._watch.__exit__(None, None, None)
        sys.unraisablehook = self._usual_unraisable
        atexit.register = self._usual_register
        builtins.__import__ = self._usual_import
        _bootstrap._gcd_import = self._usual_import_module
        _bootstrap._load_unlocked = self._usual_load
        first = self._first
        first.restore()
        own = [one for one in sys.meta_path if type(one).__module__.startswith(f"{_OWN}.")]
        sys.meta_path[:] = [*own, *first.finders]
        sys.path_hooks[:] = first.hooks
        if warnings.filters != first.filters:
            warnings.filters[:] = first.filters  # type: ignore[index]
            filters_changed()

    def _load(self, spec: Any) -> Any:
        """In place of what executes a module."""
        name = spec.name
        if self._stack:
            self._take_effects(self._stack[-1])  # what it has changed before this import
        self._set_state(self._ranks.get(name, -1))
        if not self._last.is_now():
            self._last = Surroundings.now()
        node = Node(name, self._count(), self._last)
        outer = self._stack[-1] if self._stack else None
        if "." in name:
            node.uses.add(name.rpartition(".")[0])
        before = len(sys.modules)
        self._stack.append(node)
        try:
            module = self._usual_load(spec)
        except BaseException as error:
            self._stack.pop()
            if name in self._order:
                self.refuse(name, f"fails with {type(error).__name__}")
                self._doubt(f"asks for {name}, which fails")
            elif outer is not None:  # it goes on without it, as it will for the app
                outer.parts += node.parts
                outer.uses |= node.uses
                outer.absent |= node.absent | {name}
            raise
        self._take_effects(node)
        self.generators.see(name)
        self._stack.pop()
        node.ends = self._count()
        loader = getattr(spec, "loader", None)
        node.is_native = isinstance(loader, importlib.machinery.ExtensionFileLoader)
        self._nodes[name] = node
        if outer is not None:
            outer.parts.append(name)
        self._find_aliases(node, before)
        return module

    def _find_aliases(self, node: Node, before: int) -> None:
        """Names that a module has put into `sys.modules` by itself, e.g. `six.moves`."""
        if len(sys.modules) <= before:
            return
        open_ = {one.name for one in self._stack}
        for name in list(sys.modules)[before:]:
            if name not in self._nodes and name != node.name and name not in open_:
                alias = self._nodes[name] = Node(name, node.ends, node.surroundings)
                alias.ends = node.ends
                alias.uses.add(node.name)
                node.parts.append(name)

    def _set_state(self, rank: int) -> None:
        """What the app has set by the time it imports this one."""
        while self._states and self._states[0][0] <= rank:
            if self._stack:
                return  # in the middle of another one nobody but that can have set it
            self._first.restore(self._states.pop(0)[1])

    def _count(self) -> int:
        self._counter += 1
        return self._counter

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        result = self._usual_import(name, globals, locals, fromlist, level)
        if self._stack:
            if level:
                package = _bootstrap._calc___package__(globals or {})
                name = _bootstrap._resolve_name(name, package, level)
            self._use(name)
            for part in fromlist or ():
                if isinstance(part, str) and f"{name}.{part}" in sys.modules:
                    self._use(f"{name}.{part}")
        return result

    def _import_module(self, name: str, package: Any = None, level: int = 0) -> Any:
        result = self._usual_import_module(name, package, level)
        if self._stack:
            self._use(_bootstrap._resolve_name(name, package, level) if level else name)
        return result

    def _use(self, name: str) -> None:
        if name in self._refused:
            self._doubt(f"asks for {name}")
        self._stack[-1].uses.add(name)

    def _drawn(self) -> None:
        # The standard library keeps no number that has to be different.
        if self._stack and self._stack[-1].name.partition(".")[0] not in sys.stdlib_module_names:
            self._doubt("draws a random number")

    def _opened(self, path: str) -> None:
        """A file is opened to be read; called before that."""
        if self._stack and not path.startswith(_NO_FILES) and is_users(path):
            self._stack[-1].files[path] = stamp_of(path)

    # -- effects ---------------------------------------------------------------------------

    def _register(self, function: Any, *args: Any, **named: Any) -> Any:
        module = str(getattr(function, "__module__", ""))
        if not self._stack or module.partition(".")[0] in sys.stdlib_module_names:
            return self._usual_register(function, *args, **named)
        self._stack[-1].effects.append(("atexit", function, (args, named)))
        return function

    def _take_effects(self, node: Node) -> None:
        """What has changed since the last look is this one's; its parts were looked at before."""
        known = logging.root.manager.loggerDict
        if len(known) != len(self._loggers):
            for name in known.keys() - self._loggers:
                if isinstance(logger := known[name], logging.Logger):
                    node.effects.append(("logger", logger, logger.disabled))
            self._loggers = set(known)
        before = self._last
        if before.is_now():
            return
        now = self._last = Surroundings.now()
        for key in {*before.variables, *now.variables}:
            if before.variables.get(key) != (value := now.variables.get(key)):
                text = None if value is None else os.fsdecode(value)
                node.effects.append(("variable", os.fsdecode(key), text))
        for kind, old, new in (
            ("path", before.path, now.path),
            ("filter", before.filters, now.filters),
            ("finder", before.finders, now.finders),
            ("hook", before.hooks, now.hooks),
        ):
            node.effects += [(kind, one, is_first) for one, is_first in _put(old, new)]
        if before.directory != now.directory or before.arguments != now.arguments:
            self._doubt("changes the working directory or the arguments")


def _put(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[Any, bool]]:
    """What was put into a list since, and whether at its front, in the order in which to do it.

    What is put there one after the other stands there the other way round. `warnings` moves a
    filter to the front that stood further behind.
    """
    for count in range(len(new) + 1):
        front = new[:count]
        rest = [one for one in old if one not in front]
        end = count + len(rest)
        if list(new[count:end]) == rest:
            return [*((one, True) for one in reversed(front)), *((one, False) for one in new[end:])]
    return []  # something was taken out: what is imported behind that sees a difference


def do_again(node: Node) -> None:
    """Change in this process what the execution of a module changes."""
    for kind, what, how in node.effects:
        if kind == "variable":
            set_variable(what, how)
        elif kind == "logger":
            what.disabled = how  # `disable_existing_loggers` has met it before its time
        elif kind == "atexit":
            atexit.register(what, *how[0], **how[1])
        elif kind == "filter":
            if how and what in warnings.filters:
                warnings.filters.remove(what)  # type: ignore[attr-defined]
            _insert(warnings.filters, what, is_first=how)
            filters_changed()
        elif kind == "finder":
            _insert(sys.meta_path, what, is_first=how)
        elif kind == "hook":
            _insert(sys.path_hooks, what, is_first=how)
        elif kind == "path":
            _insert(sys.path, what, is_first=how)


def _insert(places: Any, what: Any, *, is_first: bool) -> None:
    if not any(what is other or what == other for other in places):
        places.insert(0 if is_first else len(places), what)
