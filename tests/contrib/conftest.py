"""Flask's and Django's commands as people start them, in a project of their own."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ..e2e.conftest import Child, Start, starter


class Command(Protocol):
    """Starts a command of a framework: `flask("aserve", "--port", "0")`."""

    def __call__(self, *words: str, **variables: str) -> Child: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starter(tmp_path) as function:
        yield function


@pytest.fixture
def flask(start: Start) -> Command:
    return lambda *words, **more: start(sys.executable, "-m", "flask", *words, raw=True, **more)


@pytest.fixture
def manage(start: Start) -> Command:
    return lambda *words, **more: start(sys.executable, "manage.py", *words, raw=True, **more)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def printed(child: Child) -> str:
    """What a process that has ended wrote to its standard output."""
    assert child.process.stdout is not None
    return str(child.process.stdout.read())
