"""What the parts of the engine know of each other, so that imports run one way only.

An exchange sees its connection as a `Carrier`, a connection its server as a `Host`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..config import ServerConfig
from ..events import ExchangeRecord
from ..types import Environ, WSGIApp
from .clock import Clock
from .mailbox import Mailbox
from .pool import WorkerPool

__all__ = ["Carrier", "Host", "Member"]


class Carrier(Protocol):
    """A connection, as its exchange uses it from the worker thread. Nothing here changes."""

    app: WSGIApp
    environ: Environ
    high_water: int
    low_water: int
    can_send_files: bool
    post: Callable[[Callable[[], object]], None]

    # Posted, and so called on the loop thread:

    def flush(self) -> None:
        """Send what is in the outbox."""
        ...

    def send_continue(self) -> None:
        """Tell the client to send its body."""
        ...

    def resume_body(self) -> None:
        """Read on: what was buffered of the body is used up."""
        ...


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

    @property
    def arriving(self) -> object | None:
        """The exchange that no thread has yet."""
        ...


class Host(Protocol):
    """A server, as its connections use it. Loop thread only."""

    app: WSGIApp
    config: ServerConfig
    loop: asyncio.AbstractEventLoop
    clock: Clock
    mailbox: Mailbox
    pool: WorkerPool
    environ: Environ

    @property
    def is_draining(self) -> bool:
        """Whether the end has begun."""
        ...

    def add(self, connection: Member) -> None:
        """A connection was made."""
        ...

    def discard(self, connection: Member) -> None:
        """A connection has ended."""
        ...

    def observe(self, make_record: Callable[[], ExchangeRecord]) -> None:
        """Tell the observer of an exchange."""
        ...
