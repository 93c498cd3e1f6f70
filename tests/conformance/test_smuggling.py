"""`smuggling.py`, over real sockets in both ways of reading them, and in memory."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from aserve.config import Limits

from ..helpers import Raw, connect, raw_exchange, read_to_end, request_bytes
from ..properties.parsing import Parsed, parse_all
from .rfc9112 import ROWS
from .rfc9112_probe import Probe, responses
from .smuggling import CASES
from .smuggling_case import SMUGGLED, Case
from .wsgi_server import LiveServer

NEXT = request_bytes(target=b"/next", headers=[(b"Connection", b"close")])


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe()


@pytest.fixture(scope="module")
def live(probe: Probe) -> Iterator[LiveServer]:
    with LiveServer(probe) as live:
        yield live


@pytest.fixture(autouse=True)
def nothing_seen(probe: Probe) -> None:
    probe.seen.clear()


def expected(case: Case) -> list[str]:
    """What the application sees, `/next` included when the connection goes on."""
    return [*case.seen] if case.status else [*case.seen, "GET /next "]


def check(case: Case, raw: Raw, probe: Probe) -> None:
    assert not raw.reset
    found = [head.status_code for head, _ in responses(raw.data, (0,) if case.is_head else ())]
    assert found == [200] * len(expected(case)) + ([case.status] if case.status else [])
    assert probe.seen == expected(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_over_a_socket(case: Case, live: LiveServer, probe: Probe) -> None:
    """All of it in one write, and the end of the connection is the server's."""
    check(case, raw_exchange(live.port, case.sent + NEXT, half_close=False), probe)


# What is long is so because of a limit, and `test_in_memory` has it byte by byte as well.
@pytest.mark.parametrize(
    "case", [case for case in CASES if len(case.sent) < 1000], ids=lambda case: case.name
)
def test_byte_by_byte(case: Case, live: LiveServer, probe: Probe) -> None:
    """Each byte in a packet of its own, as far as that can be asked for."""
    with connect(live.port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in case.sent + NEXT:
            # A refused client may go on sending for a while: its bytes are thrown away.
            sock.send(bytes([byte]))
        check(case, read_to_end(sock), probe)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_in_memory(case: Case) -> None:
    """The protocol alone, whole and byte by byte."""
    data = case.sent + NEXT
    for pieces in ([data], [bytes([byte]) for byte in data]):
        parsed = parse_all(pieces, Limits())
        assert (parsed.failure and parsed.failure.status_hint) == case.status
        complete = [message for message in parsed.messages if message[2]]
        assert [request.method for request, _, _ in complete] == [
            what.partition(" ")[0] for what in expected(case)
        ]
        assert _reached_smuggled(parsed) is ("GET /smuggled " in case.seen)


def _reached_smuggled(parsed: Parsed) -> bool:
    return any(request.path == b"/smuggled" for request, _, _ in parsed.messages)


def test_the_table() -> None:
    """Each case attacks, says why, has a name of its own, and is not in the other table."""
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    assert not {case.sent for case in CASES} & {row.sent for row in ROWS}
    for case in CASES:
        assert b"/smuggled" in case.sent, case.name
        assert re.match(r"(9110 )?\d+(\.\d+)*(, \d+(\.\d+)*)*: ", case.reason), case.reason
        for number in re.findall(r"CVE\S*", case.reason):
            assert re.match(r"CVE-\d{4}-\d{4,5}[,;:]?$", number), case.reason


def test_what_is_refused_would_smuggle() -> None:
    """The request behind the faults is a good one: only the refusal keeps it out."""
    assert _reached_smuggled(parse_all([SMUGGLED], Limits()))
