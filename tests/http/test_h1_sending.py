"""`H1Connection`: from events to bytes. h11 reads what it sends wherever that is possible."""

from __future__ import annotations

from typing import Any

import h11
import pytest

from aserve.config import Limits
from aserve.errors import LocalProtocolError
from aserve.events import END_OF_MESSAGE, Data
from aserve.http.state import Receiving, Sending

from ..helpers import DATE, ConnPair, chunked, request_bytes, response

CHUNKED = (b"Transfer-Encoding", b"chunked")


def length(size: int) -> tuple[bytes, bytes]:
    return (b"Content-Length", b"%d" % size)


@pytest.fixture
def pair() -> ConnPair:
    return ConnPair()


def asked(pair: ConnPair, method: bytes = b"GET", version: bytes = b"1.1") -> ConnPair:
    """The connection with a request that waits for its response."""
    pair.feed(request_bytes(method, version=version))
    pair.expect(method.decode())
    return pair


def fields(event: h11.Event) -> dict[bytes, bytes]:
    assert isinstance(event, h11.Response)
    return dict(event.headers)


def body(events: list[h11.Event]) -> bytes:
    return b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))


def test_body_by_length(pair: ConnPair) -> None:
    """RFC 9112 section 6.2."""
    events = asked(pair).send(response(200, length(5)), Data(b"12"), Data(b"345"), END_OF_MESSAGE)
    assert body(events) == b"12345"
    assert isinstance(events[-1], h11.EndOfMessage)
    assert fields(events[0])[b"content-length"] == b"5"
    assert pair.server.has_body
    assert not pair.server.ends_with_close


def test_body_in_chunks(pair: ConnPair) -> None:
    """RFC 9112 section 7.1; B49."""
    events = asked(pair).send(response(), Data(b"x" * 300), Data(b"y"), END_OF_MESSAGE)
    assert body(events) == b"x" * 300 + b"y"
    assert fields(events[0])[b"transfer-encoding"] == b"chunked"
    assert isinstance(events[-1], h11.EndOfMessage)


def test_empty_data_is_not_the_last_chunk(pair: ConnPair) -> None:
    """RFC 9112 section 7.1."""
    server = asked(pair).server
    server.send(response())
    assert server.send(Data(b"")) == b""


def test_body_up_to_the_end_of_the_connection(pair: ConnPair) -> None:
    """RFC 9112 section 6.1: HTTP/1.0 never gets chunked; B52."""
    server = asked(pair, version=b"1.0").server
    data = server.send_whole(response(), b"hello")
    assert data.endswith(b"\r\n\r\nhello")
    assert b"Transfer-Encoding" not in data
    assert server.ends_with_close
    assert server.sending is Sending.CLOSED


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"HEAD", 404)]
)
def test_no_body_whatever_the_app_yields(pair: ConnPair, method: bytes, status: int) -> None:
    """RFC 9112 section 6.3, rule 1; B50, B51."""
    events = asked(pair, method).send(response(status), Data(b"leak"), END_OF_MESSAGE)
    assert body(events) == b""
    assert b"transfer-encoding" not in fields(events[0])
    assert isinstance(events[-1], h11.EndOfMessage)
    assert not pair.server.has_body


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304)])
def test_length_of_the_body_that_is_not_sent(pair: ConnPair, method: bytes, status: int) -> None:
    """RFC 9110 section 8.6: HEAD and 304 may say how long it would be."""
    events = asked(pair, method).send_whole(response(status, length(1000)))
    assert fields(events[0])[b"content-length"] == b"1000"
    assert pair.server.keep_alive


def test_whole_is_the_same_as_the_three_parts(pair: ConnPair) -> None:
    other = asked(ConnPair()).server
    head = response(200, length(5))
    parts = [other.send(event) for event in (head, Data(b"hello"), END_OF_MESSAGE)]
    assert asked(pair).server.send_whole(head, b"hello") == b"".join(parts)


def test_date_and_server(pair: ConnPair) -> None:
    """RFC 9110 sections 6.6.1 and 10.2.4."""
    data = asked(pair).server.send_whole(response(200, length(0)), b"")
    assert data.count(DATE) == 1
    assert data.count(b"Server: aserve\r\n") == 1


