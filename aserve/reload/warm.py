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
import os
import select
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Final

from ..forks import die_with_parent
from .channel import Channel, Message
from .shelf import Shelf

__all__ = ["Recruit"]

# MADV_POPULATE_WRITE and MADV_POPULATE_READ of madvise(2), by the access to a mapping.
_ADVICE: Final = {"rw-p": 23, "r-xp": 22}


class Recruit:
    """A process that waits for its orders. Main thread, and no other exists.

    Args:
        channel: To the supervisor; in a fork it is another one.
        shelf: Where what is imported ahead is put aside.
    """

    def __init__(self, channel: Channel, shelf: Shelf) -> None:
        self.channel = channel
        self._shelf = shelf
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
                    self._stock(message)
                    if self._is_fork:
                        _own_memory()
                elif kind == "brood":
                    self._become_zygote(message)
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

    def _become_zygote(self, message: Message) -> None:
        unfit = self._import_ahead(message, _Belongings())
        # Nothing that is loaded now is garbage, and a collection would copy every page.
        gc.freeze()
        self.channel.send({"type": "unfit" if unfit else "warm", "modules": unfit})

    def _stock(self, message: Message) -> None:
        """As a process that is no fork, or for what its parent has not got."""
        if message["modules"] and (unfit := self._import_ahead(message, None)):
            self.channel.send({"type": "unfit", "modules": unfit})

    def _import_ahead(self, message: Message, check: Callable[[], object] | None) -> dict[str, str]:
        return self._shelf.stock(
            message["modules"],
            message["refused"],
            mine=message["mine"],
            states=message["states"],
            check=check,
        )

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
        self._shelf.reseed()
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


class _Belongings:
    """What a fork would lack (threads, also native ones) or share (open files), counted."""

    def __init__(self) -> None:
        self._tasks = _count_tasks()

    def __call__(self) -> tuple[int, int, int]:
        if _count_tasks() > self._tasks:
            # A library that knows of forks ends its threads before one (pthread_atfork): a trial.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                number = os.fork()
            if not number:
                os._exit(0)
            os.waitpid(number, 0)
        self._tasks = _count_tasks()
        return threading.active_count(), len(os.listdir("/proc/self/fd")), self._tasks


def _count_tasks() -> int:
    return len(os.listdir("/proc/self/task"))
