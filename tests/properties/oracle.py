"""One request, read by us and by h11: where both accept it, they must have read the same one."""

from __future__ import annotations

import h11

from aserve.config import Limits
from aserve.events import Data, EndOfMessage, Event, Request
from aserve.http import H1Connection

from ..helpers import DATE

__all__ = ["by_h11", "by_us", "compare", "compare_all"]


def by_h11(data: bytes) -> tuple[h11.Request, bytes, bytes, bool] | None:
    """Request, body, what is left, and whether it is the last; None when refused or cut off."""
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
                last = connection.their_state is h11.MUST_CLOSE
                return request, body, connection.trailing_data[0], last
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


def compare(data: bytes) -> int | None:
    """Fail when the two disagree; the bytes behind a request that both accept."""
    theirs, ours = by_h11(data.lstrip(b"\r\n")), by_us(data)
    if theirs is None or ours is None:
        return None
    assert ours[0].method.encode() == theirs[0].method
    assert ours[0].target == theirs[0].target
    assert ours[0].http_version.encode() == theirs[0].http_version
    assert ours[1] == theirs[1]
    # Where one server ends a request and another one does not, requests are smuggled.
    assert ours[2] == len(theirs[2])
    if ours[0].http_version == "1.1":  # h11 knows no keep-alive in HTTP/1.0
        assert ours[0].keep_alive is not theirs[3]
    hidden = {b"host", b"transfer-encoding"}  # h11 lowers the one, absolute-form replaces the other
    assert [item for item in ours[0].headers if item[0] not in hidden] == [
        item for item in theirs[0].headers if item[0] not in hidden
    ]
    return ours[2]


def compare_all(data: bytes) -> int:
    """`compare` one request behind the other; how many both accept."""
    count = 0
    while data and (left := compare(data)) is not None:
        data = data[len(data) - left :]
        count += 1
    return count
