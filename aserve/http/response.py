"""The head of a response: which framing, which header fields (RFC 9110, 9112).

`render` turns a `Response` into bytes once and keeps them in its `derived` slot; what
differs from one sending to the next (Date, framing, persistence) is put behind them.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from ..errors import LocalProtocolError
from ..events import Request, Response

__all__ = ["Framing", "RenderedHead", "choose_framing", "render", "simple_response"]

SERVER: Final = b"Server: aserve\r\n"

# Connection-level fields are ours (RFC 9110 section 7.6.1): an app that copies them from an
# upstream answer must not break the framing of this one.
_OURS: Final = frozenset((b"transfer-encoding", b"keep-alive", b"connection"))


class Framing(Enum):
    """How the client finds the end of the body (RFC 9112 section 6.3)."""

    NONE = "none"  # HEAD, 1xx, 204, 304: there is no body, whatever the app yields
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  # the end of the connection is the end of the body: HTTP/1.0 only


class RenderedHead(NamedTuple):
    """The reusable part of a response head.

    Args:
        start: Status line and header fields, without the empty line.
        needs_date: The app did not set Date.
        connection: The app's own Connection options, in lower case.
    """

    start: bytes
    needs_date: bool
    connection: tuple[bytes, ...]


def render(response: Response) -> RenderedHead:
    """The rendered head, from the response's `derived` slot when it is there.

    Raises:
        LocalProtocolError: CR, LF or NUL in the reason or in a header field.
    """
    rendered = response.derived
    if rendered is None:
        rendered = response.derived = _render(response)
    return rendered  # type: ignore[no-any-return]


def _render(response: Response) -> RenderedHead:
    status = response.status_code
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, response.reason)]
    names = set()
    connection: list[bytes] = []
    for name, value in response.headers:
        key = name.lower()
        names.add(key)
        if key == b"connection":
            connection += [option.strip().lower() for option in value.split(b",")]
        # RFC 9110 section 8.6: no Content-Length in 1xx and 204.
        if key in _OURS or (key == b"content-length" and (status < 200 or status == 204)):
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    if b"server" not in names:
        lines.append(SERVER)
    start = b"".join(lines)
    sent = b"".join((start, *connection))
    # RFC 9110 section 5.5. `aserve.wsgi` names the header; this is for everybody else's.
    if b"\0" in sent or not sent.count(b"\n") == sent.count(b"\r") == len(lines):
        raise LocalProtocolError("CR, LF or NUL in the status or the headers of the response")
    return RenderedHead(
        start=start,
        needs_date=b"date" not in names,
        connection=tuple(option for option in connection if option),
    )


def choose_framing(request: Request | None, response: Response) -> Framing:
    """How the body of this response ends; `request` is None when none could be parsed."""
    status = response.status_code
    if status < 200 or status in (204, 304) or (request is not None and request.method == "HEAD"):
        return Framing.NONE
    if response.content_length is not None:
        return Framing.LENGTH
    if request is not None and request.http_version == "1.1":
        return Framing.CHUNKED
    return Framing.CLOSE


# The statuses of the server's own answers.
_REASONS: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    505: b"HTTP Version Not Supported",
}


def simple_response(status_code: int, text: str) -> tuple[Response, bytes]:
    """A short answer of the server's own, in plain text."""
    body = text.encode() + b"\n"
    headers = (
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
    )
    return Response(status_code, _REASONS[status_code], headers, len(body)), body
