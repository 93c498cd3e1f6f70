"""What connections and their server know of each other, so that imports run one way only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from ..config import ServerConfig
from ..events import ErrorRecord, ExchangeRecord
from ..types import Environ, WSGIApp
from .clock import Clock
from .gate import Collected, Gate
from .mailbox import Mailbox
from .meeting import Meeting
from .patience import Patience
from .pool import WorkerPool

__all__ = ["Host", "Member"]


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


class Host(Protocol):
    """A server, as its connections use it. Loop thread, unless a method says otherwise."""

    app: WSGIApp
    config: ServerConfig
    loop: asyncio.AbstractEventLoop
    clock: Clock
    mailbox: Mailbox
    pool: WorkerPool
    # Where the loop is the server's own.
    meeting: Meeting | None
    patience: Patience
    gate: Gate
    collected: Collected
    environ: Environ
    # Takes connections that are at rest when the server stops, and what was read of them.
    hand_over: Callable[[socket.socket, bytes], object] | None
    # Wants to know what the application does wrong. Called in worker threads.
    on_error: Callable[[ErrorRecord], object] | None

    @property
    def is_draining(self) -> bool:
        """Whether the end has begun."""
        ...

    @property
    def is_shut(self) -> bool:
        """Whether `shutdown` was called, and the end may not have begun yet. Any thread."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether no more connections are to be let in."""
        ...

    def make_room(self) -> bool:
        """Close some that are at rest; False when there are none."""
        ...

    def add(self, connection: Member) -> None:
        """A connection was made."""
        ...

    def replace(self, handshake: Member, connection: Member) -> None:
        """A handshake has become a connection."""
        ...

    def discard(self, connection: Member) -> None:
        """A connection has ended."""
        ...

    @property
    def is_observed(self) -> bool:
        """Whether `observe` leads anywhere."""
        ...

    def observe(self, make_record: Callable[[], ExchangeRecord]) -> None:
        """Tell the observer of an exchange."""
        ...
