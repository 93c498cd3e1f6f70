"""RFC 9112 over real sockets: the table of `rfc9112.py`, and what needs more than one write."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator

import h11
import pytest

from ..helpers import (
    PATIENCE,
    Raw,
    ServerInThread,
    chunked,
    connect,
    raw_exchange,
    read_to_end,
    request_bytes,
)
from .rfc9112 import CHUNKED, CLOSE, ROWS, SMUGGLED, Row
from .rfc9112_probe import Probe, responses

NEXT = request_bytes(target=b"/next", headers=[(b"Connection", b"close")])
DRAINED = 256 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe()


@pytest.fixture(scope="module")
def server(probe: Probe) -> Iterator[ServerInThread]:
    with ServerInThread(probe) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_seen(probe: Probe) -> None:
    probe.seen.clear()
    probe.began.clear()
    probe.left.clear()
    probe.close_count = 0


@pytest.fixture
def port(server: ServerInThread) -> int:
    return server.port


def statuses(raw: Raw) -> list[int]:
    assert not raw.reset
    return [head.status_code for head, _ in responses(raw.data)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section} {row.what}")
def test_table(row: Row, port: int, probe: Probe) -> None:
    """The section is in the test's name; B28 to B64 where the RFC speaks of the same."""
    raw = raw_exchange(port, row.sent + NEXT, half_close=False)
    assert not raw.reset
    found = responses(raw.data, row.heads)
    expected = [*row.statuses, 200] if row.stays else [*row.statuses]
    assert [head.status_code for head, _ in found] == expected
    assert probe.seen == ([*row.seen, "GET /next "] if row.stays else [*row.seen])
    if row.bodies is not None:
        assert tuple(body for _, body in found[: len(row.bodies)]) == row.bodies
    own = raw.data[: raw.data.rfind(b"HTTP/1.1 200")] if row.stays else raw.data
    for text in row.has:
        assert text in own
    for text in row.lacks:
        assert text.lower() not in own.lower()
    for head, _ in found:
        names = [name for name, _ in head.headers]
        # RFC 9110 sections 6.6.1 and 10.2.4
        assert names.count(b"date") == names.count(b"server") == 1


def test_date_is_an_imf_fixdate(port: int) -> None:
    """RFC 9110 section 5.6.7."""
    ((head, _),) = responses(raw_exchange(port, NEXT).data)
    date = dict(head.headers)[b"date"]
    assert re.fullmatch(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)


