"""Connections that rest cost a little memory each, next to no time, and nobody else anything."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

from .conftest import LONG, Start
from .load import APP, cpu_seconds

# With the good client it makes 10,000, which is what a process may well have descriptors for.
IDLE = 9_999 if LONG else 999

# The behaviour benchmark measures 2.7 KB; the rest is for what the allocator does not give back.
BYTES_EACH = 5 * 1024
BYTES_FOR_ALL = 2 * 1024 * 1024

# Seconds to look at a server that has nothing to do, and the most that it may use of them: the
# promise is a tenth of a second in a minute, and each reading has an error of some milliseconds.
LOOK_SECONDS = 20.0 if LONG else 1.0
CPU_SECONDS = 0.1 * LOOK_SECONDS / 60 + 0.02

REQUESTS = 2000 if LONG else 200
P99_SECONDS = 0.05 if LONG else 1.0

REQUEST = b"GET /?%d HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(sock: socket.socket, number: int) -> float:
    """One request; how long it took."""
    begun = time.perf_counter()
    sock.sendall(REQUEST % number)
    answer = b""
    while not answer.endswith(b" %d " % number):
        piece = sock.recv(65_536)
        assert piece, answer
        answer += piece
    return time.perf_counter() - begun


def test_ten_thousand_idle_connections(tmp_path: Path, start_on_loop: Start) -> None:
    """A thousand in the short form. Each was answered once, and rests."""
    (tmp_path / "app.py").write_text(APP)
    server = start_on_loop("app:app", "--port", "0", "--host", "127.0.0.1", "--no-access-log")
    address = ("127.0.0.1", server.port)
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(socket.create_connection(address))
        for number in range(REQUESTS):
            ask(good, number)
        before = server.memory("VmRSS")
        idle = []
        for number in range(IDLE):
            sock = stack.enter_context(socket.create_connection(address))
            ask(sock, number)
            idle.append(sock)
        growth = server.memory("VmRSS") - before
        used = cpu_seconds(server.pid)
        time.sleep(LOOK_SECONDS)  # what is measured is what it does by itself
        used = cpu_seconds(server.pid) - used
        times = sorted(ask(good, number) for number in range(REQUESTS))
        # All of them are still there, and each one can go on.
        for number in (0, IDLE // 2, IDLE - 1):
            ask(idle[number], number)
        descriptors = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
        assert server.end() == 0
    p99 = times[int(len(times) * 0.99)]
    print(
        f"{IDLE} idle: {growth / IDLE:.0f} bytes each, {used / LOOK_SECONDS * 60:.3f} s of the "
        f"processor in a minute, p99 beside them {p99 * 1000:.1f} ms"
    )
    assert descriptors > IDLE
    assert growth < IDLE * BYTES_EACH + BYTES_FOR_ALL
    assert used < CPU_SECONDS
    assert p99 < P99_SECONDS
    assert "Traceback" not in server.errors
