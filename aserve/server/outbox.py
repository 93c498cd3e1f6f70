"""What may stand in an exchange's outbox besides the pieces of a body."""

from __future__ import annotations

from typing import Final

from .. import native
from ..events import EndOfMessage, Response

__all__ = ["ABORT", "FileTurn", "Item", "Whole"]


class Whole:
    """A complete response in the outbox."""

    __slots__ = ("body", "response")

    def __init__(self, response: Response, body: bytes) -> None:
        self.response = response
        self.body = body


class FileTurn:
    """The worker asks for the socket: everything before has to reach the kernel first."""

    __slots__ = ("descriptor", "granted")

    def __init__(self) -> None:
        self.granted = native.threading.Event()
        # A duplicate of the socket's descriptor, which the worker closes; -1 when refused.
        self.descriptor = -1


class _Abort:
    """The response cannot be completed."""


ABORT: Final = _Abort()

Item = Whole | Response | bytes | int | FileTurn | EndOfMessage | _Abort
