"""When to load after a change: at once, or when a burst of changes is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

__all__ = ["Burst"]

# A second change this soon after a load began is part of something larger, such as a checkout: it
# is waited for a moment of quiet, but not for ever.
_SECONDS: Final = 0.1
_QUIET_SECONDS: Final = 0.025
_LONGEST: Final = 1.0


class Burst:
    """Puts a load off while changes keep coming. Loop thread.

    Args:
        load: Called when it is time.
    """

    def __init__(self, load: Callable[[], object]) -> None:
        self._load = load
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.loaded_at = 0.0
        """When the last load began, by `perf_counter`."""

    def change(self) -> None:
        """Something has changed."""
        now = perf_counter()
        if self._timer is not None:
            self._timer.cancel()
        elif now - self.loaded_at > _SECONDS:
            self._go()
            return
        else:
            self._began = now
        delay = min(_QUIET_SECONDS, max(0.0, self._began + _LONGEST - now))
        self._timer = asyncio.get_running_loop().call_later(delay, self._go)

    def _go(self) -> None:
        self._timer = None
        self.loaded_at = perf_counter()
        self._load()
