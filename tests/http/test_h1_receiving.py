"""`H1Connection`: from bytes to events."""

from __future__ import annotations

import pytest

from aserve.config import Limits
from aserve.errors import LocalProtocolError
from aserve.events import END_OF_MESSAGE, Data, Request
from aserve.http.h1 import CONTINUE
from aserve.http.state import Receiving, Sending

from ..helpers import ConnPair, Headers, chunked, request_bytes, response

EXPECT = (b"Expect", b"100-continue")
CHUNKED = (b"Transfer-Encoding", b"chunked")


@pytest.fixture
def pair() -> ConnPair:
    return ConnPair()


def test_request_without_a_body(pair: ConnPair) -> None:
    request, end = pair.feed(request_bytes())
    assert isinstance(request, Request)
    assert pair.server.request is request
    assert end is END_OF_MESSAGE
    assert pair.server.receiving is Receiving.COMPLETE
    assert pair.server.sending is Sending.PENDING
    assert pair.server.unread == 0


def test_request_with_a_body(pair: ConnPair) -> None:
    """`Data` as it comes, never held back."""
    head = request_bytes(b"POST", headers=[(b"Content-Length", b"5")])
    assert [type(event) for event in pair.feed(head)] == [Request]
    assert pair.server.unread == 5
    assert pair.feed(b"123") == [Data(b"123")]
    assert pair.server.unread == 2
    assert pair.feed(b"45") == [Data(b"45"), END_OF_MESSAGE]


def test_head_and_body_in_one_read(pair: ConnPair) -> None:
    events = pair.feed(request_bytes(b"POST", body=b"hello"))
    assert events[1:] == [Data(b"hello"), END_OF_MESSAGE]


def test_chunked_body(pair: ConnPair) -> None:
    """RFC 9112 section 7.1; B38."""
    events = pair.feed(request_bytes(b"POST", headers=[CHUNKED], body=chunked(b"a", b"bc")))
    assert events[1:] == [Data(b"abc"), END_OF_MESSAGE]


def test_unread_of_chunks_is_unknown(pair: ConnPair) -> None:
    pair.feed(request_bytes(b"POST", headers=[CHUNKED]))
    assert pair.server.unread is None


def test_byte_by_byte(pair: ConnPair) -> None:
    events = []
    for byte in b"\r\n" + request_bytes(b"POST", body=b"ab"):
        events += pair.feed(bytes([byte]))
    assert events[1:] == [Data(b"a"), Data(b"b"), END_OF_MESSAGE]


def test_empty_line_in_front_of_a_request_in_one_read(pair: ConnPair) -> None:
    """RFC 9112 section 2.2."""
    assert len(pair.feed(b"\r\n" + request_bytes())) == 2


def test_pipelined_requests_wait_for_their_turn(pair: ConnPair) -> None:
    """RFC 9112 section 9.3.2."""
    second = request_bytes(b"POST", b"/2", body=b"two")
    first, _ = pair.feed(request_bytes(target=b"/1") + second)
    assert pair.server.buffered == len(second)
    assert pair.server.buffered_data == second
    third = request_bytes(target=b"/3")
    assert pair.feed(third) == []
    assert pair.server.request is first
    targets = []
    for _ in range(3):
        assert pair.server.request is not None
        targets.append(pair.server.request.target)
        pair.server.send_whole(response(204), b"")
        pair.server.next_cycle()
    assert targets == [b"/1", b"/2", b"/3"]
    assert pair.server.receiving is Receiving.HEAD


def test_next_cycle_needs_both_messages_complete(pair: ConnPair) -> None:
    pair.feed(request_bytes(b"POST", headers=[(b"Content-Length", b"5")]))
    with pytest.raises(LocalProtocolError, match="next cycle while receiving is body"):
        pair.server.next_cycle()
    pair.feed(b"hello")
    with pytest.raises(LocalProtocolError, match="next cycle while sending is pending"):
        pair.server.next_cycle()
    pair.server.send_whole(response(204), b"")
    assert pair.server.next_cycle() == []


