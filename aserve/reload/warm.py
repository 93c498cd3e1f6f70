"""What a process of the reloader does before it is told which app to serve.

It imports installed modules, nothing of the user's, and waits. On Linux one process, the zygote,
stays at that and is forked from: a fork has everything imported at once, however soon the next
change comes. What must not be forked (a thread, an open file) is told from what is imported, and
left to the processes that need it.

```text
spawned --preload--> warm --go--> (imports the app)
                      |  ^
                      |  '-- fork: the new process, on a channel of its own
                      '--leave--> ended, when its last fork has
```
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import socket
import sys
import threading
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ..forks import die_with_parent, reseed
from .channel import Channel, Message
from .source import is_users

__all__ = ["Recruit", "preload"]

# MADV_POPULATE_WRITE and MADV_POPULATE_READ of madvise(2), by the access to a mapping.
_ADVICE: Final = {"rw-p": 23, "r-xp": 22}


class Recruit:
    """A process that waits for its orders. Main thread, and no other exists.

    Args:
        channel: To the supervisor; in a fork it is another one.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._is_fork = False
        self._is_leaving = False
        self._forks: dict[int, int] = {}  # descriptor of the process -> its number

    def wait(self) -> tuple[Message, list[int]]:
        """Until there is an app to serve; ends the process when there never is one.

        Returns:
            The message "go" and its descriptors.
        """
        die_with_parent(os.getppid())
        while True:
            for message, descriptors in self.channel.decode():
                for name, value in message.get("variables", {}).items():
                    os.environ.setdefault(name, value)
                kind = message["type"]
                if kind == "go":
                    return message, descriptors
                if kind == "preload":
                    preload(message["modules"])
                    if self._is_fork:
                        _own_memory()
                elif kind == "brood":
                    self._become_zygote(message["modules"], message["refused"])
                elif kind == "fork":
                    if self._fork(descriptors[0]):
                        break  # what else was read is not for this process
                elif kind == "leave":
                    self._is_leaving = True
                else:
                    os._exit(0)
            if self._is_leaving and not self._forks:
                os._exit(0)
            self._wait_for_news()

    def _become_zygote(self, names: Sequence[str], refused: Sequence[str]) -> None:
        unfit = preload(names, refused, is_checked=True)
        # Nothing that is loaded now is garbage, and a collection would copy every page.
        gc.freeze()
        self.channel.send({"type": "unfit" if unfit else "warm", "modules": unfit})

    def _wait_for_news(self) -> None:
        """Something to read, or the end of a fork."""
        if self._forks:
            mine = self.channel.fileno()
            ready, _, _ = select.select([mine, *self._forks], [], [])
            for descriptor in ready:
                if descriptor != mine:
                    self._bury(descriptor)
            if mine not in ready:
                return
        if not self.channel.read():
            os._exit(0)

    def _bury(self, descriptor: int) -> None:
        number = self._forks.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(number, 0)
        status = os.waitstatus_to_exitcode(status)
        self.channel.send({"type": "ended", "pid": number, "status": status})

    def _fork(self, descriptor: int) -> bool:
        """A new process on the channel of this descriptor; true in the new one."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        parent = os.getpid()
        with warnings.catch_warnings():
            # Of threads: libraries of C have some, and know what to do about a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            number = os.fork()
        if number:
            os.close(descriptor)
            self._forks[os.pidfd_open(number)] = number
            self.channel.send({"type": "forked", "pid": number})
            return False
        self._is_fork = True
        die_with_parent(parent)
        self.channel.close()
        for other in self._forks:
            os.close(other)
        self._forks.clear()
        os.set_inheritable(descriptor, False)
        self.channel = Channel(socket.socket(fileno=descriptor))
        reseed()
        return True


def _own_memory() -> None:
    """Have the kernel do now, while nobody waits, what it leaves undone at a fork.

    Memory is shared until it is written to, and the code of libraries is not mapped at all. Each
    page costs about a microsecond when it is touched first, and Python touches thousands of them:
    5 to 20 ms of the first import and the first request. Linux 5.14; before that nothing happens.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, ValueError):
        libc = ctypes.CDLL(None)
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            lines = [line.split(None, 2) for line in maps]
        for place, access, _ in lines:
            advice = _ADVICE.get(access)
            if advice is not None:
                start, end = (int(number, 16) for number in place.split("-"))
                length = ctypes.c_size_t(end - start)
                libc.madvise(ctypes.c_void_p(start), length, advice)


class _Refusal:
    """Refuses to find modules of the user, and others by name, while modules are imported ahead.

    Args:
        names: Names that are refused, too, with everything below.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.origin and spec.has_location and is_users(spec.origin):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
                return


def preload(
    names: Iterable[str], refused: Iterable[str] = (), *, is_checked: bool = False
) -> list[str]:
    """Import installed modules ahead, and nothing of the user's.

    Args:
        names: Names of modules, in the order in which the app has imported them.
        refused: Names that are not imported, not even by others.
        is_checked: Look what each of them leaves behind.

    Returns:
        The one that has left something behind that must not be forked, if there is one.
    """
    refusal: Any = _Refusal(refused)
    sys.meta_path.insert(0, refusal)
    before = _belongings() if is_checked else None
    try:
        for name in names:
            if name not in sys.modules:
                # What cannot be imported alone is imported by the app, or not at all.
                with contextlib.suppress(BaseException):
                    importlib.import_module(name)
                if is_checked and _belongings() != before:
                    return [name]
    finally:
        sys.meta_path.remove(refusal)
    return []


def _belongings() -> tuple[int, int]:
    """What a fork would lack (threads) or share (open files), counted."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))
