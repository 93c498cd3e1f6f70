"""What a worker has made of a response, on its way to the loop.

No lock. `_items` is a deque (append and popleft are atomic); `_queued` is written by the worker
only and `_flushed` by the loop only, so their difference may be late but never wrong. A whole
response allocates no lock and no event.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Protocol, cast

from .. import native
from ..events import EndOfMessage, Response

__all__ = ["ABORT", "FileTurn", "Item", "Outbox", "Whole", "begins_event_stream"]

# How long a worker waits for its client before it lends its thread: most are quicker.
_PATIENCE_SECONDS: Final = 0.005


# Of the HTML standard, "Server-sent events": open until one side does not want it any more.
_EVENT_STREAM: Final = b"text/event-stream"


def begins_event_stream(response: Response) -> bool:
    """Whether the body behind this head never ends by itself."""
    return any(
        name.lower() == b"content-type" and value.lower().startswith(_EVENT_STREAM)
        for name, value in response.headers
    )


class Whole:
    """A complete response in the outbox."""

    __slots__ = ("body", "response")

    def __init__(self, response: Response, body: bytes) -> None:
        self.response = response
        self.body = body


class FileTurn:
    """The worker asks for the socket: everything before has to reach the kernel first."""

    __slots__ = ("descriptor", "granted")

    def __init__(self) -> None:
        self.granted = native.threading.Event()
        # A duplicate of the socket's descriptor, which the worker closes; -1 when refused.
        self.descriptor = -1


class _Abort:
    """The response cannot be completed."""


ABORT: Final = _Abort()

Item = Whole | Response | bytes | int | FileTurn | EndOfMessage | _Abort


class Patient(Protocol):
    """Who waits for the client to read. Worker thread."""

    closed: bool

    def waits(self) -> None:
        """It takes long: others may have the thread meanwhile."""
        ...

    def goes_on(self) -> None:
        """It has the thread back."""
        ...


class Outbox:
    """See the module's docstring.

    Args:
        high: Bytes of the body from which the worker waits; it goes on at half of them.
    """

    __slots__ = ("_flushed", "_high", "_is_posted", "_items", "_low", "_queued", "_space")

    def __init__(self, high: int) -> None:
        self._high = high
        self._low = high // 2
        self._items: deque[Item] = deque()
        self._queued = 0
        self._flushed = 0
        self._is_posted = False
        self._space: threading.Event | None = None

    @property
    def pending(self) -> int:
        """Bytes of the body that the loop has not taken. Any thread; late, but never wrong."""
        return self._queued - self._flushed

    # -- worker thread -------------------------------------------------------------------

    def put(self, item: Item, size: int = 0) -> bool:
        """Add an item, which is so many bytes of the body; True when the loop has to be told."""
        self._queued += size
        self._items.append(item)
        if self._is_posted:
            return False
        self._is_posted = True
        return True

    def put_head(self, response: Response) -> None:
        """It leaves with the first bytes behind it, in one packet (B49)."""
        self._items.append(response)

    def wait_for_space(self, patient: Patient) -> None:
        """Block while the client is too far behind, and it has not left."""
        if self.pending <= self._high:
            return
        if self._space is None:
            self._space = native.threading.Event()
        while True:
            # Cleared first: a flush between the test and the wait sets it again.
            self._space.clear()
            if patient.closed or self.pending <= self._low:
                return
            if not self._space.wait(_PATIENCE_SECONDS):
                patient.waits()
                try:
                    self._space.wait()
                finally:
                    patient.goes_on()

    # -- loop thread ---------------------------------------------------------------------

    def next_item(self) -> Item | None:
        """The next thing to send, or None."""
        try:
            return self._items.popleft()
        except IndexError:
            return None

    def take_whole(self) -> Whole | None:
        """A complete response, if that is all there is to send."""
        items = self._items
        if len(items) == 1 and type(items[0]) is Whole:
            self._is_posted = False
            return cast(Whole, items.popleft())
        return None

    @property
    def begins_stream(self) -> bool:
        """Whether the next thing to send is a head without all of its body."""
        return bool(self._items) and type(self._items[0]) is Response

    def begin_flush(self) -> int:
        """The number of items to send now; what the worker adds later posts another flush."""
        self._is_posted = False
        return len(self._items)

    def flushed(self, size: int) -> None:
        """The transport has taken `size` bytes: let the worker go on when there is room."""
        self._flushed += size
        space = self._space
        if space is not None and self.pending <= self._low:
            space.set()

    def close(self) -> None:
        """Nothing of it can be sent; whoever waits is told."""
        if self._space is not None:
            self._space.set()
        while (item := self.next_item()) is not None:
            if isinstance(item, FileTurn):
                item.granted.set()