def test_no_next_cycle_behind_the_last_response(pair: ConnPair) -> None:
    """RFC 9112 section 9.6: what follows a request with `close` is not a request."""
    pair.feed(request_bytes(headers=[(b"Connection", b"close")]) + request_bytes())
    pair.server.send_whole(response(204), b"")
    with pytest.raises(LocalProtocolError, match="ends with the current response"):
        pair.server.next_cycle()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: test\r\n\r\n", 505),
        (b"CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: \x00\r\n\r\n", 400),
        (b"hello\r\n", 400),
        (b"GET /" + b"a" * 65_536, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 65_536, 431),
    ],
)
def test_broken_head(pair: ConnPair, data: bytes, status: int) -> None:
    """RFC 9112 section 2.2: answered, and nothing behind it is read."""
    assert pair.feed(data) == []
    server = pair.server
    assert server.failure is not None
    assert server.failure.status_hint == status
    assert server.failed_head == data[:256]
    assert server.receiving is Receiving.FAILED
    assert pair.feed(request_bytes()) == []
    assert not server.receive_eof()
    assert b"Connection: close" in server.send_whole(response(status), b"")
    assert server.sending is Sending.CLOSED


def test_broken_body_behind_good_bytes(pair: ConnPair) -> None:
    """RFC 9112 section 7.1; the head is not what is shown in the log."""
    events = pair.feed(request_bytes(b"POST", headers=[CHUNKED], body=b"2\r\nok\r\nzzz\r\n"))
    assert events[1:] == [Data(b"ok")]
    assert pair.server.failure is not None
    assert pair.server.failed_head == b""
    assert pair.server.receiving is Receiving.FAILED
    assert pair.server.sending is Sending.PENDING


def test_broken_second_request(pair: ConnPair) -> None:
    pair.feed(request_bytes() + b"nonsense\r\n")
    pair.server.send_whole(response(204), b"")
    assert pair.server.next_cycle() == []
    assert pair.server.failure is not None
    assert pair.server.request is None


def test_limits_are_the_configured_ones() -> None:
    pair = ConnPair(Limits(limit_request_fields=1))
    pair.feed(request_bytes(headers=[(b"A", b"1")]))
    assert pair.server.failure is not None
    assert pair.server.failure.status_hint == 431


# -- the end of what the client sends ------------------------------------------------------


def test_end_between_requests(pair: ConnPair) -> None:
    assert not pair.server.receive_eof()
    assert pair.server.receiving is Receiving.CLOSED
    assert pair.feed(request_bytes()) == []


@pytest.mark.parametrize(
    "data", [b"GET", request_bytes(b"POST", headers=[(b"Content-Length", b"5")]) + b"123"]
)
def test_end_in_the_middle_of_a_request(pair: ConnPair, data: bytes) -> None:
    """RFC 9112 section 8: it is incomplete, whatever has come of it."""
    pair.feed(data)
    assert pair.server.receive_eof()


def test_end_behind_a_request(pair: ConnPair) -> None:
    """RFC 9112 section 9.6: it still gets its answer, which is the last one."""
    pair.feed(request_bytes())
    assert not pair.server.receive_eof()
    assert b"Connection: close" in pair.server.send_whole(response(204), b"")
    assert pair.server.sending is Sending.CLOSED


def test_end_behind_pipelined_requests(pair: ConnPair) -> None:
    """RFC 9112 section 9.3.2: each of them gets its answer (`nc -N` with two requests)."""
    pair.feed(request_bytes(target=b"/1") + request_bytes(target=b"/2"))
    assert not pair.server.receive_eof()
    assert b"Connection" not in pair.server.send_whole(response(204), b"")
    request, _ = pair.server.next_cycle()
    assert isinstance(request, Request)
    assert request.target == b"/2"
    assert b"Connection: close" in pair.server.send_whole(response(204), b"")


