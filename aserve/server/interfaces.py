"""What connections know of their server, so that imports run one way only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from ..config import ServerConfig
from ..events import ErrorRecord, ExchangeRecord
from ..types import Environ, WSGIApp
from .buffers import Buffers
from .clock import Clock
from .gate import Collected, Gate
from .mailbox import Mailbox
from .meeting import Meeting
from .patience import Patience
from .pool import WorkerPool
from .roster import Roster

__all__ = ["Host"]


class Host(Protocol):
    """A server, as its connections use it. Loop thread, unless a method says otherwise."""

    app: WSGIApp
    config: ServerConfig
    loop: asyncio.AbstractEventLoop
    clock: Clock
    roster: Roster
    mailbox: Mailbox
    pool: WorkerPool
    # Where the loop is the server's own.
    meeting: Meeting | None
    patience: Patience
    gate: Gate
    collected: Collected
    buffers: Buffers
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
    def is_observed(self) -> bool:
        """Whether `observe` leads anywhere."""
        ...

    def observe(self, make_record: Callable[[], ExchangeRecord]) -> None:
        """Tell the observer of an exchange."""
        ...