def test_byte_by_byte(port: int, probe: Probe) -> None:
    """Section 2.1: whatever the packets."""
    sent = request_bytes(b"POST", headers=[CHUNKED], body=chunked(b"hello")) + NEXT
    with connect(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in sent:
            sock.send(bytes([byte]))
        assert statuses(read_to_end(sock)) == [200, 200]
    assert probe.seen == ["POST / hello", "GET /next "]


# -- Expect: 100-continue (RFC 9110 section 10.1.1, B55) --------------------------------------

EXPECT = (b"Expect", b"100-continue")


@pytest.mark.parametrize(
    ("framing", "body"), [((b"Content-Length", b"5"), b"hello"), (CHUNKED, chunked(b"hello"))]
)
def test_continue_comes_once_when_the_app_reads(
    framing: tuple[bytes, bytes], body: bytes, port: int, probe: Probe
) -> None:
    with connect(port) as sock:
        sock.sendall(request_bytes(b"PUT", headers=[EXPECT, framing]))
        assert sock.recv(65_536) == CONTINUE
        sock.sendall(body + NEXT)
        raw = read_to_end(sock)
    assert statuses(raw) == [200, 200]
    assert CONTINUE not in raw.data
    assert probe.seen == ["PUT / hello", "GET /next "]


def test_no_continue_when_the_app_does_not_read(port: int, probe: Probe) -> None:
    """Nobody knows whether the client still sends the body: the connection ends."""
    head = request_bytes(b"PUT", b"/unread", [EXPECT, (b"Content-Length", b"5")])
    with connect(port) as sock:
        sock.sendall(head)
        raw = read_to_end(sock)
    assert statuses(raw) == [200]
    assert CONTINUE not in raw.data
    assert CLOSE in raw.data
    assert probe.seen == ["PUT /unread "]


def test_no_continue_when_the_body_is_there(port: int) -> None:
    sent = request_bytes(b"PUT", headers=[EXPECT], body=b"hello") + NEXT
    raw = raw_exchange(port, sent, half_close=False)
    assert CONTINUE not in raw.data
    assert statuses(raw) == [200, 200]


def test_no_continue_for_http_10(port: int) -> None:
    with connect(port) as sock:
        fields = [EXPECT, (b"Content-Length", b"5")]
        sock.sendall(request_bytes(b"PUT", headers=fields, version=b"1.0"))
        sock.sendall(b"hello")
        assert read_to_end(sock).data.startswith(b"HTTP/1.1 200")


# -- unread bodies (section 9.3, 9.6; B53, B54) ------------------------------------------------


def test_unread_body_is_drained_up_to_the_bound(port: int) -> None:
    sent = request_bytes(b"POST", b"/unread", body=b"x" * DRAINED)
    raw = raw_exchange(port, sent + NEXT, half_close=False)
    assert statuses(raw) == [200, 200]


# What was read before the answer began is no longer unread, so the bound itself is not sharp.
@pytest.mark.parametrize("size", [8 * DRAINED, 80 * DRAINED])
def test_larger_unread_body_gets_its_answer_without_a_reset(
    size: int, port: int, probe: Probe
) -> None:
    """The client sends all of it before it reads anything."""
    body = (SMUGGLED * (size // len(SMUGGLED) + 1))[:size]
    with connect(port) as sock:
        sock.sendall(request_bytes(b"POST", b"/unread", body=body) + NEXT)
        raw = read_to_end(sock)
    assert statuses(raw) == [200]
    assert CLOSE in raw.data
    assert probe.seen == ["POST /unread "]


def test_endless_unread_chunks_end_without_a_reset(port: int, probe: Probe) -> None:
    """Staying was promised, because the length was not known."""
    body = chunked(*[b"x" * 60_000] * 100)
    with connect(port) as sock:
        sock.sendall(request_bytes(b"POST", b"/unread", [CHUNKED], body) + NEXT)
        assert statuses(read_to_end(sock)) == [200]
    assert probe.seen == ["POST /unread "]


def test_refused_request_with_a_long_body_gets_its_answer(port: int) -> None:
    """Section 9.6: a reset would take the 4xx away from the client that is still sending."""
    with connect(port) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\n\r\n" + b"x" * 5_000_000)
        assert statuses(read_to_end(sock)) == [400]


# -- responses that break midway (section 8, B56) ----------------------------------------------


def test_broken_chunks_have_no_end(port: int, probe: Probe) -> None:
    with connect(port) as sock:
        sock.sendall(request_bytes(target=b"/cut/chunked") + NEXT)
        raw = read_to_end(sock)
    assert raw.data.endswith(b"7\r\npartial\r\n")
    with pytest.raises(h11.RemoteProtocolError):
        responses(raw.data)
    assert probe.close_count == 1
    assert probe.seen == ["GET /cut/chunked "]


def test_broken_length_is_short(port: int, probe: Probe) -> None:
    raw = raw_exchange(port, request_bytes(target=b"/cut/length"), half_close=False)
    assert raw.data.endswith(b"\r\n\r\npartial")
    with pytest.raises(h11.RemoteProtocolError):
        responses(raw.data)


def test_broken_body_up_to_the_close_is_reset(port: int) -> None:
    """For HTTP/1.0 the end of the connection is the end of the body: only a reset is not one."""
    sent = request_bytes(target=b"/cut/close", version=b"1.0")
    assert raw_exchange(port, sent, half_close=False).reset


# -- clients that stop sending (sections 8, 9.6) -----------------------------------------------


def test_half_closed_client_gets_its_answer(port: int) -> None:
    """`nc -N`."""
    assert statuses(raw_exchange(port, request_bytes())) == [200]


def test_half_closed_client_gets_its_answer_to_a_body(port: int, probe: Probe) -> None:
    raw = raw_exchange(port, request_bytes(b"POST", headers=[CHUNKED], body=chunked(b"hello")))
    assert statuses(raw) == [200]
    assert probe.seen == ["POST / hello"]


def test_half_closed_client_gets_all_of_its_answers(port: int, probe: Probe) -> None:
    """Section 9.3.2: requests that arrived whole before the end are answered."""
    sent = b"".join(request_bytes(b"POST", body=b"%d" % number) for number in range(3))
    assert statuses(raw_exchange(port, sent)) == [200] * 3
    assert probe.seen == ["POST / 0", "POST / 1", "POST / 2"]


def test_half_closed_client_with_half_a_request_behind_a_whole_one(port: int, probe: Probe) -> None:
    assert statuses(raw_exchange(port, request_bytes() + b"GET /half HTTP/1.1\r\n")) == [200]
    assert probe.seen == ["GET / "]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        request_bytes()[:-2],
        request_bytes(b"POST", headers=[(b"Content-Length", b"5")]) + b"1234",
        request_bytes(b"POST", headers=[CHUNKED], body=b"5\r\nhello\r\n"),
        request_bytes(b"POST", headers=[CHUNKED], body=b"5\r\nhello\r\n0\r\n"),
    ],
)
def test_incomplete_request_never_reaches_the_app(sent: bytes, port: int, probe: Probe) -> None:
    """Section 8."""
    assert raw_exchange(port, sent).data == b""
    assert probe.seen == []


def test_app_learns_of_a_body_that_breaks_off(port: int, probe: Probe) -> None:
    """Section 8: a large body is streamed, so the application is already at work."""
    head = request_bytes(b"POST", headers=[(b"Content-Length", b"2000000")])
    with connect(port) as sock:
        sock.sendall(head + b"x" * 500_000)
        assert probe.began.wait(PATIENCE)
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock).data == b""
    assert probe.left.wait(PATIENCE)


