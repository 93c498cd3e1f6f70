"""Connections at rest, watched by whoever has nothing else to do.

A connection that is parked here belongs to nobody. Who takes it out of the table owns it: a
worker, in `wait`, when data has come; or the loop, in `reclaim`. Taking out of a dictionary is
atomic, so there is no lock. One wait at a time; parking and reclaiming from any thread.

Each registration is for one event (EPOLLONESHOT): a connection that a worker has is silent
until it is parked again, and then tells at once of what has come meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
from time import perf_counter
from typing import Final, Protocol

from .. import native
from .job import Job

__all__ = ["AVAILABLE", "Parkable", "Poller"]

# kqueue would do as well; until somebody has tried, other systems read on the loop.
AVAILABLE: Final = hasattr(select, "epoll") and hasattr(os, "eventfd")

# Events per wait: the rest comes with the next one, so that a worker's heap of jobs stays small.
_BATCH: Final = 64

# How long a wait looks again and again before it sleeps. A client on this machine often sends
# its next request within that time, and being woken takes longer.
SPIN_SECONDS: Final = 50e-6


class Parkable(Job, Protocol):
    """A job that is due when its descriptor is readable."""

    fd: int
    registered: bool


class Poller:
    """A set of parked connections. Linux only, see `AVAILABLE`."""

    def __init__(self) -> None:
        self._epoll = native.select.epoll()
        self._parked: dict[int, Parkable] = {}
        self._interruption = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._interruption, select.EPOLLIN)
        self._shut = False
        # Nobody can send while the only processor looks.
        self._spin = SPIN_SECONDS if len(os.sched_getaffinity(0)) > 1 else 0.0

    def fileno(self) -> int:
        """A descriptor that is readable when `wait` would return at once."""
        return self._epoll.fileno()

    def park(self, item: Parkable) -> bool:
        """Watch it; the caller owns it no more. Any thread.

        Returns:
            False when nothing is parked here any more: the caller still owns it.
        """
        if self.is_shut():
            return False
        if not item.registered:
            # Without an event, because from the next line on somebody else may have it, and an
            # event before it would be lost.
            item.registered = True
            self._epoll.register(item.fd, 0)
        self._parked[item.fd] = item
        # The loop may have reclaimed it in the meantime, and closed it.
        with contextlib.suppress(OSError):
            self._epoll.modify(item.fd, select.EPOLLIN | select.EPOLLONESHOT)
        # Tested again: who shuts first sets this and then reclaims.
        return not (self.is_shut() and self.reclaim(item))

    def reclaim(self, item: Parkable) -> bool:
        """Take it out; False when somebody has it already. Any thread."""
        if self._parked.pop(item.fd, None) is None:
            return False
        item.registered = False
        self._epoll.unregister(item.fd)
        return True

    def forget(self, item: Parkable) -> None:
        """It will not come back: before its descriptor is closed, whoever has it. Any thread."""
        if not self.reclaim(item) and item.registered:
            item.registered = False
            with contextlib.suppress(OSError):
                self._epoll.unregister(item.fd)

    def wait(self, timeout: float) -> list[Parkable] | None:
        """Wait up to `timeout` seconds for data; None in vain, empty when interrupted.

        Whatever is returned belongs to the caller.
        """
        events = self._poll(timeout)
        if not events:
            return None
        found = []
        for fd, _ in events:
            item = self._parked.pop(fd, None)
            if item is not None:
                found.append(item)
            elif fd == self._interruption:
                os.eventfd_read(fd)
        return found

    def _poll(self, timeout: float) -> list[tuple[int, int]]:
        """Look again and again for a moment, then sleep until there is something."""
        poll = self._epoll.poll
        events = poll(0, _BATCH)
        if events or timeout <= 0:
            return events
        until = perf_counter() + self._spin
        while perf_counter() < until:
            events = poll(0, _BATCH)
            if events:
                return events
        return poll(timeout, _BATCH)

    def interrupt(self) -> None:
        """Let the wait that is under way return, or else the next one. Any thread."""
        os.eventfd_write(self._interruption, 1)

    def shut(self) -> None:
        """From here on `park` takes nothing. Any thread."""
        self._shut = True

    def is_shut(self) -> bool:
        """Whether `shut` was called."""
        return self._shut

    def close(self) -> None:
        """Give the descriptors back, when nobody waits any more."""
        self._epoll.close()
        native.os.close(self._interruption)
