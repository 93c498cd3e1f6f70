"""From the worker threads to whoever waits: answers by their state, and requests in a queue.

The program may wait on any loop, asyncio's or trio's, and the server's loop may be in another
thread. So nothing here belongs to a loop but the wakers, which know theirs. No lock: each slot is
taken by whoever pops its only token, and a waiter registers before it looks.
"""

from __future__ import annotations

import contextlib
import hmac
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, TypeVar

from ..errors import AserveError
from ..portal import is_trio

__all__ = ["Bell", "Feed", "Feeds", "Inbox", "Slot", "Verdict"]

# Requests that nobody has asked for yet; the sender of a webhook tries again later.
_MOST_WAITING: Final = 1000
_MOST_BYTES_WAITING: Final = 16 * 1024 * 1024

_T = TypeVar("_T")


class Verdict(Enum):
    """What became of an answer."""

    TAKEN = "taken"
    REPEATED = "repeated"  # one for the same state was taken before
    FOREIGN = "foreign"  # nobody waits for this state


class Bell:
    """Wakes one task, from any thread. Made in the task's loop."""

    def __init__(self) -> None:
        import anyio

        self._event = anyio.Event()
        self._schedule = _scheduler()

    def ring(self) -> None:
        """Any thread; too late is no error."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._schedule(self._event.set)

    async def wait(self) -> None:
        """Until it was rung."""
        await self._event.wait()


def _scheduler() -> Callable[[Callable[[], object]], object]:
    if is_trio():
        import trio

        token = trio.lowlevel.current_trio_token()
        return lambda function: token.run_sync_soon(function, idempotent=True)
    import asyncio

    return asyncio.get_running_loop().call_soon_threadsafe


@dataclass(eq=False)
class Slot:
    """The place for the one answer to one state.

    Args:
        params: What came, once it is taken.
        sent_as: Method and target of the request that brought it; None if it was fed.
        is_done: The answer page is out as well.
    """

    params: dict[str, str] | None = None
    sent_as: tuple[str, bytes] | None = None
    is_done: bool = False
    _token: list[None] = field(default_factory=lambda: [None])
    _bells: list[Bell] = field(default_factory=list)

    def take(self, params: dict[str, str], sent_as: tuple[str, bytes] | None) -> bool:
        """Whether this answer is the one; only the first is. Any thread."""
        try:
            self._token.pop()
        except IndexError:
            return False
        self.sent_as = sent_as
        self.params = params
        return True

    def finish(self) -> None:
        """Wake who waits. Any thread."""
        self.is_done = True
        self.ring()

    def ring(self) -> None:
        """Have the waiters look again. Any thread."""
        for bell in list(self._bells):
            bell.ring()

    async def wait(self, is_over: Callable[[], bool]) -> None:
        """Until it is done, or `is_over` after a ring."""
        bell = Bell()
        self._bells.append(bell)
        try:
            if not (self.is_done or is_over()):
                await bell.wait()
        finally:
            self._bells.remove(bell)


class Inbox:
    """The slots of one server.

    Args:
        state: The first state to expect; None to take the first answer, whatever its state.
        issuer: What `iss` has to be; None for anything.
    """

    def __init__(self, state: str | None, issuer: str | None) -> None:
        self._checks_state = state is not None
        self._issuer = issuer
        self._slots: dict[str, Slot] = {state or "": Slot()}
        self.is_closed = False

    def slot(self, state: str) -> Slot:
        """The slot of a state, which is expected from here on. Any thread."""
        return self._slots.setdefault(state if self._checks_state else "", Slot())

    def take(
        self, params: Mapping[str, str], sent_as: tuple[str, bytes] | None = None
    ) -> tuple[Verdict, Slot | None]:
        """Put an answer where it belongs; `finish` of the slot is up to the caller. Any thread.

        Args:
            params: Its parameters.
            sent_as: Method and target of the request.
        """
        slot = self._find(params.get("state", "")) if params else None
        # RFC 9207 section 2.4: an answer of another server than the one that was asked.
        if self._issuer is not None and not _is_same(params.get("iss", ""), self._issuer):
            slot = None
        if slot is None:
            return Verdict.FOREIGN, None
        taken = slot.take(dict(params), sent_as)
        return (Verdict.TAKEN if taken else Verdict.REPEATED), slot

    def on_sent(self, method: str, target: bytes) -> None:
        """The answer to a request is out. Any thread."""
        for slot in list(self._slots.values()):
            if not slot.is_done and slot.sent_as == (method, target):
                slot.finish()

    async def wait(self, slot: Slot) -> dict[str, str]:
        """What came into a slot.

        Raises:
            AserveError: The server was closed before.
        """
        await slot.wait(lambda: self.is_closed)
        if slot.params is None:
            raise AserveError("the callback server was closed before a callback came")
        return dict(slot.params)

    def close(self) -> None:
        """Nothing more will come. Any thread."""
        self.is_closed = True
        for slot in list(self._slots.values()):
            slot.ring()

    def _find(self, state: str) -> Slot | None:
        if not self._checks_state:
            return self._slots[""]
        found = None
        # All of them in the same time: how long it takes tells nothing about any (RFC 6819, 4.4).
        for expected, slot in list(self._slots.items()):
            if _is_same(state, expected):
                found = slot
        return found


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


class Feed(Generic[_T]):
    """An async iterator over what is put into it, from any thread, until it is closed."""

    def __init__(self) -> None:
        self._items: deque[tuple[_T, int]] = deque()
        self._bell: Bell | None = None
        self._is_closed = False

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may wait in it; of one that is empty, always."""
        waiting = [each for _, each in list(self._items)]
        return not waiting or (
            len(waiting) < _MOST_WAITING and sum(waiting) + size <= _MOST_BYTES_WAITING
        )

    def put(self, item: _T, size: int) -> None:
        """Any thread."""
        self._items.append((item, size))
        self._ring()

    def close(self) -> None:
        """What is in it is still handed out. Any thread."""
        self._is_closed = True
        self._ring()

    def __aiter__(self) -> Feed[_T]:
        return self

    async def __anext__(self) -> _T:
        while not self._items:
            if self._is_closed:
                raise StopAsyncIteration
            self._bell = Bell()
            # Looked at behind the bell is in its place: who puts rings it afterwards.
            if not (self._items or self._is_closed):
                await self._bell.wait()
        return self._items.popleft()[0]

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.ring()


class Feeds(Generic[_T]):
    """Every feed that somebody still holds: what nobody can read is not kept."""

    def __init__(self) -> None:
        self._feeds: list[weakref.ref[Feed[_T]]] = []

    def open(self) -> Feed[_T]:
        """Another one; what was put before is not in it. The program's thread."""
        feed: Feed[_T] = Feed()
        self._feeds = [ref for ref in self._feeds if ref() is not None] + [weakref.ref(feed)]
        return feed

    def put(self, item: _T, size: int) -> bool:
        """Whether there was room for it, which holds so many bytes. Any thread."""
        feeds = self._live()
        if not all(feed.has_room(size) for feed in feeds):
            return False
        for feed in feeds:
            feed.put(item, size)
        return True

    def close(self) -> None:
        """Any thread."""
        for feed in self._live():
            feed.close()

    def _live(self) -> list[Feed[_T]]:
        return [feed for ref in self._feeds if (feed := ref()) is not None]