@pytest.mark.parametrize("size", [100, 100_000])
def test_broken_chunk_behind_good_ones(size: int, port: int) -> None:
    """Section 7.1: also when the application is already reading."""
    body = b"%x\r\n%b\r\nzzz\r\n" % (size, b"x" * size)
    raw = raw_exchange(
        port, request_bytes(b"POST", headers=[CHUNKED], body=body + SMUGGLED), half_close=False
    )
    assert statuses(raw) == [400]
    assert CLOSE in raw.data


# -- wrong protocols ---------------------------------------------------------------------------


def test_tls_on_the_plain_port(port: int, server: ServerInThread, probe: Probe) -> None:
    """B66: the client fails at once, and the answer says why to whoever looks."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with connect(port) as sock:
        sock.sendall(outgoing.read())
        raw = read_to_end(sock)
    assert statuses(raw) == [400]
    assert b"TLS" in raw.data
    incoming.write(raw.data)
    with pytest.raises(ssl.SSLError):
        client.do_handshake()
    record = server.wait_for_record(lambda record: record.raw_head.startswith(b"\x16\x03"))
    assert record.request is None
    assert probe.seen == []


def test_client_that_resets_is_no_news(port: int, server: ServerInThread) -> None:
    """B65: neither an answer nor an exception in a callback; the fixture looks for the latter."""
    for data in (b"", b"GET", request_bytes(), request_bytes(target=b"/stream") * 50):
        sock = connect(port)
        with contextlib.closing(sock):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(data)
    assert statuses(raw_exchange(port, NEXT)) == [200]
