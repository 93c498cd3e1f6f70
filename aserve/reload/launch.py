"""What a supervisor is told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..hosts import Hosts
from .channel import Message
from .child import Child
from .content import OpenFile
from .snapshot import Interest

if TYPE_CHECKING:
    import ssl  # a Python may have been built without it

__all__ = ["Launch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to supervise.

    Args:
        sockets: Listening sockets; they stay the caller's.
        job: What a child needs to know; see `aserve.worker`.
        variables: Returns what a child is to add to its environment.
        start: Starts a process.
        typed: What the person typed, for the pages.
        interest: Which files matter beside the loaded ones; None to watch nothing.
        processes: How many serve at the same time.
        grace: Seconds that running requests may take at the end.
        reload_grace: The same at a reload.
        on_ready: Called when a generation serves, with what it says of its app.
        on_failed: Called when one cannot be loaded, with its report; True ends the supervisor.
        on_open: Called for the key that opens a browser.
        on_pin: Called for the key that shows the PIN.
        tell: Prints a line.
        write: Prints a text as it is.
        polling: Seconds between two looks at the files; None for events of the system.
        context: For the pages.
        own_hosts: Those that the pages tell what has happened.
        is_for_all: Whether the pages tell it other machines, too.
        hosts: Those that are answered at all; None for all.
        find_editor: Returns what opens the editor; None where there is none.
        first: A process that was started ahead, for the first generation.
    """

    sockets: Sequence[socket.socket]
    job: Message
    variables: Callable[[], dict[str, str]]
    start: Callable[[], Child]
    typed: str
    interest: Interest | None
    grace: float
    reload_grace: float
    on_ready: Callable[[Message], object]
    on_failed: Callable[[Message], bool]
    on_open: Callable[[], object]
    on_pin: Callable[[], object]
    tell: Callable[[str], object]
    write: Callable[[str], object]
    own_hosts: Hosts
    is_for_all: bool = False
    processes: int = 1
    polling: float | None = None
    context: ssl.SSLContext | None = None
    hosts: Hosts | None = None
    find_editor: Callable[[], OpenFile | None] = lambda: None
    first: Child | None = None
