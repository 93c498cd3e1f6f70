"""Where a server listens, seen from outside: families, Unix sockets, inherited descriptors."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DEADLINE, Start

APP = """
import json

NAMES = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "HTTP_HOST")


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({name: environ[name] for name in NAMES}).encode()]
"""


@pytest.fixture(autouse=True)
def app_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def fetch(curl: str, url: str, *options: str) -> dict[str, str]:
    """What the app says of the connection."""
    done = subprocess.run(
        [curl, "--silent", "--show-error", "--globoff", "--max-time", str(DEADLINE), *options, url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def test_localhost_is_both_families(curl: str, start: Start) -> None:
    """B13, B4: one port, found by whoever tries either address."""
    server = start("--port", "0")
    assert server.url.startswith("http://localhost:")
    for host, address in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")):
        seen = fetch(curl, f"http://{host}:{server.port}/")
        assert (seen["REMOTE_ADDR"], seen["SERVER_NAME"]) == (address, address)
        assert seen["HTTP_HOST"] == f"{host}:{server.port}"
    assert server.end() == 0


def test_ipv6(curl: str, start: Start) -> None:
    """B11: brackets in URLs, none in the environ."""
    server = start("--host", "::1", "--port", "0")
    assert server.url.startswith("http://[::1]:")
    seen = fetch(curl, server.url)
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("::1", str(server.port))
    assert server.end() == 0


def test_all_addresses_in_both_families(curl: str, start: Start) -> None:
    """B14: `::` is dual stack, and the banner says what that means."""
    server = start("--host", "::", "--port", "0")
    for host in ("127.0.0.1", "[::1]"):
        assert fetch(curl, f"http://{host}:{server.port}/")
    server.wait_for("development server, and it can be reached from the network")
    assert server.end() == 0


def test_unix_socket(curl: str, start: Start, tmp_path: Path) -> None:
    """B8, B9, B10."""
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as stale:  # left behind by somebody who crashed
        stale.bind(str(path))
    server = start("--uds", "app.sock")
    assert server.url == f"unix://{path}"
    seen = fetch(curl, "http://site.localhost/", "--unix-socket", str(path))
    assert (seen["REMOTE_ADDR"], seen["HTTP_HOST"]) == ("<local>", "site.localhost")
    assert seen["SERVER_NAME"]
    assert seen["SERVER_PORT"]

    second = start("--uds", str(path))
    assert second.wait() == 4
    assert second.errors.count("\n") == 1
    assert str(path) in second.errors
    assert fetch(curl, "http://site.localhost/", "--unix-socket", str(path))
    assert server.end() == 0
    assert not path.exists()


def test_file_that_is_no_socket_is_kept(start: Start, tmp_path: Path) -> None:
    """B9."""
    path = tmp_path / "precious"
    path.write_text("data")
    server = start("--uds", str(path))
    assert server.wait() == 4
    assert "not a socket" in server.errors
    assert path.read_text() == "data"


def test_inherited_descriptor(curl: str, start: Start, listener: socket.socket) -> None:
    """B1, B2: the socket was bound by somebody else, and stays theirs."""
    address, port = listener.getsockname()
    server = start("--fd", str(listener.fileno()), fds=[listener.fileno()])
    assert server.url == f"http://127.0.0.1:{port}"
    assert fetch(curl, server.url)["SERVER_PORT"] == str(port)
    assert server.end() == 0
    # Clients that come now wait in our backlog.
    again = start("--fd", str(listener.fileno()), fds=[listener.fileno()])
    assert fetch(curl, again.url)["SERVER_NAME"] == address
    assert again.end() == 0


def test_inherited_unix_socket_file_stays(curl: str, start: Start, tmp_path: Path) -> None:
    """B9: whoever made it removes it."""
    path = tmp_path / "inherited.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        server = start("--fd", str(sock.fileno()), fds=[sock.fileno()])
        assert fetch(curl, "http://localhost/", "--unix-socket", str(path))
        assert server.end() == 0
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_systemd_activation(curl: str, start: Start, listener: socket.socket) -> None:
    """sd_listen_fds(3): descriptor 3 on, for the process that LISTEN_PID names."""
    fd = listener.fileno()
    script = (
        "import os, sys\n"
        f"os.dup2({fd}, 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'aserve'])\n"
    )
    server = start(sys.executable, "-c", script, fds=[fd], raw=True)
    assert server.port == listener.getsockname()[1]
    assert fetch(curl, server.url)
    assert server.end() == 0


def test_systemd_activation_of_another_process(start: Start, listener: socket.socket) -> None:
    """A child of the activated process does not take the sockets of its parent."""
    server = start("--port", "0", LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    assert server.port != listener.getsockname()[1]
    assert server.end() == 0


def test_descriptor_that_is_no_listener(start: Start) -> None:
    left, right = socket.socketpair()
    with left, right:
        server = start("--fd", str(left.fileno()), fds=[left.fileno()])
        assert server.wait() == 4
        assert "does not listen" in server.errors
    server = start("--fd", "99")
    assert server.wait() == 4
    assert server.errors.count("\n") == 1


def test_port_taken_by_another_server(curl: str, start: Start) -> None:
    """B6, B7: status 4, one line, the process that holds it, the ways out."""
    first = start("--port", "0")
    second = start("--port", str(first.port))
    assert second.wait() == 4
    assert second.errors.count("\n") == 1
    assert f"port {first.port}" in second.errors
    assert f"(pid {first.pid})" in second.errors
    assert "--port 0" in second.errors
    assert fetch(curl, first.url)
    assert first.end() == 0


def test_port_is_free_again_at_once(curl: str, start: Start) -> None:
    """B18: connections of the last server that linger do not keep the next one away."""
    first = start("--port", "0")
    port = first.port
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while client.recv(65536):
            pass
        assert first.end() == 0
        second = start("--port", str(port))
        assert fetch(curl, second.url)
        assert second.end() == 0


def test_api_of_a_script(curl: str, start: Start, tmp_path: Path) -> None:
    """`aserve.run(app)` in a script: banner, log, signals, status."""
    script = tmp_path / "script.py"
    script.write_text(
        "import aserve\nfrom app import app\naserve.run(app, port=0)\nprint('after')\n"
    )
    server = start(sys.executable, str(script), raw=True)
    assert fetch(curl, server.url)
    server.wait_for(r'"GET / HTTP/1\.1" 200 ')
    assert server.end() == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == "after\n"