def test_date_of_the_app(pair: ConnPair) -> None:
    """B64."""
    head = response(200, (b"DATE", b"never"), length(0))
    data = asked(pair).server.send_whole(head, b"")
    assert data.lower().count(b"date:") == 1


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        (b"1.1", b"keep-alive", None),
        (b"1.1", b"close", b"close"),
        (b"1.0", b"keep-alive", b"keep-alive"),
        (b"1.0", b"x", b"close"),
    ],
)
def test_the_connection_header_tells_what_happens(
    pair: ConnPair, version: bytes, connection: bytes, expected: bytes | None
) -> None:
    """RFC 9112 section 9.3."""
    pair.feed(request_bytes(headers=[(b"Connection", connection)], version=version))
    pair.expect()
    events = pair.send_whole(response(200, length(0)))
    assert fields(events[0]).get(b"connection") == expected
    assert pair.server.keep_alive is (expected != b"close")
    assert pair.server.sending is (Sending.CLOSED if expected == b"close" else Sending.COMPLETE)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"close", b"close"),
        (b"Upgrade", b"upgrade"),
        (b"x, Close", b"x, close"),
        (b"keep-alive", None),
    ],
)
def test_connection_options_of_the_app(
    pair: ConnPair, options: bytes, expected: bytes | None
) -> None:
    """RFC 9110 section 7.6.1; B64: respected, once, and never against the truth."""
    events = asked(pair).send_whole(response(200, (b"Connection", options), length(0)))
    assert fields(events[0]).get(b"connection") == expected


def test_keep_alive_of_the_app_does_not_keep_http_10(pair: ConnPair) -> None:
    """RFC 9112 section 9.3."""
    head = response(200, (b"Connection", b"keep-alive"), length(0))
    assert b"Connection: close" in asked(pair, version=b"1.0").server.send_whole(head, b"")


def test_informational_as_the_last_word(pair: ConnPair) -> None:
    """RFC 9110 section 15.2: no body, no length, and no further request on the connection."""
    data = asked(pair).server.send_whole(response(101, (b"Connection", b"upgrade")), b"")
    assert (
        data == b"HTTP/1.1 101 Reason\r\nServer: aserve\r\n" + DATE + b"Connection: upgrade\r\n\r\n"
    )
    assert pair.server.sending is Sending.CLOSED


def test_announced_close(pair: ConnPair) -> None:
    """RFC 9112 section 9.6."""
    asked(pair).server.announce_close()
    assert b"Connection: close" in pair.server.send_whole(response(204), b"")


def test_close_announced_before_the_request(pair: ConnPair) -> None:
    pair.server.announce_close()
    assert b"Connection: close" in asked(pair).server.send_whole(response(204), b"")


def test_close_announced_behind_the_head_is_for_the_next_response(pair: ConnPair) -> None:
    """What was promised is kept."""
    server = asked(pair).server
    server.send(response(200, length(0)))
    server.announce_close()
    server.send(END_OF_MESSAGE)
    server.next_cycle()
    pair.feed(request_bytes())
    assert b"Connection: close" in server.send_whole(response(204), b"")


# -- wrong lengths, wrong turns --------------------------------------------------------------


def test_longer_than_the_length(pair: ConnPair) -> None:
    """RFC 9112 section 6.2."""
    server = asked(pair).server
    server.send(response(200, length(2)))
    with pytest.raises(LocalProtocolError, match="more bytes"):
        server.send(Data(b"123"))


def test_shorter_than_the_length(pair: ConnPair) -> None:
    """RFC 9112 section 8: it must not look complete."""
    server = asked(pair).server
    server.send(response(200, length(2)))
    server.send(Data(b"1"))
    with pytest.raises(LocalProtocolError, match="fewer bytes"):
        server.send(END_OF_MESSAGE)
    assert server.sending is Sending.BODY


def test_all_sent_before_the_end(pair: ConnPair) -> None:
    """RFC 9112 section 6.2: by its length the client knows the end before the application does."""
    server = asked(pair).server
    found = [server.all_sent]
    for event in (response(200, length(2)), Data(b"12"), END_OF_MESSAGE):
        server.send(event)
        found.append(server.all_sent)
    assert found == [False, False, True, False]


def test_sent_elsewhere_counts(pair: ConnPair) -> None:
    server = asked(pair).server
    server.send(response(200, length(5)))
    server.sent_elsewhere(3)
    with pytest.raises(LocalProtocolError, match="fewer bytes"):
        server.send(END_OF_MESSAGE)
    server.sent_elsewhere(2)
    server.send(END_OF_MESSAGE)
    assert server.sending is Sending.COMPLETE


def test_sent_elsewhere_too_much(pair: ConnPair) -> None:
    server = asked(pair).server
    server.send(response(200, length(5)))
    with pytest.raises(LocalProtocolError, match="more bytes"):
        server.sent_elsewhere(6)


def test_sent_elsewhere_needs_a_length(pair: ConnPair) -> None:
    """A file between chunks would be read as chunks."""
    server = asked(pair).server
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        server.sent_elsewhere(1)
    server.send(response())
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        server.sent_elsewhere(1)


