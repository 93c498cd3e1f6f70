"""Out of descriptors: the server says so once, waits without spinning, and goes on."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..e2e.conftest import DEADLINE, Child, Start
from .conftest import LONG
from .load import APP, cpu_seconds, has_arrived

# How long is looked at what waiting costs, and the most that it may: a tenth. A server that spins
# takes all that the machine gives it.
LOOK_SECONDS = 5.0 if LONG else 1.0
CPU_SHARE = 0.1

# Connections that are let in before the descriptors run out, and those that wait then.
ROOM, WAITING = 5, 30

SAYS = "Cannot accept connections for now: Too many open files"


def ask(sock: socket.socket, token: str) -> None:
    sock.sendall(f"GET /?{token} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def answer(sock: socket.socket) -> bytes:
    """The body of the next answer, which has one piece."""
    found = b""
    while b"\r\n\r\n" not in found or found.endswith(b"\r\n\r\n"):
        piece = sock.recv(65_536)
        assert piece, found
        found += piece
    return found.partition(b"\r\n\r\n")[2]


def set_limit(pid: int, limit: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))


class Exhausted:
    """A server that is out of descriptors, some clients inside, and some in front of it."""

    def __init__(self, server: Child, stack: contextlib.ExitStack) -> None:
        self.server = server
        self.address = ("127.0.0.1", server.port)
        self.open = stack.enter_context(socket.create_connection(self.address, DEADLINE))
        ask(self.open, "before")
        assert b" before " in answer(self.open)
        used = {int(link.name) for link in Path(f"/proc/{server.pid}/fd").iterdir()}
        gaps = len(set(range(max(used))) - used)
        set_limit(server.pid, max(used) + 1 + max(0, ROOM - gaps))
        self.clients = []
        for number in range(max(ROOM, gaps) + WAITING):
            sock = stack.enter_context(socket.create_connection(self.address, DEADLINE))
            ask(sock, f"client-{number}")
            self.clients.append(sock)
        server.wait_for(SAYS)

    def recover(self) -> None:
        """Read all answers; each who leaves makes room for the next."""
        for number, sock in enumerate(self.clients):
            assert f" client-{number} ".encode() in answer(sock)
            sock.close()


@pytest.fixture
def exhausted(tmp_path: Path, start_on_loop: Start) -> Iterator[Exhausted]:
    (tmp_path / "app.py").write_text(APP)
    server = start_on_loop("app:app", "--port", "0", "--host", "127.0.0.1", "--grace", "86400")
    with contextlib.ExitStack() as stack:
        yield Exhausted(server, stack)


def test_it_waits_quietly_and_serves_whom_it_has(exhausted: Exhausted) -> None:
    server, before = exhausted.server, cpu_seconds(exhausted.server.pid)
    time.sleep(LOOK_SECONDS)  # what is measured is what it does by itself
    assert cpu_seconds(server.pid) - before < CPU_SHARE * LOOK_SECONDS
    ask(exhausted.open, "meanwhile")
    assert b" meanwhile " in answer(exhausted.open)
    exhausted.recover()
    ask(exhausted.open, "afterwards")
    assert b" afterwards " in answer(exhausted.open)
    assert server.end() == 0
    assert "Traceback" not in server.errors
    assert server.errors.count(SAYS) < 5, server.errors  # not one for each try


def test_descriptors_that_come_back_are_used(exhausted: Exhausted) -> None:
    """None of the clients leaves."""
    set_limit(exhausted.server.pid, 1024)
    for number, sock in enumerate(exhausted.clients):
        assert f" client-{number} ".encode() in answer(sock)
    assert exhausted.server.end() == 0
    assert "Traceback" not in exhausted.server.errors


def test_it_stops_in_order(exhausted: Exhausted) -> None:
    """What runs is finished, and who waits in front of it is let in as others leave."""
    ask(exhausted.open, "last,300")
    while not all(map(has_arrived, [exhausted.open, *exhausted.clients])):
        time.sleep(0)
    exhausted.server.send(signal.SIGTERM)
    assert b" last " in answer(exhausted.open)
    exhausted.recover()
    assert exhausted.server.wait() == 0
    assert "Traceback" not in exhausted.server.errors
