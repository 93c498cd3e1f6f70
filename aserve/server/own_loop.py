"""The loop of a server that shares it with nobody: `aserve.run` and the command make one.

It is asyncio's, with a selector that is asked before it sleeps. In a program of somebody else's the
server has to get by without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .. import native

__all__ = ["OwnLoop", "own_loop"]


class OwnLoop(asyncio.SelectorEventLoop):
    """An event loop that serves and does nothing else.

    Attributes:
        before_sleep: Called at the end of each turn; says whether it has done anything, so that the
            loop must not sleep yet.
        at_end_of_turn: What to call behind that, one time; it says the same. For what may have
            become needless by then: two system calls less for a connection that does not outlive
            the turn.
    """

    before_sleep: Callable[[], bool] | None = None

    def __init__(self, selector: Any) -> None:
        super().__init__(selector)
        self.at_end_of_turn: list[Callable[[], bool]] = []


def own_loop() -> OwnLoop:
    """A loop with a selector that asks before it sleeps."""

    class AskingSelector(native.selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> Any:
            ask = loop.before_sleep
            if ask is not None and ask():
                timeout = 0
            if loop.at_end_of_turn:
                due, loop.at_end_of_turn = loop.at_end_of_turn, []
                if sum(call() for call in due):  # all of them
                    timeout = 0
            return super().select(timeout)

    loop = OwnLoop(AskingSelector())
    return loop
