"""A whole conversation through `H1Connection`, from the client's bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

from aserve.config import Limits
from aserve.errors import RemoteProtocolError
from aserve.events import Data, EndOfMessage, Event, Request, Response
from aserve.http import H1Connection

from ..helpers import DATE, response

__all__ = ["TIGHT", "Parsed", "facts", "parse_all"]

# Small enough for mutations to run into each one of them.
TIGHT: Final = Limits(
    limit_request_line=64,
    limit_request_head=256,
    limit_request_fields=6,
    limit_chunk_overhead=64,
)


@dataclass(frozen=True)
class Parsed:
    """Everything that came out of a stream of requests."""

    messages: tuple[tuple[Request, bytes, bool], ...]
    """Head, body so far, and whether the body is complete; for each request."""
    failure: RemoteProtocolError | None
    cut: bool
    closed: bool
    """A request asked for the end of the connection."""


def facts(parsed: Parsed) -> dict[str, Any]:
    """All that can be compared."""
    names = [field.name for field in fields(Request) if field.name != "derived"]
    return {
        "messages": [
            ([getattr(request, name) for name in names], body, complete)
            for request, body, complete in parsed.messages
        ],
        "status": parsed.failure and parsed.failure.status_hint,
        "cut": parsed.cut,
        "closed": parsed.closed,
    }


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
