"""The connections of a server: how many there may be, and who gives way. Loop thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from ..safe_log import get_logger
from .wheel import Wheel

__all__ = ["Member", "Roster", "most_connections"]

_log: Final = get_logger("aserve.error")

# Descriptors that connections never take: for the app's files, databases and children.
_RESERVE: Final = 256

# How often it is said that there are too many connections.
_REPEAT_SECONDS: Final = 60.0


class Member(Protocol):
    """A connection, as its server keeps it. Loop thread only."""

    def announce_close(self) -> None:
        """The next response is the last one."""
        ...

    def close_if_idle(self) -> None:
        """Close now unless a request is open."""
        ...

    def cut(self) -> None:
        """End now, whatever is under way."""
        ...

    def resting_since(self) -> int | None:
        """The turn of the wheel since which nothing was asked; None while something is."""
        ...

    def give_way(self) -> None:
        """Close, if it still rests."""
        ...

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        ...

    @property
    def arriving(self) -> object | None:
        """The exchange that no thread has yet."""
        ...


class Roster:
    """See the module's docstring.

    Args:
        loop: The loop.
        wheel: Turns while there are members.
        limit: How many may be let in; the system may allow less.
        on_leave: Called when one has left.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        limit: int,
        on_leave: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._wheel = wheel
        self._most = most_connections(limit)
        self._on_leave = on_leave
        self._members: set[Member] = set()
        self._silent_until = 0
        self._is_announced = False
        self._is_cut = False

    def __iter__(self) -> Iterator[Member]:
        """A copy: who is looked at may leave."""
        return iter(list(self._members))

    def __len__(self) -> int:
        return len(self._members)

    @property
    def is_full(self) -> bool:
        """Whether no more are to be let in."""
        return len(self._members) >= self._most

    def add(self, member: Member) -> None:
        """One has come."""
        self._members.add(member)
        if not self._wheel.is_turning:
            self._wheel.start()
        if self._is_cut:
            self._loop.call_soon(member.cut)
        elif self._is_announced:
            member.announce_close()

    def discard(self, member: Member) -> None:
        """One has left."""
        self._members.discard(member)
        self._on_leave()

    def make_room(self) -> bool:
        """Close those that rest for longest.

        Returns:
            Whether there were any; else who asks has to wait until one leaves.
        """
        found = [(member.resting_since(), member) for member in self]
        # Who came or was answered just now may be about to ask.
        recent = self._wheel.now - 1
        resting = [(since, one) for since, one in found if since is not None and since < recent]
        resting.sort(key=lambda pair: pair[0])
        for _, member in resting[: max(1, self._most // 100)]:
            member.give_way()
        if self._wheel.now >= self._silent_until:
            self._silent_until = self._wheel.now + self._wheel.turns(_REPEAT_SECONDS)
            what = "those at rest are closed" if resting else "new ones wait until one ends"
            _log.warning(
                "%d connections are open, more are not let in (limit_connections, "
                "or the system's limit of open files): %s", self._most, what,
            )  # fmt: skip
        return bool(resting)

    # -- the end of the server -----------------------------------------------------------

    def announce_close(self) -> None:
        """Each one's next response is its last, also of those that come later."""
        self._is_announced = True
        for member in self:
            member.announce_close()

    def close_idle(self) -> None:
        """Close those that wait for nothing."""
        for member in self:
            member.close_if_idle()

    def cut(self) -> None:
        """End them all, also those that come later."""
        self._is_cut = True
        for member in self:
            member.cut()


def most_connections(limit: int) -> int:
    """The limit, or what the system allows, without a reserve for the files of the app."""
    try:
        import resource
    except ImportError:  # not on Windows
        return limit
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limit
    return max(1, min(limit, files - min(_RESERVE, files // 4)))
