"""`aserve callback`, as a shell script uses it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import aserve

from ..helpers import PATIENCE

Run = Callable[..., subprocess.CompletedProcess[str]]

LOCATION = Path(aserve.__file__).parents[1]


class Command:
    """The command in a process, with standard output and error apart."""

    def __init__(self, *words: str, stdin: int = subprocess.DEVNULL, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aserve", "callback", *words],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(LOCATION), **variables},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a line is read, and the rest is left to `communicate`
        )

    def read_line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode()

    def read_url(self) -> str:
        line = self.read_line()
        found = re.fullmatch(r"aserve: waiting for the callback at (http://\S+)\n", line)
        assert found is not None, line
        return found[1]

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*words: str, **more: str) -> Command:
        started.append(Command(*words, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_parameters_are_printed_as_json(command: Callable[..., Command]) -> None:
    running = command("--path", "/done", "--state", "s")
    url = running.read_url()
    assert url.endswith("/done")
    assert get(f"{url}?code=1&state=x") == 400
    assert get(f"{url}?code=%C3%BC&state=s") == 200
    status, out, err = running.end()
    assert (status, err) == (0, "")
    assert json.loads(out) == {"code": "ü", "state": "s"}


def test_without_a_state_any_answer_counts(command: Callable[..., Command]) -> None:
    running = command()
    assert get(f"{running.read_url()}?token=t") == 200
    assert running.end() == (0, '{"token": "t"}\n', "")


def test_refusal(command: Callable[..., Command]) -> None:
    running = command("--state", "s")
    assert get(f"{running.read_url()}?error=access_denied&error_description=No&state=s") == 200
    status, out, err = running.end()
    assert status == 6
    assert json.loads(out) == {"error": "access_denied", "error_description": "No"}
    assert err == "aserve: the authorization server refused: access_denied: No.\n"


def test_time_out(command: Callable[..., Command]) -> None:
    running = command("--timeout", "0.01")
    url = running.read_url()
    assert running.end() == (7, "", f"aserve: no callback came to {url} within 0.01 s.\n")


def test_first_free_port(command: Callable[..., Command]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = command("--port", str(port), "-p", "0", "--timeout", "0")
        assert not running.read_url().startswith(f"http://127.0.0.1:{port}/")
        assert running.end()[0] == 7
        status, out, err = command("--port", str(port)).end()
    assert (status, out) == (4, "")
    assert f"port {port} on 127.0.0.1 is already in use" in err


def test_pasted_address(command: Callable[..., Command]) -> None:
    ours, theirs = pty.openpty()
    try:
        running = command("--state", "s", stdin=theirs)  # type: ignore[arg-type]
        url = running.read_url()
        os.write(ours, f"{url}?code=1&state=old\n".encode())
        assert "belongs to another attempt" in running.read_line()
        os.write(ours, f"\n{url}?code=1&state=s\n".encode())
        assert running.end() == (0, '{"code": "1", "state": "s"}\n', "")
    finally:
        os.close(ours)
        os.close(theirs)


def test_where_there_is_no_browser_the_address_is_shown(command: Callable[..., Command]) -> None:
    running = command("--open", "https://p.test/?u={redirect_uri}&s={state}", "--timeout", "0")
    url = running.read_url().replace(":", "%3A").replace("/", "%2F")
    status, _, err = running.end()
    assert status == 7
    assert re.search(rf"\nhttps://p\.test/\?u={url}&s=[\w-]{{43}}\n", err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_no_success(command: Callable[..., Command], number: signal.Signals) -> None:
    running = command()
    running.read_url()
    running.process.send_signal(number)
    status, out, err = running.end()
    assert status == {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}[number]
    assert (out, err.strip()) == ("", "")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--path", "x"), "path: 'x' has to start with one slash"),
        (("--port", "99999"), "ports: 99999 is not between 0 and 65535"),
        (("--port", "http"), "'http' is not a valid integer"),
        (("--timeout", "-1"), "--timeout: -1.0 is negative"),
        (("--state", ""), "state: '' "),
        (("app:app",), "unexpected extra argument"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], fault: str) -> None:
    done = run("callback", *words)
    assert done.returncode == 2
    assert fault in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_fits_on_a_screen(run: Run) -> None:
    done = run("callback", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "{redirect_uri}" in done.stdout
    assert len(done.stdout.splitlines()) < 30
