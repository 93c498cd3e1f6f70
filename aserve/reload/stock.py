"""Processes that are ready before they are needed, so that a change waits for none to start.

Where the system can fork, one process, the zygote, imports what is installed, once, and each of the
others is a fork of it. Elsewhere, and with libraries that no fork outlives, each is started anew
and imports the same by itself. Loop thread.
"""

from __future__ import annotations

import os
import site
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..safe_log import get_logger
from .channel import Channel, Message
from .child import Child, Fork

__all__ = ["Stock", "stamp_of_places"]

_log: Final = get_logger("aserve")

_CAN_FORK: Final = sys.platform.startswith("linux") and hasattr(os, "pidfd_open")
# How often a process that imports ahead may turn out to be of no use, until nothing is imported so.
_MOST_PASSES: Final = 8
# How often an app may set something else before the same import, until that is not imported ahead.
_MOST_MISFITS: Final = 2
# How often a file that an import reads may be another one: perhaps the app itself writes it.
_MOST_EDITS: Final = 5


class Stock:
    """The processes that wait, and the one that they are forks of.

    Args:
        start: Starts a process.
        variables: Returns what a process is to add to its environment.
        know: Called with each new process: from then on it is listened to.
    """

    def __init__(
        self,
        start: Callable[[], Child],
        variables: Callable[[], dict[str, str]],
        know: Callable[[Child], None],
    ) -> None:
        self._start = start
        self._variables = variables
        self._know = know
        self._ready: list[Child] = []
        self._wanted = 0
        self._modules: list[str] = []
        self._states: list[tuple[int, Message]] = []
        self._mine: list[str] = []
        self._refused: list[str] = []
        self._misfits: Counter[str] = Counter()
        self._ends: set[str] = set()  # from these imports on nothing is imported ahead
        self._passes = 0
        self._can_fork = _CAN_FORK
        self._has_lent = False
        self._zygotes: dict[Child, _Zygote] = {}
        self._zygote: _Zygote | None = None  # that is forked from
        self._next: _Zygote | None = None  # that imports
        self._places = stamp_of_places()

    def put(self, child: Child) -> None:
        """A process that was started elsewhere waits here; it has imported nothing."""
        self._know(child)
        self._ready.append(child)

    def take(self, *, is_cold: bool = False) -> Child:
        """A process, as warm as there is one; or a cold one."""
        if is_cold:
            return self._spawn()
        if self._places != stamp_of_places():
            self.drop()  # what was imported may be of an older version
        if self._ready:
            return self._ready.pop(0)
        if self._zygote is not None:
            return self._fork(self._zygote)
        if self._next is not None and not self._has_lent:
            # Half of the imports are better than none. One time: who saves again and again would
            # never have more than half.
            self._has_lent = True
            zygote, self._next = self._next, None
            del self._zygotes[zygote.child]
            zygote.child.is_warm = True
            return zygote.child
        return self._spawn()

    def learn(
        self,
        modules: list[str],
        states: list[tuple[int, Message]],
        mine: list[str],
        *,
        may_fork: bool,
    ) -> None:
        """What the next ones are to import ahead.

        Args:
            modules: In the order in which the app began to import them.
            may_fork: Whether what the process has loaded outlives a fork.
            states: What is set from which of them on; see `Recorder`.
            mine: Top-level names of the user's modules.
        """
        self._can_fork = self._can_fork and may_fork
        end = next((at for at, name in enumerate(modules) if name in self._ends), len(modules))
        self._modules, self._mine = modules[:end], mine
        self._states = [(rank, state) for rank, state in states if rank < end]

    def has_misfit(self, name: str, kind: str) -> None:
        """What was imported ahead is not what the app would have got.

        Args:
            name: What it has asked for.
            kind: "settable": a cold process tells what is to be set, and then it fits; "fixed": it
                cannot be; "file": what it has read was edited, and the next one reads it anew;
                "left": the app has not asked for it at all any more.
        """
        self._misfits[name] += 1
        most = _MOST_EDITS if kind == "file" else _MOST_MISFITS
        if kind == "fixed" or self._misfits[name] >= most:
            self._ends.add(name)
        self.drop()

    def forget_all(self) -> None:
        """Start from nothing: what is imported ahead from here on is made anew."""
        self._refused.clear()
        self._ends.clear()
        self._misfits.clear()
        self._passes = 0
        self._modules, self._states = [], []
        self._can_fork = _CAN_FORK
        self.drop()

    def _refuse(self, names: Iterable[str]) -> None:
        self._refused += [name for name in names if name not in self._refused]

    def refill(self, count: int) -> None:
        """Have `count` processes wait that have imported what was learned."""
        self._wanted = count
        modules = self._modules
        if self._places != stamp_of_places():
            self.drop()
        if not self._can_fork or self._passes > _MOST_PASSES:
            while len(self._ready) < count:
                child = self._spawn()
                self._ready.append(child)
                if self._passes <= _MOST_PASSES:
                    self._send_modules(child, modules)
                    _log.debug("%d modules are imported ahead", len(modules))
            return
        if self._zygote is None or not self._zygote.has(modules, self._states):
            self._breed()
        if self._zygote is not None:
            while len(self._ready) < count:
                child = self._fork(self._zygote)
                self._ready.append(child)
                self._send_modules(child, ())  # it has what its parent has

    def drop(self) -> None:
        """What waits is not wanted any more: something has changed that it cannot follow."""
        self._places = stamp_of_places()
        for child in self._ready:
            child.kill()
        self._ready.clear()
        for zygote in (self._zygote, self._next):
            if zygote is not None:
                # It ends when its last fork has.
                zygote.child.channel.send({"type": "leave"})
        self._zygote = self._next = None

    def forget(self, child: Child) -> None:
        """This process has ended."""
        if child in self._ready:
            self._ready.remove(child)
        zygote = self._zygotes.pop(child, None)
        if zygote is None:
            return
        if self._zygote is zygote:
            self._zygote = None
        if self._next is zygote:
            self._next = None
        for fork in (*zygote.unborn, *zygote.forks.values()):
            # The kernel ends them with their parent.
            fork.has_ended(-9)

    def hear(self, child: Child, message: Message) -> bool:
        """A message of a zygote; false for those of other processes."""
        zygote = self._zygotes.get(child)
        kind = message["type"]
        if zygote is None:
            if kind == "unfit":
                self._is_unfit(child, message["modules"])
                return True
            return False
        if kind == "forked":
            fork = zygote.unborn.popleft()
            zygote.forks[message["pid"]] = fork
            fork.is_born(message["pid"])
        elif kind == "ended":
            zygote.forks.pop(message["pid"]).has_ended(message["status"])
        elif self._next is zygote:
            self._next = None
            if kind == "warm":
                _log.debug("%d modules are imported ahead", len(zygote.modules))
                if self._zygote is not None:
                    self._zygote.child.channel.send({"type": "leave"})
                self._zygote = zygote
                self.refill(self._wanted)
            else:
                self._is_unfit(child, message["modules"])
        return True

    def _is_unfit(self, child: Child, why: dict[str, str]) -> None:
        """It has imported something that is not what the app would get; without that, once more."""
        for name, reason in why.items():
            _log.debug("%s is not imported ahead: it %s", name, reason)
        self._refuse(why)
        self._passes += 1
        if child in self._ready:
            self._ready.remove(child)
        if not child.generation:
            child.kill()
        self.refill(self._wanted)

    # -- details -------------------------------------------------------------------------

    def _spawn(self) -> Child:
        child = self._start()
        self._know(child)
        return child

    def _breed(self) -> None:
        """Start a process that imports, and is forked from when it has."""
        if self._next is not None:
            return
        child = self._spawn()
        self._next = self._zygotes[child] = _Zygote(child, self._modules, self._states)
        child.channel.send(self._ahead("brood", self._modules))

    def _fork(self, zygote: _Zygote) -> Child:
        ours, theirs = socket.socketpair()
        with theirs:
            zygote.child.channel.send({"type": "fork"}, [theirs.fileno()])
        fork = Fork(Channel(ours))
        fork.is_warm = True
        zygote.unborn.append(fork)
        self._know(fork)
        return fork

    def _send_modules(self, child: Child, modules: Sequence[str]) -> None:
        child.is_warm = child.is_warm or bool(modules)
        child.channel.send(self._ahead("preload", modules))

    def _ahead(self, kind: str, modules: Sequence[str]) -> Message:
        return {
            "type": kind,
            "modules": modules,
            "states": self._states,
            "mine": self._mine,
            "refused": self._refused,
            "variables": self._variables(),
        }


class _Zygote:
    """A process that is forked from.

    Args:
        child: The process.
        modules: What it was told to import.
        states: What was set from which of them on.
    """

    def __init__(
        self, child: Child, modules: Sequence[str], states: Sequence[tuple[int, Message]]
    ) -> None:
        self.child = child
        self.modules = frozenset(modules)
        self._states = [state for _, state in states]
        self.unborn: deque[Fork] = deque()  # asked for, in this order
        self.forks: dict[int, Fork] = {}

    def has(self, modules: Sequence[str], states: Sequence[tuple[int, Message]]) -> bool:
        """Whether all of them were imported, with the same settings."""
        return self.modules.issuperset(modules) and self._states == [state for _, state in states]


def stamp_of_places() -> tuple[int, ...]:
    """What is another one when something was installed: the times of the places for packages."""
    stamps = []
    for place in (*site.getsitepackages(), site.getusersitepackages()):
        try:
            stamps.append(os.stat(place).st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)
