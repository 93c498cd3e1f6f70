"""Where the reloader is on without a word, and what it tells whom."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aserve.net.address import network_address

from .conftest import DEADLINE, Start
from .reloading import ANSWER, took
from .terminal import Terminal
from .test_reload import ask

APP = "WORD = 'one'\n" + ANSWER
BROKEN = "secret_of_the_file = undefined_name\n"
OFF = "Reload is off: without a terminal, --reload switches it on."


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(APP)
    return path


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    with contextlib.ExitStack() as stack:

        def open_it(*words: str) -> Terminal:
            terminal = Terminal(tmp_path, "app.py", "--port", "0", *words)
            stack.callback(terminal.end)
            return terminal

        yield open_it


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_on_a_terminal_at_every_address(
    app: Path, open_terminal: Callable[..., Terminal], host: str
) -> None:
    terminal = open_terminal("--host", host)
    assert ask(terminal.port) == (200, "one")
    assert "On       reload," in terminal.output
    app.write_text(APP.replace("one", "two"))
    terminal.wait_for("reloading")
    assert ask(terminal.port) == (200, "two")
    terminal.type("q")
    assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("variables", "dotenv"),
    [
        ({"FLASK_DEBUG": "1"}, ""),
        ({"FLASK_DEBUG": "true"}, ""),
        ({"ASERVE_RELOAD": "1"}, ""),
        ({}, "FLASK_DEBUG=1\n"),
        ({"FLASK_DEBUG": "1"}, "FLASK_DEBUG=0\n"),  # what the person has set is above a file
    ],
)
def test_without_a_terminal_where_a_variable_says_so(
    app: Path, start: Start, variables: dict[str, str], dotenv: str
) -> None:
    (app.parent / ".env").write_text(dotenv)
    child = start("app.py", "--port", "0", "--host", "0.0.0.0", **variables)
    assert ask(child.port) == (200, "one")
    app.write_text(APP.replace("one", "two"))
    took(child)
    assert ask(child.port) == (200, "two")
    assert OFF not in child.errors


@pytest.mark.parametrize("variables", [{}, {"FLASK_DEBUG": "0"}, {"FLASK_DEBUG": "No"}])
def test_without_a_terminal_it_is_off_and_says_so(
    app: Path, start: Start, variables: dict[str, str]
) -> None:
    child = start("app.py", "--port", "0", **variables)
    assert ask(child.port) == (200, "one")
    assert OFF in child.errors


@pytest.mark.parametrize("words", [["--no-reload"], ["--reload"]])
def test_who_has_said_it_is_not_told(app: Path, start: Start, words: list[str]) -> None:
    child = start("app.py", "--port", "0", *words)
    assert ask(child.port) == (200, "one")
    assert OFF not in child.errors


def ask_at(address: str, port: int, accept: str) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Accept": accept})
        answer = connection.getresponse()
        assert answer.status == 500
        return answer.read().decode()


def token_of(page: str) -> str:
    found = re.search(r'"token": ?"([^"]+)"', page)
    return found[1] if found else ""


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_other_machines_are_told_to_look_at_the_log(
    app: Path, start: Start, accept: str, debug: list[str]
) -> None:
    """A client that asks by this machine's address in the network is seen as one of there."""
    child = start("app.py", "--port", "0", "--host", "0.0.0.0", "--reload", *debug)
    assert ask(child.port) == (200, "one")
    app.write_text(BROKEN)
    child.wait_for("undefined_name")
    page = ask_at("127.0.0.1", child.port, accept)
    assert "undefined_name" in page
    address = network_address(has_ipv6=False)
    assert address, "this machine has no address in a network"
    page = ask_at(address, child.port, accept)
    if debug:
        assert "undefined_name" in page  # asked for: that is what the debugger shows, too
        return
    assert "the log of its server says why" in page
    for secret in ("secret_of_the_file", "undefined_name", "app.py", "Served by"):
        assert secret not in page
    if accept == "text/html":
        assert token_of(page)  # it loads itself again


def test_the_page_of_another_machine_loads_itself_again(app: Path, start: Start) -> None:
    child = start("app.py", "--port", "0", "--host", "0.0.0.0", "--reload")
    assert ask(child.port) == (200, "one")
    app.write_text(BROKEN)
    child.wait_for("undefined_name")
    address = network_address(has_ipv6=False)
    page = ask_at(address, child.port, "text/html")
    token = token_of(page)
    connection = http.client.HTTPConnection(address, child.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", "/.aserve/changed", headers={"X-Aserve-Reload": token})
        app.write_text(APP)
        assert connection.getresponse().status == 204
    assert ask(child.port) == (200, "one")