@pytest.mark.parametrize("event", [Data(b"x"), END_OF_MESSAGE])
def test_nothing_before_the_head(pair: ConnPair, event: Data) -> None:
    with pytest.raises(LocalProtocolError):
        asked(pair).server.send(event)


def test_no_second_head(pair: ConnPair) -> None:
    server = asked(pair).server
    server.send(response())
    with pytest.raises(LocalProtocolError):
        server.send(response())


def test_bad_head_is_not_the_beginning_of_a_response(pair: ConnPair) -> None:
    """A 500 can still be sent instead."""
    server = asked(pair).server
    with pytest.raises(LocalProtocolError):
        server.send(response(200, (b"X", b"a\r\nSet-Cookie: b")))
    assert server.sending is Sending.PENDING
    assert server.send_whole(response(500), b"").startswith(b"HTTP/1.1 500")


def test_break_off(pair: ConnPair) -> None:
    """RFC 9112 section 8; B56: there is no way to a clean end any more."""
    server = asked(pair).server
    server.send(response())
    server.break_off()
    assert not server.keep_alive
    for event in (Data(b"x"), END_OF_MESSAGE, response()):
        with pytest.raises(LocalProtocolError):
            server.send(event)
    with pytest.raises(LocalProtocolError):
        server.next_cycle()


def test_nothing_is_read_behind_an_unasked_response(pair: ConnPair) -> None:
    """RFC 9112 section 9.6: a client that was told to leave (408) is not served any more."""
    assert b"Connection: close" in pair.server.send_whole(response(408, length(0)), b"")
    assert pair.feed(request_bytes()) == []
    assert pair.server.receiving is Receiving.CLOSED


def test_nothing_is_read_behind_a_break(pair: ConnPair) -> None:
    pair.server.break_off()
    assert pair.feed(request_bytes()) == []


# -- unread bodies ---------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "keeps"), [(0, True), (1000, True), (1001, False)])
def test_small_unread_bodies_are_worth_reading(size: int, keeps: bool) -> None:
    """RFC 9112 section 9.3; B53, B54."""
    pair = ConnPair(Limits(drain_body=1000))
    pair.feed(request_bytes(b"POST", headers=[length(size)]))
    data = pair.server.send_whole(response(204), b"")
    assert pair.server.keep_alive is keeps
    assert (b"Connection: close" in data) is not keeps


def test_body_of_unknown_length_is_tried() -> None:
    pair = ConnPair(Limits(drain_body=1000))
    pair.feed(request_bytes(b"POST", headers=[CHUNKED]))
    pair.server.send_whole(response(204), b"")
    assert pair.server.keep_alive
    pair.feed(chunked(b"rest"))
    assert pair.server.next_cycle() == []


def test_unread_body_of_a_client_that_waited_for_continue(pair: ConnPair) -> None:
    """RFC 9110 section 10.1.1: nobody knows whether it comes, so the connection ends."""
    pair.feed(request_bytes(b"PUT", headers=[(b"Expect", b"100-continue"), length(2)]))
    assert b"Connection: close" in pair.server.send_whole(response(413), b"")


def test_body_broken_behind_the_head_of_the_response(pair: ConnPair) -> None:
    """Keep-alive was promised, but nothing that follows can be told apart any more."""
    server = pair.server
    pair.feed(request_bytes(b"POST", headers=[CHUNKED]))
    server.send(response(200, length(0)))
    pair.feed(b"zzz\r\n")
    assert server.receiving is Receiving.FAILED
    server.send(END_OF_MESSAGE)
    assert server.sending is Sending.CLOSED


def test_it_is_unused_until_something_was_asked(pair: ConnPair) -> None:
    assert pair.server.is_unused
    pair.feed(request_bytes(b"GET")[:10])
    assert not pair.server.is_unused
    pair.feed(request_bytes(b"GET")[10:])
    assert not pair.server.is_unused
    pair.expect()
    pair.send_whole(response(200, length(2)), b"ok")
    pair.server.next_cycle()
    assert not pair.server.is_unused


@pytest.mark.parametrize("headers", [(length(20_000),), ()], ids=["length", "chunked"])
def test_a_large_body_is_a_piece_of_its_own(headers: Any, pair: ConnPair) -> None:
    """It is not copied behind its head, where nothing has to stand behind it."""
    body = bytes(20_000)
    whole = asked(ConnPair()).server.send_whole(response(200, *headers), body)
    pieces = asked(pair).server.send_pieces(response(200, *headers), body)
    assert b"".join(pieces) == whole
    assert (pieces[1] is body) is bool(headers)
    assert asked(ConnPair()).server.send_pieces(response(200, length(5)), b"small")[1] == b""
