"""What is told of exchanges, for the access log and for tools."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time
from typing import Final

from ..events import ExchangeRecord, Request
from ..safe_log import get_logger
from .exchange import Exchange

__all__ = ["record_of", "refusal_of", "tell"]

_log: Final = get_logger("aserve.error")


def tell(
    observer: Callable[[ExchangeRecord], object], make_record: Callable[[], ExchangeRecord]
) -> None:
    """Tell an observer of an exchange; its failure is its own. Loop thread."""
    try:
        observer(make_record())
    except Exception:
        _log.exception("on_exchange has failed; the server goes on")


def record_of(
    exchange: Exchange, client: str, *, complete: bool, client_left: bool
) -> ExchangeRecord:
    """What happened in an exchange. Loop thread."""
    return ExchangeRecord(
        request=exchange.request,
        raw_head=b"",
        status_code=exchange.status_code,
        body_sent=exchange.sent,
        started_at=exchange.started_at,
        duration=(exchange.ended_clock or perf_counter()) - exchange.started_clock,
        client=client,
        complete=complete,
        client_left=client_left,
    )


def refusal_of(
    request: Request | None, head: bytes, status_code: int, size: int, client: str
) -> ExchangeRecord:
    """A request that the server has answered itself, because it was broken. Loop thread."""
    return ExchangeRecord(
        request=request,
        raw_head=head,
        status_code=status_code,
        body_sent=size,
        started_at=time(),
        duration=0.0,
        client=client,
        complete=True,
    )
