"""One clock for all time-outs: a coarse wheel, turned by one timer of the loop.

A connection stands in one slot, which is when it will be looked at next. What happens on it only
notes the time (`now`, a number); when its slot comes, it says itself how long it may still take,
and is filed again. So a request costs no timer, and a connection at rest one look in a minute.

Time is counted in turns. While the loop stands still (a debugger stops all threads, the machine
sleeps, something blocks) no time passes for clients, who could not get through either.

Loop thread only.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

from ..safe_log import get_logger

__all__ = ["FAR", "Timed", "Wheel"]

_log: Final = get_logger("aserve.error")

# One turn, unless a time-out is shorter than some of them.
_TURN_SECONDS: Final = 1.0
_SHORTEST: Final = 5  # turns

_SLOTS: Final = 128
# Turns until the next look at something that waits for nothing.
FAR: Final = 60


class Timed(Protocol):
    """Something whose time may be up.

    Attributes:
        due: The wheel's note: the turn in which to look at it, -1 when it is not filed.
    """

    due: int

    def look(self, now: int) -> int:
        """Turns until the next look; it may end itself. Loop thread."""
        ...


class Wheel:
    """See the module's docstring.

    Args:
        loop: Whose timer turns it.
        shortest: The shortest time-out in seconds, 0 for none: it shall not be much too long.
        is_needed: Whether to go on turning when nothing is filed. Loop thread.
        on_turn: Called in each turn. Loop thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shortest: float,
        is_needed: Callable[[], bool],
        on_turn: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._is_needed = is_needed
        self._on_turn = on_turn
        self._seconds = min(_TURN_SECONDS, shortest / _SHORTEST) if shortest else _TURN_SECONDS
        self._slots: tuple[set[Timed], ...] = tuple(set() for _ in range(_SLOTS))
        self._timer: asyncio.TimerHandle | None = None
        self.now = 0
        self.is_turning = False

    def turns(self, seconds: float) -> int:
        """At least this long, in turns; 0 stays 0, which is for ever."""
        return ceil(seconds / self._seconds)

    def seconds(self, turns: int) -> float:
        """How long so many turns take."""
        return turns * self._seconds

    def file(self, item: Timed, turns: int) -> None:
        """Look at it in so many turns, and not before; 0 for far away."""
        # The turn that is under way does not count, and a slot is there only once.
        due = self.now + min(turns or FAR, _SLOTS - 2) + 1
        if item.due >= 0:
            self._slots[item.due % _SLOTS].discard(item)
        item.due = due
        self._slots[due % _SLOTS].add(item)

    def hasten(self, item: Timed, turns: int) -> None:
        """As `file`, unless it is looked at before that anyway."""
        if turns and (item.due < 0 or item.due > self.now + turns + 1):
            self.file(item, turns)

    def forget(self, item: Timed) -> None:
        """It has ended."""
        if item.due >= 0:
            self._slots[item.due % _SLOTS].discard(item)
            item.due = -1

    def start(self) -> None:
        """Turn, until nothing needs it any more. Loop thread."""
        if self._timer is None:
            self.is_turning = True
            self._timer = self._loop.call_later(self._seconds, self._turn)

    def stop(self) -> None:
        """Turn no more. Loop thread."""
        self.is_turning = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        # Before it is asked whether it is needed: who comes later starts it again.
        self.is_turning = False
        if not _is_debugged():
            self.now += 1
            self._look()
            self._on_turn()
        if self._is_needed():
            self.start()

    def _look(self) -> None:
        now = self.now
        slot = self._slots[now % _SLOTS]
        for item in list(slot):
            if item.due == now or item.due == now - _SLOTS:  # or missed, see above
                item.due = now
                self.file(item, self._ask(item, now))
            elif item.due % _SLOTS != now % _SLOTS:
                slot.discard(item)

    def _ask(self, item: Timed, now: int) -> int:
        try:
            return item.look(now)
        except Exception:  # the others have their time, too
            _log.exception("The server failed when it looked at a time-out")
            return 0


def _is_debugged() -> bool:
    """Whether a debugger like VS Code's or PyCharm's is attached: people think for minutes."""
    pydevd = sys.modules.get("pydevd")
    if pydevd is None:
        return False
    return pydevd.get_global_debugger() is not None