def test_end_behind_three_pipelined_requests(pair: ConnPair) -> None:
    pair.feed(request_bytes() * 3)
    pair.server.receive_eof()
    for left in (2, 1, 0):
        data = pair.server.send_whole(response(204), b"")
        assert (b"Connection: close" in data) is (left == 0)
        if left:
            pair.server.next_cycle()


def test_end_in_the_middle_of_a_pipelined_head(pair: ConnPair) -> None:
    pair.feed(request_bytes() + b"GET")
    assert not pair.server.receive_eof()
    pair.server.send_whole(response(204), b"")
    assert pair.server.next_cycle() == []
    assert pair.server.receiving is Receiving.CLOSED
    assert pair.server.failure is None


def test_end_in_the_middle_of_a_pipelined_body(pair: ConnPair) -> None:
    """RFC 9112 section 6.3: a body that is too short is a client error."""
    pair.feed(request_bytes() + request_bytes(b"POST", headers=[(b"Content-Length", b"9")]) + b"1")
    pair.server.receive_eof()
    pair.server.send_whole(response(204), b"")
    assert [type(event) for event in pair.server.next_cycle()] == [Request, Data]
    assert pair.server.failure is not None
    assert pair.server.failure.status_hint == 400
    assert pair.server.sending is Sending.PENDING


def test_broken_pipelined_request_behind_the_end(pair: ConnPair) -> None:
    pair.feed(request_bytes() + b"nonsense\r\n")
    pair.server.receive_eof()
    pair.server.send_whole(response(204), b"")
    assert pair.server.next_cycle() == []
    assert pair.server.receiving is Receiving.FAILED


# -- Expect: 100-continue ------------------------------------------------------------------


def test_continue_is_sent_once(pair: ConnPair) -> None:
    """RFC 9110 section 10.1.1; B55."""
    pair.feed(request_bytes(b"PUT", headers=[EXPECT, (b"Content-Length", b"2")]))
    assert pair.server.send_continue() == CONTINUE
    assert pair.server.send_continue() == b""


def test_no_continue_for_a_body_that_has_begun(pair: ConnPair) -> None:
    """RFC 9110 section 10.1.1: a server may omit it then."""
    pair.feed(request_bytes(b"PUT", headers=[EXPECT, (b"Content-Length", b"2")]))
    pair.feed(b"1")
    assert pair.server.send_continue() == b""


def test_no_continue_unasked(pair: ConnPair) -> None:
    """RFC 9110 section 15.2: never to a client that does not expect it."""
    assert pair.server.send_continue() == b""
    pair.feed(request_bytes(b"PUT", headers=[(b"Content-Length", b"2")]))
    assert pair.server.send_continue() == b""


def test_no_continue_behind_the_head_of_a_response(pair: ConnPair) -> None:
    pair.feed(request_bytes(b"PUT", headers=[EXPECT, (b"Content-Length", b"2")]))
    pair.server.send(response(413, (b"Content-Length", b"0")))
    assert pair.server.send_continue() == b""


class TestReceivedElsewhere:
    """The body goes past the machine, which only counts it."""

    def test_up_to_the_end_of_the_body(self, pair: ConnPair) -> None:
        server = pair.server
        server.receive_data(request_bytes(b"POST", headers=[(b"Content-Length", b"10")]))
        assert not server.received_elsewhere(4)
        assert server.unread == 6
        assert server.received_elsewhere(6)
        assert server.receiving is Receiving.COMPLETE

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ([(b"Content-Length", b"3")], b""),
            ([(b"Transfer-Encoding", b"chunked")], b""),
            ([(b"Transfer-Encoding", b"chunked")], b"5"),
            ([], b""),
        ],
    )
    def test_what_is_not_of_this_body_is_refused(
        self, headers: Headers, body: bytes, pair: ConnPair
    ) -> None:
        pair.server.receive_data(request_bytes(b"POST", headers=headers, body=body))
        with pytest.raises(LocalProtocolError, match="not of this body"):
            pair.server.received_elsewhere(4)
