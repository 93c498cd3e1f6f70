"""`make_server` with several processes, in programs that go on behind it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import pytest

from .conftest import DEADLINE, Child, Start
from .test_reload import ask, wait_gone

PROGRAM = """
import atexit, os, random, signal, sys, threading, time
from pathlib import Path
import aserve

def say(*words):
    # In one piece, whoever else is writing.
    os.write(2, (" ".join(map(str, words)) + "\\n").encode())

NUMBERS = random.Random()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/end":
        os._exit(7)
    if path == "/stop":
        environ["werkzeug.server.shutdown"]()
    if path == "/close":
        server.shutdown()
    if path == "/wait":
        say("entered")
        while not Path("go").exists():
            time.sleep(0.01)
    if path == "/hang":
        say("entered")
        time.sleep(60)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {environ['wsgi.multiprocess']} {environ['wsgi.url_scheme']}".encode()]

MAIN = os.getpid()
aserve.on_shutdown(lambda: say("last words", os.getpid() != MAIN))
atexit.register(lambda: say("exit", os.getpid() == MAIN))
print("printed once")
server = aserve.make_server("127.0.0.1", 0, app, processes=2ARGUMENTS)
say("port", server.port, server.multiprocess, server.multithread)
HOW
say("behind", server.fileno())
"""

IN_THREAD = """
serving = threading.Thread(target=server.serve_forever)
serving.start()
while not Path("end").exists():
    time.sleep(0.01)
