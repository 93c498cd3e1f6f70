"""Tells the supervisor when a debugger asks at the terminal: a change must wait for it.

Whoever sits at a prompt of pdb would lose it with the process, and what the supervisor reads from
the terminal would be missing there. So a process says when a prompt opens, waits until the
terminal is its own, and says when the prompt is left. In the app's process, any thread.
"""

from __future__ import annotations

import builtins
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["Prompts"]

# The answer comes within a millisecond, unless the supervisor is being ended.
_PATIENCE_SECONDS: Final = 1.0
# The method with which debuggers talk to a person: pdb, ipdb, pdb++ and pudb all have it.
_METHOD: Final = "interaction"


class Prompts:
    """The prompts of this process.

    Args:
        tell: Called with True when the first one opens, with False when the last one is left.
    """

    def __init__(self, tell: Callable[[bool], object]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._depth = 0
        self._granted = threading.Event()

    def install(self) -> None:
        """From here on each prompt is told."""
        import bdb

        builtins.input = self._wrap(builtins.input)
        bdb.Bdb.__init_subclass__ = classmethod(  # type: ignore[assignment, method-assign]
            lambda cls, **_: self._adapt(cls)
        )
        # A debugger that was imported ahead.
        waiting = list(bdb.Bdb.__subclasses__())
        while waiting:
            debugger = waiting.pop()
            self._adapt(debugger)
            waiting += debugger.__subclasses__()

    def grant(self) -> None:
        """The terminal is this process's."""
        self._granted.set()

    def _adapt(self, debugger: Any) -> None:
        if _METHOD in vars(debugger):
            setattr(debugger, _METHOD, self._wrap(vars(debugger)[_METHOD]))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def ask(*arguments: Any, **named: Any) -> Any:
            with self._open():
                return function(*arguments, **named)

        return ask

    @contextmanager
    def _open(self) -> Iterator[None]:
        with self._lock:
            self._depth += 1
            is_first = self._depth == 1
            if is_first:
                self._granted.clear()
                self._tell(True)
        self._granted.wait(_PATIENCE_SECONDS)
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if not self._depth:
                    self._tell(False)
