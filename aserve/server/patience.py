"""How long a client may take for each thing that it is waited for.

A connection is in one phase at a time. While the app is at work nobody waits for the client, and it
has all the time it wants. `Watch` notes when the phase began, and the wheel asks it now and then
whether it has lasted too long: see `aserve.server.wheel`.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Final, Protocol

from ..config import Timeouts
from ..errors import RemoteProtocolError
from ..http.h1 import H1Connection
from ..http.state import Receiving
from ..safe_log import get_logger
from .wheel import FAR, Wheel

__all__ = ["Patience", "Phase", "Watch", "Watched", "phase_of", "shortest"]

_log: Final = get_logger("aserve.error")

# A client that takes its answer slowly is looked at so many times before its time is up: what it
# has taken is only known then.
_LOOKS: Final = 4


class Phase(Enum):
    """What a client is waited for. The value is the option that bounds it."""

    NOTHING = ""
    FIRST_BYTE = "first_byte_timeout"
    HEAD = "head_timeout"  # the rest of it
    REST = "keep_alive_timeout"  # the next request
    BODY = "body_timeout"  # more of it
    SEND = "send_timeout"  # to take more of its answer

    __hash__ = object.__hash__


_BROKEN: Final = {
    Phase.HEAD: "the request's head did not arrive within {:g} s (head_timeout)",
    Phase.BODY: "nothing of the request's body arrived for {:g} s (body_timeout)",
}


def phase_of(
    h1: H1Connection,
    transport: asyncio.Transport,
    *,
    is_at_work: bool,
    is_lingering: bool,
    is_new: bool,
) -> Phase:
    """What a client is waited for.

    Args:
        h1: The state of its connection.
        transport: Whether something waits to be sent, and whether somebody reads.
        is_at_work: The app has a request of it.
        is_lingering: What it sends is thrown away.
        is_new: It has never said anything.
    """
    if transport.get_write_buffer_size():
        return Phase.SEND
    if is_lingering or transport.is_closing():
        return Phase.NOTHING  # that has a time of its own
    if is_at_work:
        is_waited_for = (
            h1.receiving is Receiving.BODY and transport.is_reading() and not h1.is_holding_back
        )
        return Phase.BODY if is_waited_for else Phase.NOTHING
    if h1.receiving is not Receiving.HEAD:
        return Phase.NOTHING
    if h1.buffered:
        return Phase.HEAD
    return Phase.FIRST_BYTE if is_new else Phase.REST


class Patience:
    """The time-outs of a server, in turns of its wheel.

    Args:
        config: The time-outs.
        wheel: The wheel.
    """

    def __init__(self, config: Timeouts, wheel: Wheel) -> None:
        self._config = config
        self.wheel = wheel
        self.turns: dict[Phase, int] = {
            phase: wheel.turns(getattr(config, phase.value)) if phase.value else 0
            for phase in Phase
        }
        self.handshake = wheel.turns(config.handshake_timeout)
        at_rest = (self.turns[Phase.FIRST_BYTE], self.turns[Phase.REST])
        self.first_look = min(filter(None, at_rest), default=0)

    def failure(self, phase: Phase) -> RemoteProtocolError:
        """What the client is told, in HEAD and in BODY (RFC 9110 section 15.5.9)."""
        seconds = getattr(self._config, phase.value)
        return RemoteProtocolError(_BROKEN[phase].format(seconds), status_hint=408)


def shortest(config: Timeouts) -> float:
    """The shortest of the time-outs in seconds; 0 when all are off."""
    options = [phase.value for phase in Phase if phase.value] + ["handshake_timeout", "stuck_after"]
    return min(filter(None, (getattr(config, option) for option in options)), default=0.0)


class Watched(Protocol):
    """A connection, as its watch uses it. Loop thread."""

    client: str

    def phase(self) -> Phase:
        """What its client is waited for."""
        ...

    def taken(self) -> int:
        """Bytes that the client has taken late: it changes while it takes some."""
        ...

    def expire(self, phase: Phase, failure: RemoteProtocolError | None) -> None:
        """Its time is up."""
        ...


class Watch:
    """The time of one connection; filed in the wheel for as long as the connection lives.

    Args:
        connection: The connection.
        patience: The time-outs.

    Attributes:
        since: The turn in which the phase began, or in which something came last.
        is_new: Whether nothing has come yet.
        due: The wheel's note.
    """

    __slots__ = ("_connection", "_patience", "_phase", "_taken", "due", "is_new", "since", "wheel")

    def __init__(self, connection: Watched, patience: Patience) -> None:
        self._connection: Watched | None = connection
        self._patience = patience
        self._phase = Phase.FIRST_BYTE
        self._taken = 0
        self.wheel = patience.wheel
        self.since = self.wheel.now
        self.is_new = True
        self.due = -1
        self.wheel.file(self, patience.first_look)

    def answered(self) -> None:
        """A request was answered; the connection is at rest, or soon will be."""
        self.is_new = False
        self.since = self.wheel.now

    def works(self) -> None:
        """As `note`, where the app is at work for all that has come, and nobody is waited for."""
        self.is_new = False
        self._phase = Phase.NOTHING

    def rests(self) -> None:
        """As `note`, where all is answered and nothing else has come."""
        self.answered()
        if self._phase is not Phase.REST:
            self._phase = Phase.REST
            self.wheel.hasten(self, self._patience.turns[Phase.REST])

    def note(self, *, progress: bool = False) -> None:
        """Something has happened, perhaps another phase begins.

        Args:
            progress: The client has sent something. Of a head it is no excuse.
        """
        connection = self._connection
        if connection is None:
            return
        phase = connection.phase()
        self.is_new = self.is_new and phase is Phase.FIRST_BYTE
        if phase is self._phase:
            if progress and phase is not Phase.HEAD:
                self.since = self.wheel.now
            return
        self._phase = phase
        self.since = self.wheel.now
        turns = self._patience.turns[phase]
        if phase is Phase.SEND and turns:
            self._taken = connection.taken()
            turns = turns // _LOOKS or 1
        self.wheel.hasten(self, turns)

    def look(self, now: int) -> int:
        """See `Timed`."""
        connection = self._connection
        if connection is None:
            return 0
        phase = connection.phase()
        turns = self._patience.turns[phase]
        if not turns:
            return 0
        if phase is Phase.SEND:
            taken, self._taken = self._taken, connection.taken()
            if taken != self._taken:
                self.since = now
        left = self.since + turns - now
        if left > 0:
            return min(left, turns // _LOOKS or 1) if phase is Phase.SEND else left
        _log.debug("%s: time is up (%s)", connection.client, phase.value)
        failure = self._patience.failure(phase) if phase in _BROKEN else None
        connection.expire(phase, failure)
        return FAR

    def end(self) -> None:
        """The connection is gone, or nobody's time is counted any more."""
        self._connection = None
        self.wheel.forget(self)
