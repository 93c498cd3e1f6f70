"""The life of a server, as a table."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["TRANSITIONS", "ServerState"]


class ServerState(Enum):
    """The life of a server."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"  # accepts nothing, finishes what runs
    CLOSED = "closed"


TRANSITIONS: Final[dict[tuple[ServerState, str], ServerState]] = {
    (ServerState.STARTING, "start"): ServerState.SERVING,
    (ServerState.STARTING, "closed"): ServerState.CLOSED,
    (ServerState.SERVING, "shutdown"): ServerState.DRAINING,
    (ServerState.DRAINING, "closed"): ServerState.CLOSED,
}
