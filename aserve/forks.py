"""Forks: the app's must not act on the server's behalf, and the server's must not outlive it."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, Protocol

from . import native

__all__ = [
    "Holder",
    "close_in_forks",
    "die_with_parent",
    "end_if_fork",
    "forget_exits",
    "forget_signals",
    "is_fork",
    "leave",
    "reseed",
]

_PR_SET_PDEATHSIG: Final = 1
# How long each of the app's own exit functions may take, once everything is answered.
_EXIT_SECONDS: Final = 1.0

_numbers: set[int] = set()
_masks: Final = threading.local()
_is_registered = False


class Holder(Protocol):
    """Something with sockets."""

    def close_in_fork(self) -> None:
        """Close the descriptors of this process, without a word to the other end."""
        ...


class _Closing:
    """What forks do not keep. Any thread."""

    def __init__(self) -> None:
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self._is_registered = False
        self.is_fork = False  # of a process that has held something, and holds nothing itself

    def add(self, holder: Holder) -> None:
        """See `close_in_forks`."""
        self.is_fork = False
        self._holders.add(holder)
        if not self._is_registered and hasattr(os, "register_at_fork"):
            self._is_registered = True
            os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        self.is_fork = bool(self._holders)
        for holder in list(self._holders):
            # What is closed twice, or was just being made at the fork, is no concern of the app's.
            with contextlib.suppress(Exception):
                holder.close_in_fork()


_closing: Final = _Closing()


def close_in_forks(holder: Holder) -> None:
    """Have forks of this process give up its sockets.

    A fork of the app, such as a child of `multiprocessing`, inherits the listening sockets and all
    connections: the port would be taken for as long as it lives, and no client would see the end of
    its connection. Programs that are started in their own right do not inherit them (PEP 446).

    Args:
        holder: Kept for as long as anybody else keeps it.
    """
    _closing.add(holder)


def forget_signals(numbers: Iterable[int]) -> None:
    """Have forks of this process end by these signals, as any other process does.

    A fork inherits the server's handlers, and the descriptor through which they wake its loop: the
    end of a child of `multiprocessing` would be the end of the server. Until they are out, which
    takes a moment behind the fork, these signals wait. Main thread.

    Args:
        numbers: Signals for which the server has handlers.
    """
    global _is_registered
    _numbers.update(numbers)
    if not _is_registered and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_restore)
        _is_registered = True


def _block() -> None:
    # For the thread that forks; the signals of the parent go to another, or wait as well.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _numbers)


def _unblock() -> None:
    if (mask := getattr(_masks, "before", None)) is not None:  # else it forks just as we register
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _restore() -> None:
    # Whichever thread has forked is the main one from here on.
    signal.set_wakeup_fd(-1)
    for number in _numbers:
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
    _unblock()


def is_fork() -> bool:
    """Whether this process is a fork of one that serves, and serves nothing itself."""
    return _closing.is_fork


def end_if_fork(error: BaseException | None = None) -> None:
    """In a fork of the app's that has come back from its view: end it, as Python would.

    What lies behind the view is the server's, and that is the parent's: the sockets are closed
    here, and what waits for events is shared with it.

    Args:
        error: What the view has let out.
    """
    if not _closing.is_fork:
        return
    status = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = error.code or 0
    elif error is not None:
        status = 1
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, also one that holds Python's lock.

    Linux (prctl(2)); elsewhere the end of a channel has to do. With "parent" the kernel means the
    thread that has forked.

    Args:
        parent: The number that the parent has, or had.
    """
    if not sys.platform.startswith("linux"):  # pragma: no cover
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it was quicker


def reseed() -> None:
    """Forks must not draw the same numbers; `random` sees to that by itself."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        with contextlib.suppress(Exception):
            numpy_random.seed()


def forget_exits() -> None:
    """In a fork: what the parent wants done at its exit is done by the parent alone.

    Kept is what looks after a process's own children and logs, for those of the fork.
    """
    atexit._clear()
    for name, function in (("logging", "shutdown"), ("multiprocessing.util", "_exit_function")):
        if (module := sys.modules.get(name)) is not None:
            atexit.register(getattr(module, function))


def leave(status: int) -> NoReturn:
    """End this process, whatever threads of the app still do; its exit functions have a moment.

    Args:
        status: The exit status.
    """
    # Pools of processes end theirs before the functions of atexit.
    _for_a_moment(lambda: [function() for function in reversed(_thread_exits())])
    _for_a_moment(atexit._run_exitfuncs)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _thread_exits() -> list[Callable[[], object]]:
    """What `concurrent.futures` wants done, before Python joins all threads."""
    return list(getattr(threading, "_threading_atexits", ()))


def _for_a_moment(function: Callable[[], object]) -> None:
    thread = native.threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(_EXIT_SECONDS)
