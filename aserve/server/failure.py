"""What is said when the application fails. Worker thread."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Protocol

from ..errors import RemoteProtocolError, WSGIError
from ..events import ErrorRecord, Request
from ..safe_log import get_logger

__all__ = ["report"]

_log: Final = get_logger("aserve.error")

# What may stand between the server and the application.
_OWN_PACKAGES: Final = ("aserve.server", "aserve.wsgi", "aserve.pytest_plugin")


class _Observer(Protocol):
    def tell_error(self, record: ErrorRecord) -> None: ...


class _Failed(Protocol):
    """An exchange: `str` says which."""

    request: Request

    @property
    def connection(self) -> _Observer: ...


def report(exchange: _Failed, error: BaseException, *, is_cut: bool) -> None:
    """Log what the application raised, and tell the observer.

    Args:
        exchange: Of which request.
        error: What it raised.
        is_cut: The answer had begun, and breaks off.
    """
    if isinstance(error, RemoteProtocolError):
        # It let out what reading the body raised: the client's fault, not its own.
        _log.info("%s: the client broke the request's body: %s", exchange, error)
        return
    try:
        if isinstance(error, WSGIError):
            _log.error("%s: the application broke WSGI (PEP 3333): %s", exchange, error)
        else:
            shown = error.with_traceback(_without_own_frames(error.__traceback__))
            _log.error("%s: the application raised an exception", exchange, exc_info=shown)
    finally:
        exchange.connection.tell_error(ErrorRecord(exchange.request, error, is_cut))


def _without_own_frames(trace: TracebackType | None) -> TracebackType | None:
    """A traceback that starts in the application, which is what its author wants to see."""
    start = trace
    while start is not None and start.tb_frame.f_globals.get("__package__") in _OWN_PACKAGES:
        start = start.tb_next
    return start or trace
