"""`open_browser`: real programs under the names of browsers, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aserve
from aserve.net.browser import has_browser

URL = "https://provider.test/authorize?a=b&c=d"
LOCATION = Path(aserve.__file__).parents[1]

_PROGRAM = "import sys, aserve; print(aserve.open_browser(sys.argv[1]))"


class Machine:
    """A machine with these programs, and nothing else on its PATH."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.opened = directory / "opened"
        self.opened.touch()

    def install(self, name: str, body: str = "") -> Path:
        path = self._directory / name
        path.write_text(f'#!/bin/sh\necho "$1" >>{self.opened}\n{body}\n')
        path.chmod(0o755)
        return path

    def open(self, url: str = URL, **variables: str) -> bool:
        output = self._directory / "output"
        # A file and no pipe: a browser may inherit it, and live on.
        with output.open("w") as file:
            subprocess.run(
                [sys.executable, "-c", _PROGRAM, url],
                env={"PATH": str(self._directory), "PYTHONPATH": str(LOCATION), **variables},
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                check=True,
            )
        return {"True\n": True, "False\n": False}[output.read_text()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_browser_of_the_desktop(machine: Machine) -> None:
    # A launcher that is gone at once counts as one that has failed: this one waits for the end.
    pipe = machine.install("xdg-open", 'read line <"$0.pipe"').with_name("xdg-open.pipe")
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR)
    try:
        assert machine.open(DISPLAY=":9")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"TERM": "xterm"},
        {"DISPLAY": ""},
        {"DISPLAY": ":9", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"},
        {"WAYLAND_DISPLAY": "wayland-0", "SSH_TTY": "/dev/pts/1"},
    ],
)
def test_without_a_screen_nothing_is_opened(machine: Machine, variables: dict[str, str]) -> None:
    for name in ("xdg-open", "x-www-browser", "firefox", "w3m"):
        machine.install(name)
    assert machine.open(**variables) is False
    assert machine.opened.read_text() == ""


def test_browser_that_was_chosen_is_opened_over_ssh_too(machine: Machine) -> None:
    chosen = machine.install("opener")
    assert machine.open(BROWSER=str(chosen), SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22")
    assert machine.opened.read_text() == f"{URL}\n"


def test_browser_that_fails(machine: Machine) -> None:
    failing = machine.install("opener", "exit 3")
    assert machine.open(BROWSER=str(failing)) is False
    assert machine.open(BROWSER="/there/is/none") is False


@pytest.mark.parametrize("name", ["w3m", "lynx", "www-browser"])
def test_browser_for_the_terminal_is_not_opened(machine: Machine, name: str) -> None:
    path = machine.install(name)
    assert machine.open(DISPLAY=":9", TERM="xterm") is False
    assert machine.open(BROWSER=str(path), TERM="xterm") is False
    assert machine.opened.read_text() == ""


@pytest.mark.parametrize("url", ["file:///etc/passwd", "-new-window", "javascript:alert(1)", ""])
def test_only_addresses_of_the_web_are_opened(machine: Machine, url: str) -> None:
    chosen = machine.install("opener")
    assert machine.open(url, BROWSER=str(chosen)) is False
    assert machine.opened.read_text() == ""


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({}, "darwin", True),
        ({}, "win32", True),
        ({"SSH_CONNECTION": "x"}, "darwin", False),
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "freebsd14", True),
        ({"BROWSER": "x"}, "linux", True),
    ],
)
def test_machines_with_a_browser(environ: dict[str, str], platform: str, expected: bool) -> None:
    assert has_browser(environ, platform) is expected
