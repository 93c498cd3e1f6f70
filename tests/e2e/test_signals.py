"""The end of a server's life: signals, grace, exit status, also as process 1."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import DEADLINE, Child, Start

APP = """
import os
import sys
import threading

stuck = threading.Event()


def say(word):
    print(word, file=sys.stderr, flush=True)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        say("in the slow view")
        # Opened by the test once it has sent its signal.
        with open(os.environ["GATE"], "rb") as gate:
            gate.read()
    elif path == "/stuck":
        say("in the stuck view")
        while True:
            stuck.wait()
    elif path == "/spin":
        say("in the spinning view")
        while True:
            pass
    start_response("200 OK", [])
    return Body(path)


class Body:
    def __init__(self, path):
        self.path = path

    def __iter__(self):
        yield b"done"

    def close(self):
        say("closed " + self.path)
"""

SIGNALS = [signal.SIGINT, signal.SIGTERM]
# What a second signal may take at most, with room for a loaded machine; the promise is half
# a second. A server that waits for its stuck view does so for ever.
AT_ONCE = 10


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: who reads it waits until the test has written and closed it."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


@pytest.fixture(autouse=True)
def app_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)


class Open:
    """A request under way."""

    def __init__(self, port: int, path: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def answer(self) -> bytes:
        """Everything up to the end of the connection."""
        data = b""
        with self.sock:
            try:
                while piece := self.sock.recv(65536):
                    data += piece
            except ConnectionResetError:
                pass
        return data


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("number", SIGNALS)
def test_idle_server(start: Start, number: signal.Signals) -> None:
    """B19: status 0, no traceback; open connections without a request do not hold it up."""
    server = start("--port", "0", "--grace", "86400")
    with socket.create_connection(("127.0.0.1", server.port)):
        assert server.end(number) == 0
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("number", SIGNALS)
def test_running_request_is_finished(start: Start, gate: Path, number: signal.Signals) -> None:
    """B19: nobody is accepted any more, who is inside gets an answer and `close()`."""
    server = start("--port", "0", "--grace", "86400", GATE=str(gate))
    request = Open(server.port, "/slow")
    server.wait_for("in the slow view")
    server.send(number)
    server.wait_for(r"Waiting up to \d+ s for GET /slow \(\d+\.\d s, app\.py:\d+")
    assert is_refused(server.port)
    gate.write_bytes(b"")
    answer = request.answer()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert b"done" in answer
    assert server.wait() == 0
    assert "closed /slow" in server.errors
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("path", ["/stuck", "/spin"])
@pytest.mark.parametrize("number", SIGNALS)
def test_second_signal_cuts_at_once(start: Start, path: str, number: signal.Signals) -> None:
    """B26: whatever is stuck, in a lock or in a loop."""
    server = start("--port", "0", "--grace", "86400")
    request = Open(server.port, path)
    server.wait_for("in the (stuck|spinning) view")
    server.send(number)
    server.wait_for(f"Waiting up to \\d+ s for GET {path}")
    server.send(number)
    assert server.process.wait(AT_ONCE) == 0
    assert request.answer() == b""
    server.wait_for(rf"Cut, as asked again: GET {path} \(\d+\.\d s, app\.py:\d+")
    assert "Traceback" not in server.errors


def test_grace_ends_by_itself(start: Start) -> None:
    """What is still running is named, then cut."""
    server = start("--port", "0", "--grace", "0.05")
    request = Open(server.port, "/stuck")
    server.wait_for("in the stuck view")
    assert server.end() == 0
    assert request.answer() == b""
    server.wait_for(r"Cut at the end of the grace: GET /stuck \(\d+\.\d s, app\.py:\d+")


def test_slow_client_is_cut_too(start: Start, tmp_path: Path) -> None:
    """A client that does not read holds the server up no longer than the grace."""
    (tmp_path / "app.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return (b'x' * 65536 for _ in range(10_000))\n"
    )
    server = start("--port", "0", "--grace", "0.05")
    request = Open(server.port, "/")
    assert request.sock.recv(1)
    assert server.end() == 0
    assert not request.answer().endswith(b"0\r\n\r\n")


def test_clients_in_the_backlog_are_answered(start: Start, gate: Path) -> None:
    """Who connected before the signal was let in."""
    server = start("--port", "0", "--threads", "1", GATE=str(gate))
    first = Open(server.port, "/slow")
    server.wait_for("in the slow view")
    others = [Open(server.port, "/") for _ in range(10)]
    server.send(signal.SIGTERM)
    server.wait_for("Waiting up to")
    gate.write_bytes(b"")
    assert b"done" in first.answer()
    assert all(b"done" in other.answer() for other in others)
    assert server.wait() == 0


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _unshare() -> list[str]:
    """The command that makes its child process 1, or nothing where that is forbidden."""
    command = shutil.which("unshare")
    for options in (["--pid", "--fork"], ["--user", "--map-root-user", "--pid", "--fork"]):
        if command and _works([command, *options, "true"]):
            return [command, *options, "--kill-child"]
    return []


def _only_child(pid: int) -> int:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    (child,) = text.split()
    return int(child)


def _caught(pid: int) -> set[int]:
    """The signals for which a process has handlers."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return {number for number in range(1, 65) if mask & (1 << (number - 1))}


