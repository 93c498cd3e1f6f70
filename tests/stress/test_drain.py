"""SIGTERM under load: every request that has arrived is answered, and then it ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from ..e2e.conftest import DEADLINE
from .conftest import LONG, Start
from .load import APP, Load, has_arrived

# The promise. On a machine that has other work the end takes what the others leave it; a server
# that waits for something would wait for its grace, which is a day here.
EXIT_SECONDS = 0.3 if LONG else 5.0
ROUNDS = 10 if LONG else 1

# Milliseconds: most requests are quick, some take their time.
PAUSES = (0, 0, 0, 5, 0, 0, 50)
LONGEST = max(PAUSES) / 1000


@pytest.mark.parametrize("threads", ["40", "2"])
@pytest.mark.parametrize("clients", [8, 32])
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_nothing_is_lost(
    tmp_path: Path, start_on_loop: Start, clients: int, threads: str, round_: int
) -> None:
    """With few threads there is a queue: the longest request is the one that waits in it."""
    (tmp_path / "app.py").write_text(APP)
    server = start_on_loop(
        "app:app", "--port", "0", "--host", "127.0.0.1", "--grace", "86400", "--no-access-log",
        "--threads", threads,
    )  # fmt: skip
    with Load(server.port, clients, PAUSES) as load:
        load.run_until(lambda: load.answered > 20 * clients)
        promised = load.note_promises()
        os.kill(server.pid, signal.SIGTERM)
        sent = time.monotonic()
        # They go on asking: who comes now may be answered or refused.
        while server.process.poll() is None:
            load.turn(0.005)
            assert time.monotonic() - sent < LONGEST * clients + 20, server.errors
        ended = time.monotonic()
        load.is_asking = False
        load.run_until(lambda: not any(caller.sock for caller in load.callers))
    assert promised
    assert promised <= load.kept, promised - load.kept
    assert load.wrong == []
    assert server.wait() == 0
    assert "Traceback" not in server.errors
    assert ended - max(sent, min(load.last_answer, ended)) < EXIT_SECONDS


class Held:
    """A server that the kernel does not run for the block: what comes meanwhile only arrives."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        while Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            os.sched_yield()

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


def read_answer(sock: socket.socket) -> bytes:
    """Up to the end of the connection, which the server announces."""
    found = b""
    while piece := sock.recv(65_536):
        found += piece
    return found


@pytest.mark.parametrize("clients", [8, 32, 300])
def test_the_backlog_is_answered(tmp_path: Path, start_on_loop: Start, clients: int) -> None:
    """Nobody has accepted them when the server is told to stop, and their requests are there."""
    (tmp_path / "app.py").write_text(APP)
    server = start_on_loop("app:app", "--port", "0", "--host", "127.0.0.1", "--grace", "86400")
    address = ("127.0.0.1", server.port)
    with contextlib.ExitStack() as stack:
        with Held(server.pid):
            socks = []
            for number in range(clients):
                sock = stack.enter_context(socket.create_connection(address, DEADLINE))
                sock.sendall(b"GET /?%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number)
                socks.append(sock)
            while not all(map(has_arrived, socks)):
                os.sched_yield()
            server.send(signal.SIGTERM)
        for number, sock in enumerate(socks):
            assert read_answer(sock).endswith(b"\r\n\r\n%d %d " % (server.pid, number))
    assert server.wait() == 0
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("tls", [False, True])
def test_what_has_arrived_on_open_connections_is_answered(
    tmp_path: Path, start_on_loop: Start, tls: bool
) -> None:
    """They are at rest, and the bytes come at the same moment as the signal."""
    (tmp_path / "app.py").write_text(APP)
    server = start_on_loop(
        "app:app", "--port", "0", "--host", "127.0.0.1", "--grace", "86400",
        *(["--ssl", "adhoc"] if tls else []),
    )  # fmt: skip
    address = ("127.0.0.1", server.port)
    request = b"GET /?one HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(32):
            sock = stack.enter_context(socket.create_connection(address, DEADLINE))
            if tls:
                context = ssl._create_unverified_context()
                sock = stack.enter_context(context.wrap_socket(sock))
            sock.sendall(request)
            answer = b""
            while not answer.endswith(b" one "):
                answer += sock.recv(65_536)
            socks.append(sock)
        with Held(server.pid):
            for sock in socks:
                sock.sendall(request)
            while not all(map(has_arrived, socks)):
                os.sched_yield()
            server.send(signal.SIGTERM)
        for sock in socks:
            assert read_answer(sock).endswith(b" one ")
    assert server.wait() == 0
    assert "Traceback" not in server.errors
