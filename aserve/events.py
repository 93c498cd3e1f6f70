"""The vocabulary of one exchange: what flows between the layers.

`Request`, `Data` and `EndOfMessage` come out of the parser; `Response`, `Data` and
`EndOfMessage` go into the serializer. `ExchangeRecord` is what is left when it is over.

`Request` and `Response` are immutable by convention and *shared*: the parser hands out the
same `Request` for the same head bytes, and `aserve.wsgi` the same `Response` for the same
status and headers. Their `derived` slot is where the next layer keeps what it computed from
them (the environ items, the rendered head), so that a repeated request costs one dictionary
look-up instead of a parse. Nothing else may be written to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .types import RawHeaders

__all__ = [
    "END_OF_MESSAGE",
    "Data",
    "EndOfMessage",
    "ErrorRecord",
    "Event",
    "ExchangeRecord",
    "Request",
    "Response",
]


@dataclass(slots=True, eq=False)
class Request:
    """The head of a request, already checked against RFC 9110 and 9112.

    Args:
        method: As sent, case kept: any token is a method (RFC 9110 section 9.1).
        target: The raw request target.
        path: The path of the target, not decoded; `*` for the asterisk form.
        query: What stands behind the first `?`, not decoded; empty without one.
        http_version: "1.0" or "1.1".
        headers: Names in lower case, values stripped, in order; `host` is already replaced
            by the authority of an absolute-form target (RFC 9112 section 3.2.2).
        host: The value of the Host header in force; empty when there is none.
        keep_alive: Whether the client wants the connection kept. It belongs to the request,
            not to the connection: with pipelining the parser is already further on.
        content_length: Body length in bytes; 0 without a body, None when it is chunked.
        expect_continue: The client waits for `100 Continue` before it sends the body.
    """

    method: str
    target: bytes
    path: bytes
    query: bytes
    http_version: str
    headers: RawHeaders
    host: bytes
    keep_alive: bool
    content_length: int | None
    expect_continue: bool
    derived: Any = None

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow the head."""
        return self.content_length != 0


@dataclass(slots=True, eq=False)
class Response:
    """The head of a response.

    Args:
        status_code: 100 to 999.
        reason: The reason phrase; may be empty.
        headers: Names as the application wrote them, in order.
        content_length: The value of Content-Length when the headers have one, else None.
    """

    status_code: int
    reason: bytes
    headers: RawHeaders
    content_length: int | None
    derived: Any = None


@dataclass(slots=True, frozen=True)
class Data:
    """A piece of a message body; never empty."""

    data: bytes


@dataclass(slots=True, frozen=True)
class EndOfMessage:
    """The message is complete."""


END_OF_MESSAGE: Final = EndOfMessage()

Event = Request | Response | Data | EndOfMessage


@dataclass(slots=True, frozen=True)
class ExchangeRecord:
    """What happened, for the access log and for tools.

    Args:
        request: The request; None when what arrived could not be parsed.
        raw_head: The first bytes of a request that could not be parsed, else empty.
        status_code: The status sent; 0 when the client left before an answer.
        body_sent: Bytes of the response body handed to the transport.
        started_at: Seconds since the epoch at which the head was complete.
        duration: Seconds from there to the last byte handed to the transport.
        client: The peer's address as text; "<local>" for a Unix socket.
        complete: Whether the client was sent all of the response.
        client_left: It was the client that ended the exchange before it was complete.
    """

    request: Request | None
    raw_head: bytes
    status_code: int
    body_sent: int
    started_at: float
    duration: float
    client: str
    complete: bool
    client_left: bool = False


@dataclass(slots=True, frozen=True)
class ErrorRecord:
    """What an application did wrong in a request, for tests and tools.

    Args:
        request: The request.
        error: What it raised, also from its iterable or `close`; a `WSGIError` when it broke WSGI.
        is_cut: Its answer had begun already, so the connection is cut; else the client gets a 500.
    """

    request: Request
    error: BaseException
    is_cut: bool
