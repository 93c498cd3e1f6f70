"""Secrets stand in no list of processes and in no log; and who can reach the server at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ..e2e.conftest import Child, Start
from ..e2e.debugging import Page
from .asking import ask

APP = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise LookupError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
"""
PIN = "864-297-531"


def family(child: Child) -> list[int]:
    """The process and all below it."""
    found = [child.pid]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


@pytest.mark.parametrize("words", [["--reload"], ["--processes", "2"], ["--no-reload"]])
def test_no_process_shows_a_secret(tmp_path: Path, start: Start, words: list[str]) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pyproject.toml").write_text(f'[tool.aserve]\ndebug_pin = "{PIN}"\n')
    child = start("app.py", "--port", "0", "--ssl", "adhoc", *words)
    child.wait_for("ready in")
    for pid in family(child):
        shown = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert PIN.encode() not in shown
        assert b"PRIVATE KEY" not in shown + Path(f"/proc/{pid}/environ").read_bytes()
        # What it needs to know comes over a socket; its arguments are words and numbers.
        assert not [word for word in shown.split(b"\0") if len(word) > 300]


def test_no_log_has_the_pin_or_the_token(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(APP)
    variables = {"ASERVE_DEBUG_PIN": PIN, "ASERVE_LOG_LEVEL": "debug"}
    child = start("app.py", "--port", "0", "--reload", **variables)
    page = Page(child.port, "/raise")
    assert page.command("unlock", pin="111-111-111")["error"] == "wrong-pin"
    assert page.command("unlock", pin=PIN)["ok"]
    assert page.command("eval", frame=0, code="1")["output"] == "1\n"
    assert PIN not in page.text
    assert child.end() == 0
    for secret in (PIN, "111-111-111", page.settings["token"], page.cookie.partition("=")[2]):
        assert secret
        assert secret not in child.errors
    shown = start("config", **variables)
    assert shown.process.stdout is not None
    assert PIN not in shown.process.stdout.read()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_unix_socket_has_the_rights_of_the_umask(tmp_path: Path, start: Start, mask: int) -> None:
    """To connect takes the right to write: with the usual mask, its user's alone."""
    (tmp_path / "app.py").write_text(APP)
    before = os.umask(mask)
    try:
        child = start("app.py", "--uds", "app.sock")
        child.wait_for("ready in")
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "app.sock").stat().st_mode)
    assert mode == 0o777 & ~mask
    assert not mode & 0o022


def test_loopback_unless_told_otherwise(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(APP)
    child = start("app.py", "--port", "0")
    port = f":{child.port:04X}"
    bound = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{child.pid}/net/{table}").read_text().splitlines()[1:]:
            place, state = line.split()[1], line.split()[3]
            if place.endswith(port) and state == "0A":
                bound.add(place.removesuffix(port))
    assert bound <= {"0100007F", "00000000000000000000000001000000"}
    assert bound


def test_https_refers_no_foreign_name(tmp_path: Path, start: Start) -> None:
    """Plain HTTP on the port of HTTPS is sent on, for the names that are answered only."""
    (tmp_path / "app.py").write_text(APP)
    child = start("app.py", "--port", "0", "--ssl", "adhoc")
    port = child.port
    answer = ask(port, host=f"localhost:{port}", target="/a?b")
    assert (answer.status, answer.headers["location"]) == (307, f"https://localhost:{port}/a?b")
    answer = ask(port, host="evil.example", target="/a?b")
    assert (answer.status, "location" in answer.headers) == (403, False)


def test_an_app_that_cannot_be_loaded_shows_no_pin(tmp_path: Path, start: Start) -> None:
    """Not on its page, in the text of it, in the terminal."""
    said = f"settings say pin {PIN} and {PIN.replace('-', '')}"
    (tmp_path / "app.py").write_text(f"raise RuntimeError({said!r})\n")
    child = start("app.py", "--port", "0", "--reload", ASERVE_DEBUG_PIN=PIN)
    port = int(child.wait_for(r"Until then http://[^:]+:(\d+) shows")[1])
    texts = [ask(port, "Accept: text/html").text, ask(port).text]
    child.end()
    once = start("app.py", "--port", "0", "--no-reload", ASERVE_DEBUG_PIN=PIN)
    assert once.wait() == 3
    for text in (*texts, child.errors, once.errors):
        assert "settings say pin" in text
        assert PIN not in text
        assert PIN.replace("-", "") not in text


LATE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/late":
        return late()
    if environ["PATH_INFO"] == "/base":
        raise SystemExit("864-297-531")
    if environ["PATH_INFO"] == "/first":
        raise LookupError("first")
    return [b"fine"]

def late():
    yield b"x"
    raise RuntimeError("late 864-297-531")
"""


def test_no_line_of_the_log_has_the_pin(tmp_path: Path, start: Start) -> None:
    """Whoever writes it: the debugger, the server, the access log."""
    (tmp_path / "app.py").write_text(LATE)
    child = start("app.py", "--port", "0", "--no-reload", ASERVE_DEBUG_PIN=PIN)
    for target in ("/first", "/late", "/base", f"/x?q=%22{PIN}%22", "/last"):
        ask(child.port, target=target)
    child.wait_for("GET /last")
    assert child.end() == 0
    assert "late <hidden>" in child.errors
    assert PIN not in child.errors
