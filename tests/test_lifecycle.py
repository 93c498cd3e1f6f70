"""When `on_shutdown` and `on_reload` are called; in processes of their own, because they end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .e2e.conftest import environment, starter

APP = """
import asyncio, atexit, os, sys, threading
import aserve

def say(word):
    print(word, flush=True)

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

atexit.register(say, "the app's own atexit")
aserve.on_shutdown(lambda: say("first registered"))
aserve.on_shutdown(lambda: 1 / 0)
aserve.on_reload(lambda: say("at a reload"))
aserve.on_shutdown(lambda: say("last registered"))
"""

CALLED = ["last registered", "first registered"]
OWN = ["the app's own atexit"]

THREADS = """
for _ in range(2):
    with aserve.ServerThread(app):
        say("serves")
"""
OPEN = """
async def main():
    for _ in range(2):
        async with aserve.open_server(app, port=0):
            say("serves")

asyncio.run(main())
"""
MAKE = """
for _ in range(2):
    with aserve.make_server("127.0.0.1", 0, app) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.shutdown()
        thread.join()
        say("serves")
"""


def run(folder: Path, code: str) -> list[str]:
    """What a program says; it has to tell of the one that fails, and to end well."""
    done = subprocess.run(
        [sys.executable, "-c", f"{APP}\n{code}"],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if CALLED[0] in done.stdout:
        assert "ZeroDivisionError" in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("code", [THREADS, OPEN, MAKE])
def test_servers_in_a_program_leave_it_to_the_exit(tmp_path: Path, code: str) -> None:
    """The first test's server must not close the database of all others."""
    assert run(tmp_path, code) == ["serves", "serves", *CALLED, *OWN]


def test_a_program_may_call_them_before(tmp_path: Path) -> None:
    code = f"{THREADS}\naserve.run_shutdown_callbacks()\nsay('goes on')"
    assert run(tmp_path, code) == ["serves", "serves", *CALLED, "goes on", *OWN]


def test_a_server_behind_that_makes_them_due_again(tmp_path: Path) -> None:
    code = f"{THREADS}\naserve.run_shutdown_callbacks()\n{THREADS}"
    serves = ["serves", "serves"]
    assert run(tmp_path, code) == [*serves, *CALLED, *serves, *CALLED, *OWN]


def test_a_program_without_a_server_calls_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "") == OWN


def test_a_fork_has_begun_no_server(tmp_path: Path) -> None:
    code = f"{THREADS}\nif (child := os.fork()) == 0: sys.exit()\nos.waitpid(child, 0)"
    assert run(tmp_path, code) == ["serves", "serves", *OWN, *CALLED, *OWN]


def test_one_server_behind_the_other(tmp_path: Path) -> None:
    """What `run` serves, it ends; each time."""
    code = """
import signal
def stop(server):
    say("serves")
    os.kill(os.getpid(), signal.SIGTERM)
for _ in range(2):
    aserve.run(app, port=0, hooks=aserve.Hooks(on_ready=stop))
"""
    assert run(tmp_path, code) == ["serves", *CALLED, "serves", *CALLED, *OWN]


def test_a_pytest_fixture_leaves_it_to_the_exit(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_it.py").write_text(
        "import app, pytest\n"
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_it(aserve_server, number):\n"
        "    assert aserve_server(app.app).url\n"
        "    app.say('serves')\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # or one further up would count
    words = ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    lines = [line.strip(".") for line in done.stdout.splitlines()]
    said = [line for line in lines if line in ("serves", *CALLED, *OWN)]
    assert said == ["serves", "serves", *CALLED, *OWN]


@pytest.mark.parametrize("words", [["--no-reload"], ["--reload"]])
def test_the_command_calls_them_one_time(tmp_path: Path, words: list[str]) -> None:
    text = APP.replace("print(word, flush=True)", "print(word, file=sys.stderr, flush=True)")
    (tmp_path / "app.py").write_text(text)
    with starter(tmp_path) as start:
        child = start("app.py", "--port", "0", *words)
        assert child.port
        assert child.end(signal.SIGTERM) == 0
    for word in CALLED:
        assert child.errors.count(word) == 1
    assert "at a reload" not in child.errors
