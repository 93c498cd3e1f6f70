"""What may be done once in a while, however often it is asked for."""

from __future__ import annotations

import time

from . import native

__all__ = ["Pause"]


class Pause:
    """Time between two of a kind. Any thread.

    Args:
        seconds: How much.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = float("-inf")
        self._lock = native.threading.Lock()

    def is_over(self) -> bool:
        """Whether it may be done now; if so, the next pause has begun."""
        with self._lock:
            now = time.monotonic()
            if now < self._end:
                return False
            self._end = now + self._seconds
            return True
