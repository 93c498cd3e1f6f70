"""Modules that were imported ahead, and are kept aside until the app itself imports them.

They are not in `sys.modules`. A finder in front of all others gives one to the app when it asks for
it, together with everything that this one has brought and used, as if it were executed then; but
only if what it could see when it was executed is the same now. Otherwise the process is a *misfit*:
it is given up, and a cold one takes its place.

Before the app is loaded nothing has been answered, so giving the process up is harmless. Later, in
a view, modules of Python are executed anew; those of C cannot be, so they are given as they are,
and the next load is cold.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from .generators import Generators
from .recorder import Node, Recorder, do_again
from .source import is_users, stamp_of
from .surroundings import Surroundings, patched

__all__ = ["Shelf"]

_ASKING: Final = "_find_and_load_unlocked"  # of importlib: who really imports


class Shelf:
    """The modules that wait; a finder. One of a process.

    Attributes:
        on_misfit: Called with the kind and the reason when this process cannot go on; before the
            app is loaded, it does not return.
        is_late: Whether the app is loaded.
    """

    def __init__(self) -> None:
        self.on_misfit: Callable[[str, str, str], None] = lambda name, kind, reason: None
        self.is_late = False
        self._nodes: dict[str, Node] = {}
        self._given: dict[str, Node] = {}
        self._is_closed = True  # nothing is given while modules are imported ahead
        self._lock = threading.RLock()
        self._base: dict[str, Any] = {}
        self._bound: dict[str, dict[str, Any]] = {}
        self._patched: list[tuple[Any, str, Any]] = []
        self._listings: dict[str, frozenset[str]] = {}
        self._generators: list[Generators] = []
        # What was asked for, in this order, and from where on what was set.
        self._log: list[str] = []
        self._started: Surroundings | None = None
        self._last: Surroundings | None = None
        self._states: list[tuple[str, Surroundings]] = []

    def install(self) -> None:
        """From here on it is asked first."""
        sys.meta_path.insert(0, self)

    # -- ahead -----------------------------------------------------------------------------

    def stock(
        self,
        names: Sequence[str],
        refused: Iterable[str] = (),
        *,
        mine: Iterable[str] = (),
        states: Iterable[tuple[int, Mapping[str, Any]]] = (),
        check: Callable[[], object] | None = None,
    ) -> dict[str, str]:
        """Import modules ahead, and put all of them aside. Main thread, and no other runs.

        Args:
            names: In the order in which the app began to import them.
            refused: What is not imported, not even by others.
            mine: Top-level names of the user's modules.
            states: See `Recorder`.
            check: Returns what must be the same behind each import.

        Returns:
            What has turned out to be unfit, and why: this process is of no use then.
        """
        self._is_closed = True
        for name in names:
            if name.startswith("aserve."):
                importlib.import_module(name)  # ours; a cold process has it as well, or soon
        before = check() if check is not None else None
        with Recorder(self._nodes, names, refused, mine, states) as recorder:
            for name in names:
                if name in sys.modules or name in recorder.unfit:
                    continue
                try:
                    importlib.import_module(name)
                except BaseException as error:
                    recorder.refuse(name, f"fails with {type(error).__name__}")
                if check is not None and (now := check()) != before:
                    before = now
                    recorder.refuse(name, "leaves a thread or an open file")
        self._generators.append(recorder.generators)
        self._put_aside()
        return recorder.unfit

    def _put_aside(self) -> None:
        modules = sys.modules
        for name, node in list(self._nodes.items()):
            if name not in modules:
                del self._nodes[name]  # it has taken itself out
                continue
            node.module = modules[name]
            with contextlib.suppress(Exception):
                node.spec = node.module.__spec__
        for name, node in self._nodes.items():
            parent, _, child = name.rpartition(".")
            above = getattr(modules.get(parent), "__dict__", {}) if parent else {}
            node.is_attribute = above.get(child) is node.module
        for name, node in self._nodes.items():
            if node.is_attribute:
                parent, _, child = name.rpartition(".")
                with contextlib.suppress(AttributeError):
                    delattr(modules[parent], child)
        for name in self._nodes:
            del modules[name]
        self._base = dict(modules)
        used = {name for node in self._nodes.values() for name in node.uses}
        # Who reads it at import would have seen another value.
        self._bound = {
            name: dict(place)
            for name, node in self._nodes.items()
            if name in used
            and type(place := getattr(node.module, "__dict__", None)) is dict
            and "site-packages" in str(getattr(node.spec, "origin", ""))
        }
        everything = {**self._base, **{name: node.module for name, node in self._nodes.items()}}
        self._patched = patched(everything)
        self._given.clear()
        self._is_closed = False

    def reseed(self) -> None:
        """In a fork: generators that the system has seeded are so again."""
        for generators in self._generators:
            generators.seed_anew()

    # -- the app ---------------------------------------------------------------------------

    def start(self) -> None:
        """From here on the app's code runs."""
        self._started = self._last = Surroundings.now()
        self._log.clear()
        self._states.clear()

    def report(self, modules: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
        """What was set from which import on: see `Recorder`.

        Args:
            modules: In the order of `order`.
        """
        assert self._started is not None
        ranks = {name: index for index, name in enumerate(modules)}
        places = {name: index for index, name in enumerate(self._log)}
        found: dict[int, dict[str, Any]] = {}
        for name, surroundings in self._states:
            # Of the first one behind it that is imported ahead at all.
            later = (ranks[each] for each in self._log[places.get(name, 0) :] if each in ranks)
            if (rank := next(later, None)) is not None:
                found[rank] = surroundings.settable(self._started)
        return sorted(found.items())

    def order(self, names: Iterable[str]) -> list[str]:
        """Those of these names that were imported while the app was loaded, as their import began.

        That of `sys.modules` is the order in which it ended: what a package sets up for another one
        that it imports would come too late. What a view imports is not imported ahead: it would
        change what it changes, such as the registry of another module, before it is asked for.
        """
        places = {name: index for index, name in reversed(list(enumerate(self._log)))}
        return sorted((name for name in names if name in places), key=places.__getitem__)

    def left(self) -> str:
        """An installed module that waits, and that the app has not asked for; empty for none.

        Whoever has imported it before has taken that out. What its execution has left in other
        modules, this process has, too.
        """
        for name, node in self._nodes.items():
            origin = str(getattr(node.spec, "origin", ""))
            if name not in self._given and "site-packages" in origin:
                return name
        return ""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Gives what waits; None for everything else, and for who only asks where it is."""
        if self._is_closed and self._started is None:
            return None
        try:
            if sys._getframe(2).f_code.co_name != _ASKING:
                return None
        except ValueError:
            return None
        if self._started is None or self._last is None:
            return None
        if not self.is_late and not self._last.is_now():
            self._last = Surroundings.now()
            self._states.append((name, self._last))
        node = self._nodes.get(name)
        if node is None or name in self._given:
            if not self.is_late:
                self._log.append(name)
            return None
        with self._lock:
            closure = self._closure_of(node)
            kind, reason = self._difference(node, closure)
            if kind and not self._is_misfit(name, closure, kind, reason):
                if not self.is_late:
                    self._log.append(name)
                return None
        giver: Any = _Giver(self, node, closure)
        return importlib.machinery.ModuleSpec(name, giver)

    def _closure_of(self, node: Node) -> list[Node]:
        """It and all that it has brought and used, as far as it was not given yet."""
        found = {node.name: node}
        left = [node]
        while left:
            one = left.pop()
            for names in (one.parts, one.uses):
                for name in names:
                    if name not in found and name not in self._given and name in self._nodes:
                        found[name] = self._nodes[name]
                        left.append(found[name])
        return sorted(found.values(), key=lambda one: one.ends)

    def give(self, closure: Sequence[Node]) -> None:
        """Put modules where an import would have put them."""
        with self._lock:
            new = [node for node in closure if node.name not in self._given]
            for node in new:
                self._given[node.name] = node
                sys.modules[node.name] = node.module
            for node in new:
                if node.is_attribute:
                    parent, _, child = node.name.rpartition(".")
                    with contextlib.suppress(AttributeError, KeyError):
                        setattr(sys.modules[parent], child, node.module)
                do_again(node)
            if not self.is_late:
                self._log += [node.name for node in sorted(new, key=lambda one: one.starts)]
                # What they have changed is not the app's.
                if self._last is not None and not self._last.is_now():
                    self._last = Surroundings.now()

    # -- conditions ------------------------------------------------------------------------

    def _difference(self, node: Node, closure: Sequence[Node]) -> tuple[str, str]:
        """What is not as it was when these were executed: a kind and a name; or two ""."""
        seen: set[int] = set()
        for one in closure:
            # What was executed in the one that is asked for has seen what that had made.
            is_inside = node.starts <= one.starts and one.ends <= node.ends
            if (is_inside and one is not node) or id(one.surroundings) in seen:
                continue
            seen.add(id(one.surroundings))
            kind, name = one.surroundings.difference()
            if kind:
                return kind, name
        for one in closure:
            for path, before in one.files.items():
                if stamp_of(path) != before:
                    return "file", os.path.relpath(path)
        for module, attribute, value in self._patched:
            if getattr(module, attribute, None) is not value:
                return "fixed", f"{module.__name__}.{attribute}"
        return self._other_module(closure) or self._found_elsewhere(closure) or ("", "")

    def _other_module(self, closure: Sequence[Node]) -> tuple[str, str] | None:
        """Whether a module that they are, or have used, is another one now, or was changed."""
        modules, looked_at = sys.modules, set()
        for node in closure:
            if node.name in modules and modules[node.name] is not node.module:
                return "fixed", f"sys.modules[{node.name!r}]"
            for name in node.uses:
                given = self._given.get(name)
                expected = given.module if given is not None else self._base.get(name)
                if expected is not None and modules.get(name) is not expected:
                    return "fixed", f"sys.modules[{name!r}]"
                if given is None or name in looked_at or name not in self._bound:
                    continue
                looked_at.add(name)
                if attribute := _bound_anew(self._bound[name], vars(given.module)):
                    return "fixed", f"{name}.{attribute}"
        return None

    def _found_elsewhere(self, closure: Sequence[Node]) -> tuple[str, str] | None:
        """Whether the user has a module of such a name by now, also of one that was not found."""
        names = {node.name for node in closure if "." not in node.name}
        names |= {name for node in closure for name in node.absent if "." not in name}
        for place in sys.path:
            if not is_users(os.path.join(place or os.curdir, "module.py")):
                continue
            if place not in self._listings:
                try:
                    found = os.listdir(place or os.curdir)
                except OSError:
                    found = []
                self._listings[place] = frozenset(name.partition(".")[0] for name in found)
            for name in names & self._listings[place]:
                spec = importlib.machinery.PathFinder.find_spec(name)
                origin = spec.origin if spec is not None else None
                if origin is not None and is_users(origin):
                    return "fixed", os.path.relpath(origin)
        return None

    def _is_misfit(self, name: str, closure: Sequence[Node], kind: str, reason: str) -> bool:
        """Give this process up; late, return whether to give the modules all the same."""
        is_native = any(node.is_native for node in closure)
        if not self.is_late or is_native:
            self.on_misfit(name, kind, reason)
        if is_native:
            return True
        for node in closure:
            del self._nodes[node.name]
        return False


class _Giver:
    """The loader of one module that waits."""

    def __init__(self, shelf: Shelf, node: Node, closure: Sequence[Node]) -> None:
        self._shelf, self._node, self._closure = shelf, node, closure

    def create_module(self, spec: Any) -> Any:
        """The module as it is; importlib then writes our names into it."""
        module = self._node.module
        self._loader = getattr(module, "__dict__", {}).get("__loader__", self)
        return module

    def exec_module(self, module: Any) -> None:
        """Undo that, and give it with all that belongs to it."""
        with contextlib.suppress(Exception):
            if self._node.spec is not None or "__spec__" in vars(module):
                module.__spec__ = self._node.spec
            if vars(module).get("__loader__") is self:
                if self._loader is self:
                    del module.__loader__
                else:
                    module.__loader__ = self._loader
        self._shelf.give(self._closure)


def _bound_anew(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The name that is bound to something else in a module; empty for none.

    Caches that a module fills for itself, from None on, and submodules are no such change.
    """
    for name, value in now.items():
        if name.startswith("__"):
            continue
        if name in before:
            if before[name] is not value and before[name] is not None:
                return name
        # By `type`: a lazy object that is asked for its class would set itself up.
        elif not issubclass(type(value), type(sys)):
            return name
    return ""
