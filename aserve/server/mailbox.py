"""From worker threads to the loop, with one wake-up for many messages.

Guarantees:
- `post` may be called from any thread, never blocks, and keeps the order of each thread.
- Every message that is posted before the loop closes is run on the loop thread, once.
- At most one wake-up is under way at a time: a wake-up costs a system call, and lets two
  threads fight over the interpreter lock (measured: 5 times the cost of the message).

The flag is cleared before the queue is read, so a message posted in between either is seen
by this round or causes another one; a message can never wait without a wake-up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

from ..safe_log import get_logger

__all__ = ["ROUND_SECONDS", "Mailbox"]

# After this long the rest of the messages waits until the loop has looked after everything
# else: half of what a program that shares the loop may be kept waiting. One message costs up
# to 0.2 ms, when it writes half a megabyte.
ROUND_SECONDS: Final = 0.001

_log: Final = get_logger("aserve.error")


class Mailbox:
    """A queue of calls that the loop thread makes.

    Args:
        loop: The loop; the calls run in its thread.
    """

    __slots__ = ("_loop", "_messages", "_waking")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: deque[Callable[[], object]] = deque()
        self._waking = False

    def post(self, message: Callable[[], object]) -> None:
        """Have `message` called on the loop thread soon. Any thread."""
        self._messages.append(message)
        if self._waking:
            return
        self._waking = True
        try:
            self._loop.call_soon_threadsafe(self.deliver)
        except RuntimeError:
            # The loop is closed: a view that outlived its server has nobody to talk to.
            self._messages.clear()

    def leave(self, message: Callable[[], object]) -> None:
        """As `post`, but wakes nobody: for when `deliver` is going to be called anyway."""
        self._messages.append(message)

    def hold(self) -> None:
        """Nobody needs to be woken from here to the next `deliver`, which is owed. Loop thread."""
        self._waking = True

    def deliver(self) -> bool:
        """Make the calls, some of them in the loop's next turn when they take long. Loop thread.

        Returns:
            Whether there were any.
        """
        self._waking = False
        messages = self._messages
        if not messages:
            return False
        end = perf_counter() + ROUND_SECONDS
        # Only what is here now: a busy worker must not keep the loop in this callback.
        try:
            for _ in range(len(messages)):
                message = messages.popleft()
                try:
                    message()
                except Exception:
                    _log.exception("A callback of the server failed; the others go on")
                if perf_counter() > end:
                    break
        finally:  # also when Ctrl-C comes in the middle: the rest is not lost
            if messages and not self._waking:
                self._waking = True
                self._loop.call_soon(self.deliver)
        return True
