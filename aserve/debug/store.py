"""What is kept for a while: the reports that pages ask about."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from .. import native

__all__ = ["Dropped", "Elsewhere", "Store", "Unknown"]

T = TypeVar("T")

# The process in hexadecimal, what tells it from an earlier one of that number, the rest.
_ID: Final = re.compile(r"(?P<owner>(?P<pid>[0-9a-f]{1,10})\.[\w-]{6})\.[\w-]{22}", re.ASCII)


class Dropped(LookupError):
    """This process had it, and let it go: too old, or too many came after it."""


class Elsewhere(LookupError):
    """Another process made this id; it may have ended.

    Args:
        pid: Its number.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(f"kept by process {pid}")
        self.pid = pid


class Unknown(LookupError):
    """No process made this id."""


class Store(Generic[T]):
    """Keeps the latest items, each for a limited time; those of one shelf push out no others.

    What is too old goes by itself: while something is kept there is a daemon thread that waits
    for it. A fork begins with nothing, and with ids of its own. All methods: any thread.

    Args:
        limit: How many are kept on a shelf.
        seconds: For how long.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        limit: int = 10,
        seconds: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._begin()
        _stores.add(self)

    def _begin(self, inherited: object = None) -> None:
        # Never asked for, but finalizers in a fork would end what the parent goes on using.
        self._inherited = inherited
        # Reentrant: what is collected while it is held may add something.
        self._lock = native.threading.RLock()
        self._items: dict[str, tuple[float, str, T]] = {}
        self._reaper: threading.Event | None = None
        self._owner = f"{os.getpid():x}.{secrets.token_urlsafe(8)[:6]}"

    def add(self, item: T, shelf: str = "") -> str:
        """Keep the item, and perhaps let go of the oldest one of its shelf.

        Returns:
            Its id, from the characters that need no escape in a URL.
        """
        key = f"{self._owner}.{secrets.token_urlsafe(16)}"
        with self._lock:
            self._items[key] = (self._clock() + self._seconds, shelf, item)
            gone = self._take_old()
            if self._items and self._reaper is None:
                self._start_reaper()
        # Here, and not under the lock, for their finalizers may do anything.
        gone.clear()
        return key

    def get(self, key: str) -> T:
        """Return the item with this id.

        Raises:
            Dropped: It was kept here once.
            Elsewhere: Another process made the id.
            Unknown: It is no id.
        """
        with self._lock:
            gone = self._take_old()
            found = self._items.get(key)
        gone.clear()
        if found is not None:
            return found[2]
        match = _ID.fullmatch(key)
        if match is None:
            raise Unknown(key[:80])
        if match["owner"] != self._owner:
            raise Elsewhere(int(match["pid"], 16))
        raise Dropped(key)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            gone, self._items = self._items, {}
            self._release_reaper()
        gone.clear()

    def __len__(self) -> int:
        with self._lock:
            gone = self._take_old()
            count = len(self._items)
        gone.clear()
        return count

    def _take_old(self) -> list[T]:
        """Remove what is too old or too much; the caller drops it without the lock."""
        now = self._clock()
        gone = []
        counts = Counter(shelf for _, shelf, _ in self._items.values())
        for key, (expiry, shelf, item) in list(self._items.items()):
            if expiry <= now or counts[shelf] > self._limit:
                gone.append(item)
                counts[shelf] -= 1
                self._items.pop(key, None)
        if not self._items:
            self._release_reaper()
        return gone

    def _start_reaper(self) -> None:
        wake = native.threading.Event()
        # The thread must not keep the store; when that goes, it ends.
        store = weakref.ref(self, lambda _: wake.set())
        thread = native.threading.Thread(
            target=_reap, args=(store, wake), name="aserve-debug-store", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            return  # at the end of the process, or of its threads: then age is seen when asked
        self._reaper = wake

    def _release_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.set()
            self._reaper = None

    def _reap_old(self, wake: threading.Event) -> float | None:
        """Returns seconds until there is something to do; None if the thread has to end."""
        with self._lock:
            gone = self._take_old()
            delay = None
            if self._reaper is wake:
                # 0.05: a clock that is not the system's may stand still.
                delay = max(0.05, next(iter(self._items.values()))[0] - self._clock())
        gone.clear()
        return delay


def _reap(ref: weakref.ref[Store[Any]], wake: threading.Event) -> None:
    while (store := ref()) is not None:
        delay = store._reap_old(wake)
        del store
        if delay is None or wake.wait(delay):
            return


_stores: Final[weakref.WeakSet[Store[Any]]] = weakref.WeakSet()


def _after_fork() -> None:
    # The lock may have been held, the thread is not there, and the items are the parent's.
    for store in list(_stores):
        store._begin((store._items, store._inherited))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
