"""A whole conversation through `H1Connection`, from the client's bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aserve.config import Limits
from aserve.errors import RemoteProtocolError
from aserve.events import Data, EndOfMessage, Event, Request, Response
from aserve.http import H1Connection

from ..helpers import DATE, response

__all__ = ["Parsed", "parse_all"]


@dataclass(frozen=True)
class Parsed:
    """Everything that came out of a stream of requests."""

    messages: tuple[tuple[Request, bytes, bool], ...]
    """Head, body so far, and whether the body is complete; for each request."""
    failure: RemoteProtocolError | None
    cut: bool
    closed: bool
    """A request asked for the end of the connection."""


def parse_all(pieces: Iterable[bytes], limits: Limits) -> Parsed:
    """Feed `pieces`, answer each request as soon as it is complete, and finish with the end."""
    connection = H1Connection(limits, lambda: DATE)
    events: list[Event] = []

    def take(new: list[Event]) -> bool:
        """Whether the connection goes on."""
        while new:
            events.extend(new)
            if type(new[-1]) is not EndOfMessage:
                break
            connection.send_whole(response(204), b"")
            if not connection.keep_alive:
                return False
            new = connection.next_cycle()
        return True

    goes_on = True
    for piece in pieces:
        if goes_on:
            goes_on = take(connection.receive_data(piece))
    cut = goes_on and connection.receive_eof()
    return Parsed(_messages(events), connection.failure, cut, not goes_on)


def _messages(events: list[Event]) -> tuple[tuple[Request, bytes, bool], ...]:
    found: list[tuple[Request, bytes, bool]] = []
    for event in events:
        if isinstance(event, Request):
            found.append((event, b"", False))
            continue
        request, body, done = found.pop()
        assert not done
        assert not isinstance(event, Response)
        found.append(
            (request, body + event.data, False)
            if isinstance(event, Data)
            else (request, body, True)
        )
    return tuple(found)
