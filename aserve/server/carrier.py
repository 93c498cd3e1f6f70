"""A connection, as the objects around it use it: its exchange, its watch, and its end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from ..config import ServerConfig
from ..events import ErrorRecord, Event, Response
from ..types import Environ, WSGIApp
from .patience import Watched

__all__ = ["Carrier"]

_Exchange = TypeVar("_Exchange")


class Carrier(Watched, Protocol[_Exchange]):
    """See the module's docstring.

    Attributes:
        exchange: The one that is open.
    """

    # What an exchange uses from its worker thread; none of these change.
    app: WSGIApp
    environ: Environ
    config: ServerConfig
    can_send_files: bool
    # Has something called on the loop thread, in the order of the calls of one thread.
    post: Callable[[Callable[[], object]], None]
    # The worker waits for a client, and no code of the app runs in it: others may have a thread
    # more meanwhile. False: too many do.
    lend_thread: Callable[[], bool]
    # It is back.
    return_thread: Callable[[], None]
    # Send a complete response past the outbox; False when that is not for a worker to do.
    send_now: Callable[[_Exchange, Response, bytes], bool]
    # To be posted: send what is in the outbox of an exchange.
    flush: Callable[[_Exchange], None]
    # To be posted: tell the client to send its body.
    send_continue: Callable[[], None]

    # -- any thread ----------------------------------------------------------------------

    def tell_error(self, record: ErrorRecord) -> None:
        """The application has failed; the client is told next."""
        ...

    # -- posted by a worker, and so called on the loop thread ----------------------------

    def open_tunnel(self, exchange: _Exchange, sock: socket.socket) -> None:
        """The app has taken the connection; the socket is the other end of its own."""
        ...

    def end_tunnel(self) -> None:
        """And it has ended."""
        ...

    def resume_body(self) -> None:
        """Read on: what was buffered of the body is used up."""
        ...

    # -- the loop thread -----------------------------------------------------------------

    exchange: _Exchange | None

    def take_exchange(self) -> _Exchange | None:
        """It is this connection's no more."""
        ...

    def handle(self, events: Iterable[Event]) -> None:
        """What the client has sent."""
        ...

    def next_cycle(self) -> None:
        """A request is answered, and all of it was read: on to the next one."""
        ...

    def observe(self, exchange: _Exchange, *, complete: bool, client_left: bool = False) -> None:
        """Tell of an exchange that is over."""
        ...

    def cut(self) -> None:
        """End now, whatever is under way."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        ...
