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
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from .channel import Channel, Message
from .child import Child, Fork, spawn

__all__ = ["Stock", "stamp_of_places"]

# They change how Python or its threads work, which does not outlive a fork, or follow each new
# process by themselves.
_NEVER_FORKED: Final = frozenset(("gevent", "eventlet", "ddtrace", "debugpy", "pydevd"))
_CAN_FORK: Final = sys.platform.startswith("linux") and hasattr(os, "pidfd_open")
# How many modules may turn out to be unfit before forking is given up.
_MOST_UNFIT: Final = 8


class Stock:
    """The processes that wait, and the one that they are forks of.

    Args:
        command: The words that start a process.
        variables: Returns what a process is to add to its environment.
        know: Called with each new process: from then on it is listened to.
    """

    def __init__(
        self,
        command: Sequence[str],
        variables: Callable[[], dict[str, str]],
        know: Callable[[Child], None],
    ) -> None:
        self._command = command
        self._variables = variables
        self._know = know
        self._ready: list[Child] = []
        self._wanted = 0
        self._modules: list[str] = []
        self._unfit: list[str] = []
        self._can_fork = _CAN_FORK
        self._has_lent = False
        self._zygotes: dict[Child, _Zygote] = {}
        self._zygote: _Zygote | None = None  # that is forked from
        self._next: _Zygote | None = None  # that imports
        self._places = stamp_of_places()

    def put(self, child: Child) -> None:
        """A process that was started elsewhere waits here."""
        self._know(child)
        self._ready.append(child)

    def take(self) -> Child:
        """A process, as warm as there is one."""
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
            return zygote.child
        return self._spawn()

    def refill(self, count: int, modules: list[str]) -> None:
        """Have `count` processes wait that have imported these modules."""
        self._wanted = count
        self._modules = modules
        if self._places != stamp_of_places():
            self.drop()
        if not _NEVER_FORKED.isdisjoint(modules):
            self._can_fork = False
        if not self._can_fork:
            while len(self._ready) < count:
                child = self._spawn()
                self._ready.append(child)
                self._send_modules(child, modules)
            return
        if self._zygote is None or not self._zygote.modules.issuperset(modules):
            self._breed()
        if self._zygote is not None:
            while len(self._ready) < count:
                child = self._fork(self._zygote)
                self._ready.append(child)
                # What its parent does not have yet; what it could not import is not tried again.
                known = self._zygote.modules
                self._send_modules(child, [name for name in modules if name not in known])

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
        if zygote is None:
            return False
        kind = message["type"]
        if kind == "forked":
            fork = zygote.unborn.popleft()
            zygote.forks[message["pid"]] = fork
            fork.is_born(message["pid"])
        elif kind == "ended":
            zygote.forks.pop(message["pid"]).has_ended(message["status"])
        elif self._next is zygote:
            self._next = None
            if kind == "warm":
                if self._zygote is not None:
                    self._zygote.child.channel.send({"type": "leave"})
                self._zygote = zygote
            else:
                self._unfit += message["modules"]
                self._can_fork = len(self._unfit) < _MOST_UNFIT
                child.kill()
            self.refill(self._wanted, self._modules)
        return True

    # -- details -------------------------------------------------------------------------

    def _spawn(self) -> Child:
        child = spawn(self._command)
        self._know(child)
        return child

    def _breed(self) -> None:
        """Start a process that imports, and is forked from when it has."""
        if self._next is not None:
            return
        child = self._spawn()
        self._next = self._zygotes[child] = _Zygote(child, self._modules)
        child.channel.send(
            {
                "type": "brood",
                "modules": self._modules,
                "refused": self._unfit,
                "variables": self._variables(),
            }
        )

    def _fork(self, zygote: _Zygote) -> Child:
        ours, theirs = socket.socketpair()
        with theirs:
            zygote.child.channel.send({"type": "fork"}, [theirs.fileno()])
        fork = Fork(Channel(ours))
        zygote.unborn.append(fork)
        self._know(fork)
        return fork

    def _send_modules(self, child: Child, modules: Sequence[str]) -> None:
        variables = self._variables()
        child.channel.send({"type": "preload", "modules": modules, "variables": variables})


class _Zygote:
    """A process that is forked from.

    Args:
        child: The process.
        modules: What it was told to import.
    """

    def __init__(self, child: Child, modules: Sequence[str]) -> None:
        self.child = child
        self.modules = frozenset(modules)
        self.unborn: deque[Fork] = deque()  # asked for, in this order
        self.forks: dict[int, Fork] = {}


def stamp_of_places() -> tuple[int, ...]:
    """What is another one when something was installed: the times of the places for packages."""
    stamps = []
    for place in (*site.getsitepackages(), site.getusersitepackages()):
        try:
            stamps.append(os.stat(place).st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)
