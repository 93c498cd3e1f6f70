"""Long request bodies, so many at a time.

An app that reads a long body from a slow client holds a thread, which is lent to others meanwhile
(`WorkerPool.grow`). That cannot go on for ever: whoever comes later waits in front of the gate,
without a thread and with nothing more read of its body than fits its buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Collected", "Gate"]

# Threads that wait cost some 100 KB each; a browser sends six bodies at a time.
_MOST: Final = 256

# Of shorter ones, which are collected before a thread is taken, so many bytes together. Who comes
# later counts as long.
_MOST_BYTES: Final = 64 << 20


class Collected:
    """Bytes of bodies that are in memory, or may be: collected ones and pipes. Loop thread."""

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._left = most

    def take(self, size: int) -> bool:
        """Count so many more; False when they are too many. They are owed in any case."""
        self._left -= size
        return self._left >= 0

    def give_back(self, size: int) -> None:
        """So many have gone on."""
        self._left += size


class Gate:
    """Counts who is in.

    Args:
        post: Has something called on the loop thread; from any thread.
        most: How many may be in.
    """

    def __init__(self, post: Callable[[Callable[[], object]], object], most: int = _MOST) -> None:
        self._post = post
        self._free: deque[None] = deque([None] * most)
        self._waiting: deque[Callable[[], bool]] = deque()

    def enter(self) -> bool:
        """Whether there was room; then `leave` is owed. Any thread."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def leave(self) -> None:
        """Make room. Any thread."""
        self._free.append(None)
        self._post(self._admit)

    def wait(self, go: Callable[[], bool]) -> None:
        """Have `go` called when there is room; it says whether it uses it. Loop thread."""
        self._waiting.append(go)
        self._admit()  # somebody may have left since

    def _admit(self) -> None:
        while self._waiting and self.enter():
            if not self._waiting.popleft()():
                self._free.append(None)