started = time.perf_counter()
server.shutdown()
say("shutdown took", time.perf_counter() - started)
serving.join()
"""


class Program:
    """The program, and what it serves."""

    def __init__(self, tmp_path: Path, start: Start, how: str, arguments: str = "") -> None:
        text = PROGRAM.replace("HOW", how).replace("ARGUMENTS", arguments)
        (tmp_path / "program.py").write_text(text)
        self.folder = tmp_path
        self.is_in_thread = how == IN_THREAD
        self.child: Child = start(sys.executable, "program.py", raw=True)
        self.port = int(self.child.wait_for(r"port (\d+) True False")[1])

    def ask(self, path: str = "/") -> str:
        return ask(self.port, path)[1]

    def pids(self, count: int = 2) -> set[int]:
        """The processes that answer; asks until there are so many."""
        found: set[int] = set()
        deadline = time.monotonic() + DEADLINE
        while len(found) < count:
            assert time.monotonic() < deadline, found
            found.add(int(self.ask().split()[0]))
        return found

    def output(self) -> str:
        assert self.child.process.stdout is not None
        return str(self.child.process.stdout.read())


@pytest.fixture(params=["server.serve_forever()", IN_THREAD], ids=["main", "thread"])
def program(request: pytest.FixtureRequest, tmp_path: Path, start: Start) -> Program:
    return Program(tmp_path, start, request.param)


@pytest.fixture
def simple(tmp_path: Path, start: Start) -> Program:
    return Program(tmp_path, start, "server.serve_forever()")


def test_all_of_them_serve_and_the_program_goes_on(program: Program) -> None:
    found = program.pids()
    assert program.child.pid not in found
    assert program.ask().endswith("True http")
    if program.is_in_thread:
        (program.folder / "end").touch()
        took = float(program.child.wait_for(r"shutdown took (\S+)")[1])
        assert took < 2  # it does not wait for a grace, which is longer
        assert program.child.wait() == 0
    else:
        assert program.child.end(signal.SIGINT) == 0
    wait_gone(list(found))
    errors = program.child.errors
    assert "behind -1\n" in errors  # the sockets are closed
    assert errors.count("last words True") == 2
    assert errors.count("exit") == errors.count("exit True") == 1
    assert program.output() == "printed once\n"
    assert "Traceback" not in errors
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", program.port))


def test_what_runs_is_finished(simple: Program) -> None:
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(simple.ask("/wait")))
    client.start()
    simple.child.wait_for("entered")
    simple.child.send(signal.SIGINT)
    # The other one has nothing to finish.
    simple.child.wait_for("last words")
    (simple.folder / "go").touch()
    client.join(DEADLINE)
    assert len(answers) == 1
    assert answers[0].endswith("True http")
    assert simple.child.wait() == 0


def test_the_second_time_is_at_once(simple: Program) -> None:
    def hang() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            simple.ask("/hang")

    found = simple.pids()
    client = threading.Thread(target=hang)
    client.start()
    simple.child.wait_for("entered")
    started = time.perf_counter()
    simple.child.send(signal.SIGINT)
    simple.child.wait_for("last words")
    assert simple.child.end(signal.SIGINT) == 0
    assert time.perf_counter() - started < 4.5  # the grace has 5 seconds
    client.join(DEADLINE)
    wait_gone(list(found))


@pytest.mark.parametrize("path", ["/stop", "/close"])
def test_the_app_can_end_them_all(program: Program, path: str) -> None:
    found = program.pids()
    assert program.ask(path).endswith("True http")
    (program.folder / "end").touch()
    assert program.child.wait() == 0
    wait_gone(list(found))
    assert "another one" not in program.child.errors


def test_one_that_dies_is_replaced(program: Program) -> None:
    first = program.pids()
    gone = min(first)
    os.kill(gone, signal.SIGKILL)
    program.child.wait_for(rf"Worker {gone} was ended by SIGKILL; another one is started now")
    while gone in (second := program.pids()):
        pass
    assert max(first) in second
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        program.ask("/end")
    program.child.wait_for(r"Worker \d+ ended with status 7; another one is started in 1 s")
    third = program.pids()
    # By SIGTERM one finishes what it has to do, and is replaced, too.
    os.kill(min(third), signal.SIGTERM)
    program.child.wait_for(rf"Worker {min(third)} ended with status 0; another one is started in")
    assert max(third) in program.pids()


def test_a_system_that_tells_of_no_ends(tmp_path: Path, start: Start) -> None:
    """Other than Linux: it is looked for them."""
    program = Program(tmp_path, start, "del os.pidfd_open\nserver.serve_forever()")
    first = program.pids()
    os.kill(min(first), signal.SIGKILL)
    program.child.wait_for(r"was ended by SIGKILL; another one is started now")
    while min(first) in program.pids():
        pass
    assert program.child.end(signal.SIGINT) == 0


def test_a_program_that_waits_for_all_its_processes(tmp_path: Path, start: Start) -> None:
    how = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nserver.serve_forever()"
    program = Program(tmp_path, start, how)
    gone = min(program.pids())
    os.kill(gone, signal.SIGKILL)
    program.child.wait_for(rf"Worker {gone} ended .*; another one is started now")
    while gone in program.pids():
        pass
    assert program.child.end(signal.SIGINT) == 0


def test_a_system_that_has_no_room_for_more(tmp_path: Path, start: Start) -> None:
    how = (
        "fork, forks = os.fork, []\n"
        "def count():\n"
        "    forks.append(1)\n"
        "    if len(forks) == LIMIT: raise BlockingIOError(11, 'no room')\n"
        "    return fork()\n"
        "os.fork = count\n"
        "server.serve_forever()"
    )
    program = Program(tmp_path, start, how.replace("LIMIT", "2"))
    assert program.child.wait() == 1
    assert "BlockingIOError: [Errno 11] no room" in program.child.errors
    later = Program(tmp_path, start, how.replace("LIMIT", "3"))
    os.kill(min(later.pids()), signal.SIGKILL)
    later.child.wait_for(r"No worker can be started \(\[Errno 11\] no room\); the next attempt")
    assert later.ask().endswith("True http")
    assert later.child.end(signal.SIGINT) == 0


def test_none_outlives_the_program(program: Program) -> None:
    found = program.pids()
    program.child.send(signal.SIGKILL)
    program.child.wait()
    wait_gone(list(found))


def test_they_show_the_same_certificate(tmp_path: Path, start: Start) -> None:
    program = Program(tmp_path, start, "server.serve_forever()", ", ssl_context='adhoc'")
    context = ssl._create_unverified_context()
    seen: dict[str, bytes | None] = {}
    for _ in range(5000):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", program.port, context=context, timeout=DEADLINE
        )
        with contextlib.closing(connection):
            connection.request("GET", "/")
            certificate = connection.sock.getpeercert(binary_form=True)
            pid, _, scheme = connection.getresponse().read().decode().split()
        assert scheme == "https"
        seen[pid] = certificate
        if len(seen) == 2:
            break
    assert len(seen) == 2
    assert len(set(seen.values())) == 1


def test_a_request_in_the_programs_own_process(tmp_path: Path, start: Start) -> None:
    how = "server.handle_request()\nsay('answered')\nserver.serve_forever()"
    program = Program(tmp_path, start, how)
    assert int(program.ask().split()[0]) == program.child.pid
    program.child.wait_for("answered")
    assert program.child.pid not in program.pids()
    assert program.child.end(signal.SIGINT) == 0


def test_a_handler_of_the_programs_own_ends_them(tmp_path: Path, start: Start) -> None:
    how = (
        "def leave(*_): raise SystemExit(5)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "server.serve_forever()"
    )
    program = Program(tmp_path, start, how)
    found = program.pids()
    assert program.child.end() == 5
    wait_gone(list(found))
    assert "exit True" in program.child.errors


def test_a_log_of_requests_behind_a_fork(tmp_path: Path, start: Start) -> None:
    """Its thread has begun in the program's process, and a fork has to make another one."""
    (tmp_path / "handler.py").write_text(
        "import os, aserve\n"
        "class Handler(aserve.WSGIRequestHandler):\n"
        "    def log_request(self, code='-', size='-'):\n"
        "        os.write(2, f'logged by {os.getpid()}\\n'.encode())\n"
    )
    program = Program(
        tmp_path,
        start,
        "server.handle_request()\nsay('answered')\nserver.serve_forever()",
        ", request_handler=__import__('handler').Handler",
    )
    program.ask()
    program.child.wait_for(rf"logged by {program.child.pid}\n")
    program.child.wait_for("answered")
    for pid in program.pids():
        program.child.wait_for(rf"logged by {pid}\n")
