"""What the tables of smuggled requests are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..helpers import request_bytes

__all__ = [
    "CHUNKED",
    "SMUGGLED",
    "STREAM",
    "Case",
    "head",
    "is_read",
    "is_refused",
    "post",
    "with_length",
]

SMUGGLED: Final = request_bytes(target=b"/smuggled")
# A good request in front of a bad one: the connection is in use when the fault comes.
STREAM: Final = request_bytes(target=b"/first")
CHUNKED: Final = b"Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Case:
    """One byte stream.

    Args:
        name: Shown as the test's name.
        sent: Bytes of the client.
        reason: The section of RFC 9112, or of 9110 when that stands in front, and why two readers
            may differ; the number of each CVE with the program that had it.
        seen: What the application sees: method, path and the beginning of the body.
        status: Of the refusal; None when there is none, and the connection goes on.
        is_head: The first request is a HEAD.
    """

    name: str
    sent: bytes
    reason: str
    seen: tuple[str, ...] = ()
    status: int | None = None
    is_head: bool = False


def head(line: bytes, *fields: bytes) -> bytes:
    """A head with a good Host; the fields are whole lines, whatever is in them."""
    return b"\r\n".join((line, b"Host: test", *fields, b"", b""))


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A POST request with raw field lines and a body."""
    return head(b"POST / HTTP/1.1", *fields) + body


def with_length(value: bytes, *fields: bytes) -> bytes:
    """A POST request whose body is `/smuggled`, with this Content-Length."""
    return post(b"Content-Length: " + value, *fields, body=SMUGGLED)


def is_refused(
    name: str, sent: bytes, reason: str, status: int = 400, seen: tuple[str, ...] = ()
) -> Case:
    """Nothing behind the fault is read as a request, `/smuggled` least of all."""
    return Case(name, sent if SMUGGLED in sent else sent + SMUGGLED, reason, seen, status)


def is_read(
    name: str, sent: bytes, reason: str, *seen: str, after: bytes = b"", is_head: bool = False
) -> Case:
    """Exactly these requests, and with `after` one more for `/smuggled`, because it is one."""
    more = ("GET /smuggled ",) if after else ()
    return Case(name, sent + after, reason, (*seen, *more), is_head=is_head)
