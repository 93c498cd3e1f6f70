"""Handlers of signals that an app registers are called when its server has ended by that signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .conftest import Child, Start
from .test_reload import ask, until

APP = """
import os, signal, sys, aserve

def say(word):
    os.write(2, f"{word} in {os.getpid()}\\n".encode())

def handler(number, frame):
    say(f"Mine: {signal.Signals(number).name}, frame {frame is not None}")
    END

aserve.on_shutdown(lambda: say("on_shutdown"))
signal.signal(signal.SIGINT, handler)
signal.signal(signal.SIGTERM, handler)
WORD = "one"

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode() if environ["PATH_INFO"] == "/pid" else WORD.encode()]
"""
DOORS = {"plain": ["--no-reload"], "reload": ["--reload"], "processes": ["--processes", "2"]}


def begin(start: Start, folder: Path, door: str, end: str = "") -> Child:
    (folder / "app.py").write_text(APP.replace("END", end))
    child = start("app.py", "--port", "0", *DOORS[door])
    assert ask(child.port) == (200, "one")
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("end", ["", "sys.exit(0)", "raise ValueError('handler')"])
def test_it_is_called_one_time_and_last(
    tmp_path: Path, start: Start, door: str, number: signal.Signals, end: str
) -> None:
    child = begin(start, tmp_path, door, end)
    assert child.end(number) == 0
    times = 2 if door == "processes" else 1
    called = f"Mine: {number.name}, frame True"
    assert child.errors.count(called) == times
    assert child.errors.count("Mine: ") == times
    assert child.errors.count(f"Calling the app's own handler of {number.name}") == times
    assert child.errors.index("on_shutdown") < child.errors.index(called)
    assert ("ValueError: handler" in child.errors) == (end.startswith("raise"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("door", DOORS)
def test_an_app_without_any(
    tmp_path: Path, start: Start, door: str, number: signal.Signals
) -> None:
    """Those of the command and of the reloader's processes are not the app's."""
    text = "\n".join(line for line in APP.splitlines() if not line.startswith("signal.signal"))
    (tmp_path / "app.py").write_text(text.replace("END", ""))
    child = start("app.py", "--port", "0", *DOORS[door])
    assert ask(child.port) == (200, "one")
    assert child.end(number) == 0
    assert "own handler" not in child.errors


def test_its_status_counts(tmp_path: Path, start: Start) -> None:
    child = begin(start, tmp_path, "plain", "sys.exit(7)")
    assert child.end(signal.SIGTERM) == 7


def test_ctrl_c_at_a_process_of_the_reloader_is_the_supervisors(
    tmp_path: Path, start: Start
) -> None:
    """A terminal sends SIGINT to all processes: the app is not ended before its requests are."""
    child = begin(start, tmp_path, "reload", "os._exit(9)")
    os.kill(int(ask(child.port, "/pid")[1]), signal.SIGINT)
    assert ask(child.port) == (200, "one")
    assert "Mine: " not in child.errors
    child.end(signal.SIGINT)
    child.wait_for("Mine: SIGINT")


def test_a_reload_ends_the_old_process_by_sigterm(tmp_path: Path, start: Start) -> None:
    child = begin(start, tmp_path, "reload")
    app = tmp_path / "app.py"
    app.write_text(app.read_text().replace('"one"', '"two"'))
    until(child, "two")
    child.wait_for("Mine: SIGTERM")
    assert child.end(signal.SIGINT) == 0
    assert child.errors.count("Mine: SIGTERM") == 1
    assert child.errors.count("Mine: SIGINT") == 1
