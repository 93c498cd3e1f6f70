"""The end of a server: what runs is finished, and what takes too long is named and cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final

from ..safe_log import get_logger
from .accepting import PAUSE, Listener
from .mailbox import Mailbox
from .pool import WorkerPool
from .report import describe
from .roster import Roster

__all__ = ["Drain"]

_log: Final = get_logger("aserve.error")

# How long an event stream that was ended has for the item under way and its `close()`: a view that
# waits for the next event may wait for ever.
_STREAM_SECONDS: Final = 0.2
# When a person who stops the server is told what it waits for: most requests are over by then.
_ANNOUNCE_SECONDS: Final = 0.1


class Drain:
    """See the module's docstring. Loop thread.

    Args:
        loop: The loop.
        roster: The connections.
        pool: The workers; closed when they have nothing to do any more.
        mailbox: What they have left.
        changed: Set when a connection has left, and here.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        roster: Roster,
        pool: WorkerPool,
        mailbox: Mailbox,
        changed: asyncio.Event,
    ) -> None:
        self._loop = loop
        self._roster = roster
        self._pool = pool
        self._mailbox = mailbox
        self._changed = changed
        self._is_pool_empty = False
        self._is_cut = False
        self._cut_reason = ""

    def pool_is_empty(self) -> None:
        """The last worker has left."""
        self._is_pool_empty = True
        self._changed.set()

    def cut(self, reason: str) -> None:
        """Wait for nobody any more."""
        self._is_cut = True
        self._cut_reason = reason
        self._changed.set()

    async def run(
        self, grace: float, listeners: Iterable[Listener], close_sockets: Callable[[], object]
    ) -> None:
        """Take at most so many seconds; afterwards no connection is left.

        Args:
            grace: Seconds.
            listeners: Who still lets connections in.
            close_sockets: Ends that.
        """
        self._mailbox.deliver()  # what workers left there without a wake-up
        cut_timer = self._loop.call_later(grace, self.cut, "Cut at the end of the grace")
        patience = min(_ANNOUNCE_SECONDS, grace / 2)
        announcement = self._loop.call_later(patience, self._announce, grace)
        try:
            await self._empty_backlog(listeners, close_sockets)
            self._roster.close_idle()
            await self._until(lambda: not self._roster)
            if not self._roster:
                # A response may be out while its `close()` still runs: the grace covers it too.
                self._pool.close()
                await self._let_jobs_end()
            for line in self._under_way():
                _log.warning("%s: %s", self._cut_reason, line)
        finally:
            self._roster.cut()
            self._pool.close()
            while self._roster:  # `abort` takes effect in the next turn of the loop
                self._changed.clear()
                await self._changed.wait()
            cut_timer.cancel()
            announcement.cancel()

    def _announce(self, grace: float) -> None:
        for line in self._under_way():
            _log.info("Waiting up to %g s for %s", grace, line)

    def _under_way(self) -> list[str]:
        """What keeps the server from closing, a line each."""
        running = self._pool.running()
        lines = [describe(one) for one in running if not one.job.is_over()]
        arriving = [member.arriving for member in self._roster]
        return lines + [f"{item} (its body is still arriving)" for item in arriving if item]

    async def _let_jobs_end(self) -> None:
        """Wait for the workers; for those of event streams that were ended only a moment."""
        while not (self._is_pool_empty or self._is_cut):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STREAM_SECONDS):
                    await self._until(lambda: self._is_pool_empty)
            if all(one.job.is_over() for one in self._pool.running()):
                return

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition or for the end of the grace."""
        while not condition() and not self._is_cut:
            self._changed.clear()
            await self._changed.wait()

    async def _empty_backlog(
        self, listeners: Iterable[Listener], close_sockets: Callable[[], object]
    ) -> None:
        """Accept what has arrived, so that nobody who was let in is thrown out unanswered."""
        is_empty = False
        while not (is_empty or self._is_cut):
            is_empty = all(one.accept_all() for one in listeners)
            if is_empty:
                close_sockets()
            # One turn reads what has arrived; the next one is behind it.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not is_empty:
                # Out of descriptors: who is idle leaves, and so does who is answered.
                self._roster.close_idle()
                await asyncio.sleep(PAUSE)
        close_sockets()
