"""h11 as a second opinion: where both accept a request, they must have read the same one."""

from __future__ import annotations

import h11
from hypothesis import assume, given

from aserve.config import Limits
from aserve.events import Data, EndOfMessage, Event, Request
from aserve.http import H1Connection

from ..helpers import DATE
from .strategies import mutated, requests


def by_h11(data: bytes) -> tuple[h11.Request, bytes, bytes] | None:
    """Request, body, and what is left; None when h11 refuses it or wants more."""
    connection = h11.Connection(h11.SERVER)
    body = b""
    request: h11.Request | None = None
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return request, body, connection.trailing_data[0]
            else:
                return None
    except h11.RemoteProtocolError:
        return None


def by_us(data: bytes) -> tuple[Request, bytes, int] | None:
    """Request, body, and how much is left; None when we refuse it or want more."""
    connection = H1Connection(Limits(), lambda: DATE)
    events: list[Event] = connection.receive_data(data)
    if not events or not isinstance(events[-1], EndOfMessage):
        return None
    request = events[0]
    assert isinstance(request, Request)
    body = b"".join(event.data for event in events if isinstance(event, Data))
    return request, body, connection.buffered


def compare(data: bytes) -> bool:
    """Fail when the two disagree; whether both accept."""
    theirs, ours = by_h11(data.lstrip(b"\r\n")), by_us(data)
    if theirs is None or ours is None:
        return False
    assert ours[0].method.encode() == theirs[0].method
    assert ours[0].target == theirs[0].target
    assert ours[0].http_version.encode() == theirs[0].http_version
    assert ours[1] == theirs[1]
    # Where one server ends a request and another one does not, requests are smuggled.
    assert ours[2] == len(theirs[2])
    hidden = {b"host", b"transfer-encoding"}  # h11 lowers the one, absolute-form replaces the other
    assert [item for item in ours[0].headers if item[0] not in hidden] == [
        item for item in theirs[0].headers if item[0] not in hidden
    ]
    return True


@given(requests())
def test_good_requests(data: bytes) -> None:
    """h11 takes no spaces in front of a chunk extension, and no UTF-8 in targets."""
    assert by_us(data) is not None
    assert compare(data) or b" ;" in data or b"\xc3" in data


@given(mutated())
def test_broken_requests(data: bytes) -> None:
    assume(compare(data))