@pytest.fixture
def process_1(start: Start) -> tuple[Child, int]:
    """A server as process 1 of its own name space, and its pid in ours.

    The kernel throws away signals to process 1 for which it has no handler. Where no name space
    may be made, the server is an ordinary process: then only its handlers can be looked at.
    """
    prefix = _unshare()
    words = [sys.executable, "-m", "aserve", "--port", "0"]
    server = start(*prefix, *words, raw=True)
    assert server.url
    return server, _only_child(server.pid) if prefix else server.pid


@pytest.mark.parametrize("number", SIGNALS)
def test_process_1(process_1: tuple[Child, int], number: signal.Signals) -> None:
    """B20: as in a container without an init."""
    server, pid = process_1
    assert set(SIGNALS) <= _caught(pid)
    request = Open(server.port, "/stuck")
    server.wait_for("in the stuck view")
    os.kill(pid, number)
    server.wait_for("Waiting up to")
    os.kill(pid, number)
    assert server.process.wait(AT_ONCE) == 0
    assert request.answer() == b""


@pytest.mark.parametrize("number", SIGNALS)
def test_idle_process_1(process_1: tuple[Child, int], number: signal.Signals) -> None:
    """B20."""
    server, pid = process_1
    os.kill(pid, number)
    assert server.wait() == 0


def test_signals_are_the_apps_again_after_run(start: Start, tmp_path: Path) -> None:
    """`run` puts the handlers back that it found."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "def mine(*_): pass\n"
        "signal.signal(signal.SIGTERM, mine)\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "import aserve\nfrom app import app\n"
        "aserve.run(app, port=0)\n"
        "assert signal.getsignal(signal.SIGTERM) is mine\n"
        "assert signal.getsignal(signal.SIGINT) is before\n"
    )
    server = start(sys.executable, str(script), raw=True)
    assert server.url
    assert server.end() == 0
    assert "Traceback" not in server.errors


def test_run_in_another_thread_touches_no_signal(start: Start, tmp_path: Path) -> None:
    """Python delivers signals to the main thread only; the server is stopped by its handle."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, threading, urllib.request\n"
        "import aserve\n"
        "handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
        "ready, servers = threading.Event(), []\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'hello']\n"
        "def on_ready(server):\n"
        "    servers.append(server)\n"
        "    ready.set()\n"
        "hooks = aserve.Hooks(on_ready=on_ready)\n"
        "thread = threading.Thread(target=aserve.run, args=(app,), "
        "kwargs={'port': 0, 'hooks': hooks})\n"
        "thread.start()\n"
        "assert ready.wait(20)\n"
        "url = servers[0].url\n"
        "assert urllib.request.urlopen(url).read() == b'hello'\n"
        "assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
        "servers[0].shutdown()\n"
        "thread.join(20)\n"
        "assert not thread.is_alive()\n"
    )
    server = start(sys.executable, str(script), raw=True)
    assert server.wait() == 0, server.errors
