"""A fork of the app has neither the port nor the connections of the server."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DEADLINE, Start
from .test_reload import ask, until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# The fork lives until somebody ends it, as a worker of `multiprocessing` may.
APP = """
import os, pathlib, signal

WORD = "one"

def fork(where):
    number = os.fork()
    if not number:
        os.closerange(1, 3)  # whoever reads the server's log would wait for this one
        signal.pause()
    with pathlib.Path("forks").open("a") as file:
        file.write(f"{number}\\n")

if os.environ["WHERE"] == "import":
    fork("import")

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fork":
        fork("request")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [WORD.encode()]
"""

DOORS = {"plain": ["--no-reload"], "reload": ["--reload"], "processes": ["--processes", "2"]}


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "forks"
    yield path
    for number in path.read_text().split():
        os.kill(int(number), signal.SIGKILL)


@pytest.mark.parametrize("where", ["import", "request"])
@pytest.mark.parametrize("door", DOORS)
def test_the_port_is_free_behind_the_server(
    tmp_path: Path, start: Start, forks: Path, door: str, where: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    child = start("app.py", "--port", "0", *DOORS[door], WHERE=where)
    port = child.port
    assert ask(port, "/fork" if where == "request" else "/") == (200, "one")
    assert forks.exists()
    assert child.end() == 0
    with socket.create_server(("127.0.0.1", port)):
        pass


def connect(port: int, tls: list[str]) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    return ssl._create_unverified_context().wrap_socket(sock) if tls else sock


@pytest.mark.parametrize("tls", [[], ["--ssl", "adhoc"]], ids=["plain", "tls"])
@pytest.mark.parametrize("door", DOORS)
def test_a_client_sees_the_end_of_its_connection(
    tmp_path: Path, start: Start, forks: Path, door: str, tls: list[str]
) -> None:
    """Which a descriptor that somebody else still has would keep from it."""
    (tmp_path / "app.py").write_text(APP)
    child = start("app.py", "--port", "0", *DOORS[door], *tls, WHERE="request")
    with connect(child.port, tls) as resting, connect(child.port, tls) as asking:
        head = "GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
        resting.sendall(head.format("/", "").encode())
        received = b""
        while not received.endswith(b"one"):
            received += resting.recv(65_536)
        asking.sendall(head.format("/fork", "Connection: close\r\n").encode())
        received = b""
        while piece := asking.recv(65_536):
            received += piece
        assert received.endswith(b"one")
        assert child.end() == 0
        assert resting.recv(1) == b""


def test_a_reload_with_a_fork_of_the_old_code(tmp_path: Path, start: Start, forks: Path) -> None:
    """Nor is it in the way of the next generation, or of the supervisor, who waits for an end."""
    app = tmp_path / "app.py"
    app.write_text(APP)
    child = start("app.py", "--port", "0", "--reload", WHERE="import")
    for old, new in (("one", "two"), ("two", "three")):
        assert ask(child.port) == (200, old)
        app.write_text(APP.replace('"one"', f'"{new}"'))
        until(child, new)
    began = time.monotonic()
    assert child.end() == 0
    assert time.monotonic() - began < 5
    with socket.create_server(("127.0.0.1", child.port)):
        pass


RETURNS = """
import os, sys
def app(environ, start_response):
    path, status = environ["PATH_INFO"], 0
    if path != "/":
        child = os.fork()
        if child == 0:
            if path == "/exit":
                sys.exit(4)
            if path == "/raise":
                raise RuntimeError("in the child")
            if path == "/stream":
                start_response("200 OK", [])
                return iter([b"from the child"])
        if child or path == "/return":
            status = os.waitpid(child, 0)[1] >> 8 if child else 0
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(status).encode()]
"""

PATCHES = {
    "plain": "",
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore')\n"
    "import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("patch", PATCHES)
def test_a_fork_that_comes_back_from_its_view_ends(
    tmp_path: Path, start: Start, patch: str
) -> None:
    """It has nothing of the server's, so it must not go on as a second one of its workers."""
    (tmp_path / "app.py").write_text(f"{PATCHES[patch]}\n{RETURNS}")
    child = start("app.py", "--port", "0")
    for path, status in (("exit", "4"), ("raise", "1"), ("return", "0"), ("stream", "0")) * 2:
        assert ask(child.port, f"/{path}") == (200, status)
        assert ask(child.port) == (200, "0")
    assert child.end() == 0
    assert child.errors.count("RuntimeError: in the child") == 2
    assert "Cannot accept" not in child.errors
