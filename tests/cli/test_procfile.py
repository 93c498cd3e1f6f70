"""Lines of a Procfile, as Foreman and its like run them: by a shell, with the port in `PORT`."""

from __future__ import annotations

import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest

from ..e2e.conftest import Child, Start, starter
from ..e2e.test_reload import ask

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"shop"]
"""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number: int = probe.getsockname()[1]
    return number


def run(start: Start, line: str, **variables: str) -> Child:
    aserve = shlex.join([sys.executable, "-m", "aserve"])
    return start("sh", "-c", line.replace("aserve", f"exec {aserve}"), raw=True, **variables)


@pytest.mark.parametrize(
    "line",
    ["aserve shop:app --port $PORT", 'aserve shop:app -h 0.0.0.0 -p "$PORT"'],
)
def test_the_port_is_handed_on(tmp_path: Path, port: int, line: str) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with starter(tmp_path) as start:
        child = run(start, line, PORT=str(port))
        assert child.port == port
        assert ask(port) == (200, "shop")
        assert child.end(signal.SIGTERM) == 0


def test_a_variable_of_ours_may_hold_it(tmp_path: Path, port: int) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with starter(tmp_path) as start:
        child = start(
            "sh", "-c", f"ASERVE_PORT=$PORT exec {sys.executable} -m aserve shop:app",
            raw=True, PORT=str(port),
        )  # fmt: skip
        assert child.port == port
        assert child.end(signal.SIGTERM) == 0


def test_the_variable_alone_says_nothing(tmp_path: Path, port: int) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with starter(tmp_path) as start:
        child = run(start, "aserve shop:app --port 0", PORT=str(port))
        assert child.port != port
        assert child.end() == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("aserve shop:app --port $PORT", "--port"),
        ('aserve shop:app --port "$PORT"', "--port: '' is not a whole number"),
    ],
)
def test_a_port_that_is_not_set(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with starter(tmp_path) as start:
        child = run(start, line, PORT="")
        assert child.wait() == 2
        assert told in child.errors
        assert "Traceback" not in child.errors
