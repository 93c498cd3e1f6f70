"""The states of an HTTP/1.1 connection, as tables (RFC 9112 section 9).

A connection is two machines: one for what the client sends, one for what we send. A pair
that is missing from a table is a bug in the caller and raises `LocalProtocolError`. The
pictures in the documentation are drawn from these same tables.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from ..errors import LocalProtocolError

__all__ = ["RECEIVING", "SENDING", "Receiving", "Sending", "move_receiving", "move_sending"]


class Receiving(Enum):
    """What the client is in the middle of sending."""

    HEAD = "head"
    BODY = "body"
    COMPLETE = "complete"
    FAILED = "failed"  # it broke HTTP, or left in the middle: nothing more is read as a request
    CLOSED = "closed"  # it finished between two requests: nothing more is read as one

    # Members are singletons: identity is enough, and three times as fast as Enum's own hash.
    __hash__ = object.__hash__


class Sending(Enum):
    """What we are in the middle of sending."""

    IDLE = "idle"  # there is nothing to answer
    PENDING = "pending"  # a request waits for its response
    BODY = "body"
    COMPLETE = "complete"
    CLOSED = "closed"  # the last response was sent, or broke off: nothing more may be sent

    __hash__ = object.__hash__


RECEIVING: Final[dict[tuple[Receiving, str], Receiving]] = {
    (Receiving.HEAD, "request with a body"): Receiving.BODY,
    (Receiving.HEAD, "request without a body"): Receiving.COMPLETE,
    (Receiving.HEAD, "protocol error"): Receiving.FAILED,
    (Receiving.HEAD, "end of stream"): Receiving.CLOSED,
    (Receiving.HEAD, "last response"): Receiving.CLOSED,  # unasked, e.g. to a mute client
    (Receiving.BODY, "end of body"): Receiving.COMPLETE,
    (Receiving.BODY, "protocol error"): Receiving.FAILED,
    (Receiving.BODY, "end of stream"): Receiving.FAILED,
    (Receiving.COMPLETE, "next cycle"): Receiving.HEAD,
    (Receiving.COMPLETE, "end of stream"): Receiving.CLOSED,
    (Receiving.FAILED, "end of stream"): Receiving.FAILED,
    (Receiving.CLOSED, "end of stream"): Receiving.CLOSED,
}

SENDING: Final[dict[tuple[Sending, str], Sending]] = {
    (Sending.IDLE, "request"): Sending.PENDING,
    (Sending.IDLE, "response"): Sending.BODY,  # the 4xx to something that is no request
    (Sending.PENDING, "response"): Sending.BODY,
    (Sending.BODY, "end of message"): Sending.COMPLETE,
    (Sending.BODY, "last end of message"): Sending.CLOSED,
    (Sending.COMPLETE, "next cycle"): Sending.IDLE,
}


def move_receiving(state: Receiving, event: str) -> Receiving:
    """The state after `event`.

    Raises:
        LocalProtocolError: The event cannot happen in this state.
    """
    try:
        return RECEIVING[state, event]
    except KeyError:
        raise LocalProtocolError(f"{event} while receiving is {state.value}") from None


def move_sending(state: Sending, event: str) -> Sending:
    """The state after `event`.

    Raises:
        LocalProtocolError: The event cannot happen in this state.
    """
    try:
        return SENDING[state, event]
    except KeyError:
        raise LocalProtocolError(f"{event} while sending is {state.value}") from None
