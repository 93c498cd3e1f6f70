"""The same on a terminal: colours, the wide banner, the next free port."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from aserve.cli.listen import listen, may_move
from aserve.config import ServerConfig
from aserve.errors import ListenError
from aserve.resolve import Inputs, Resolved, resolve

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Any]

PLAIN = """
def app(environ, start_response):
    start_response("404 Not Found", [("Content-Length", "0")])
    return []
"""


@pytest.fixture(autouse=True)
def app_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PLAIN)


def _default_port(port: int, **flags: str) -> Resolved:
    """A configuration in which the port is the default one, but another number than 8000.

    Somebody else may use 8000 on this machine.
    """
    resolved = resolve(Inputs(flags, {}, {}))
    config = replace(resolved.config, port=port, host="127.0.0.1")
    return resolved._replace(config=config)


@contextlib.contextmanager
def _taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def test_banner_and_colours(start: Start) -> None:
    """B117: colours on a terminal."""
    server = start("--port", "0", terminal=True)
    httpx.get(server.url)
    server.wait_for('\x1b\\[33m"GET / HTTP/1.1" 404\x1b\\[0m')
    text = re.sub(r"\x1b\[\d*m", "", server.output)
    assert "  App      app:app (function, app.py:2)\n" in text
    assert "  Local    http://localhost:" in text or "  Local    http://127.0.0.1:" in text
    assert re.search(r"  aserve \S+  ready in \d+ ms\n", text)
    assert server.end() == 0


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_on_request(start: Start, variables: dict[str, str]) -> None:
    server = start("--port", "0", terminal=True, **variables)
    httpx.get(server.url)
    server.wait_for('"GET / HTTP/1.1" 404')
    assert server.end() == 0
    assert "\x1b" not in server.output


def test_forced_colours_off_a_terminal(start: Start) -> None:
    server = start("--port", "0", FORCE_COLOR="1")
    httpx.get(server.url)
    server.wait_for('\x1b\\[33m"GET / HTTP/1.1" 404\x1b\\[0m')
    assert server.end() == 0


def test_default_port_moves_on_a_terminal() -> None:
    with _taken() as port, listen(_default_port(port), is_terminal=True, environment={}) as found:
        sockets, notes = found
        moved = sockets[0].getsockname()[1]
        assert port < moved <= port + 20
        assert notes == (f"Port {port} is taken, so this is {moved}; --strict-port forbids that.",)


@pytest.mark.parametrize(("terminal", "flags"), [(False, {}), (True, {"strict_port": "1"})])
def test_default_port_stays_otherwise(terminal: bool, flags: dict[str, str]) -> None:
    with (
        _taken() as port,
        pytest.raises(ListenError) as caught,
        listen(_default_port(port, **flags), is_terminal=terminal, environment={}),
    ):
        pytest.fail("it listened")
    assert caught.value.errno == errno.EADDRINUSE


def test_move_is_said_in_the_banner(start: Start) -> None:
    """Whether this test or somebody else holds port 8000 does not matter."""
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 8000)):
        server = start(terminal=True)
        assert server.url != "http://localhost:8000"
        assert "Port 8000 is taken, so this is 80" in server.output
        assert server.end() == 0


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, True),
        ({"host": "::1"}, True),
        ({"port": "8000"}, False),
        ({"uds": "/tmp/x"}, False),
        ({"host": "unix:///tmp/x"}, False),
        ({"fd": "3"}, False),
        ({"strict_port": "1"}, False),
    ],
)
def test_what_may_move(flags: dict[str, str], expected: bool) -> None:
    assert may_move(resolve(Inputs(flags, {}, {})), is_terminal=True) is expected
    assert not may_move(resolve(Inputs(flags, {}, {})), is_terminal=False)


def test_other_errors_do_not_move() -> None:
    resolved = resolve(Inputs({}, {}, {}))
    config = ServerConfig(host="192.0.2.1")
    with (
        pytest.raises(ListenError),
        listen(resolved._replace(config=config), is_terminal=True, environment={}),
    ):
        pytest.fail("it listened")
