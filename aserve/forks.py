"""Processes that the app forks must not act on the server's behalf."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

__all__ = ["forget_signals"]

_numbers: set[int] = set()
_is_registered = False


def forget_signals(numbers: Iterable[int]) -> None:
    """Have forks of this process end by these signals, as any other process does.

    A fork inherits the server's handlers, and the descriptor through which they wake its loop: the
    end of a child of `multiprocessing` would be the end of the server. Main thread.

    Args:
        numbers: Signals for which the server has handlers.
    """
    global _is_registered
    _numbers.update(numbers)
    if not _is_registered and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_restore)
        _is_registered = True


def _restore() -> None:
    try:
        signal.set_wakeup_fd(-1)
    except ValueError:
        return  # forked by another thread, which is the main one from now on
    for number in _numbers:
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
