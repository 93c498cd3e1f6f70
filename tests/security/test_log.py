"""Whatever a client, a file or an app says: no terminal that shows the log obeys it."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from ..e2e.conftest import DEADLINE, Child, Start
from .asking import ask, send

APP = r"""
import aserve
from aserve import run_simple
from aserve.handler import WSGIRequestHandler

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/raise"):
        raise ValueError("boom " + EVIL)
    if path.startswith("/none"):
        return None
    if path.startswith("/name"):
        start_response("200 OK", [("X-" + EVIL, "x")])
    if path.startswith("/status"):
        start_response("200 OK" + EVIL, [])
    if path.startswith("/begun"):
        return begun(start_response)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

def begun(start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise ValueError(EVIL)

class Handler(WSGIRequestHandler):
    def log_request(self, code="-", size="-"):
        super().log_request(code, size)

EVIL = (
    "\x1b[2J\x9b2J\r\u2028\u202eforged\u061c\udc80\x7f"
    "\nforged line\n[2026-01-01 00:00:00] ERROR forged\r\nforged\n"
)

if __name__ == "__main__":
    import sys
    {
        "run": lambda: aserve.run(app, port=0),
        "debug": lambda: aserve.run(app, port=0, debug=True),
        "handler": lambda: run_simple("127.0.0.1", 0, app, request_handler=Handler),
    }[sys.argv[1]]()
"""

# What moves a cursor, forges a line, or turns the direction of writing.
OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
# As bytes, as UTF-8, and percent-encoded, which a log decodes for its reader.
EVIL = b"\x9b2J\xc2\x9b2J\xe2\x80\xaex%1b[2J%0d%0aforged%c2%9b%7f\xff"


def _check(child: Child) -> None:
    """The whole log, once the process has ended."""
    assert child.end(signal.SIGINT) == 0
    assert "forged" in child.errors
    for line in child.errors.split("\n"):
        assert not OBEYED.search(line), ascii(line)
        assert not line.startswith(("forged", "[2026-01-01")), ascii(line)


# As apps configure it: then they format our records.
LOGGING = "import logging\nlogging.basicConfig(level='INFO', format='%(levelname)s %(message)s')\n"
WAYS = {
    "command line": ["app.py", "--port", "0"],
    "reload": ["app.py", "--port", "0", "--reload"],
    "no debugger": ["app.py", "--port", "0", "--no-debug"],
    "processes": ["app.py", "--port", "0", "--processes", "2"],
    "run": ["run"], "run debug": ["debug"], "request handler": ["handler"],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("colour", "logging"), [("0", ""), ("1", ""), ("0", LOGGING)])
def test_no_request_writes_on_the_terminal(
    tmp_path: Path, start: Start, way: list[str], colour: str, logging: str
) -> None:
    (tmp_path / "app.py").write_text(logging + APP)
    words = way if len(way) > 1 else [sys.executable, "app.py", *way]
    # Colours are the server's own sequences; without them none may be there at all.
    child = start(*words, raw=len(way) == 1, FORCE_COLOR=colour)
    port = int(child.wait_for(r"http://[^:\s]+:(\d+)\b[^\n]*ready in")[1])
    target = EVIL.decode("latin-1")
    for path in ("/", "/raise", "/none", "/name", "/status", "/begun"):
        ask(port, "User-Agent: \x9b2J", "X-\x7f: x", target=path + target)
        ask(port, "User-Agent: \x9b2J\xff", "Referer: \x9b", target=path + target)
    for broken in (
        b"\x1b[2JGET / HTTP/1.1\r\n\r\n",
        b"GET /\x9b\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x9b HTTP/9.9\x9b\r\n\r\n",
        b"\x9b2J\xc2\x9b\xe2\x80\xae / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \x9b2J\x1b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX\x1b: b\r\n\r\n",
        b"POST /\x9b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: \x9b\r\n\r\n",
        b"POST /\x9b HTTP/1.1\r\nHost: localhost\r\nContent-Length: \x9b\r\n\r\n",
        b"POST /\x9b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\x1b\r\n",
    ):
        assert 400 <= send(port, broken).status < 600
    send(port, b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    child.wait_for(r"GET /last HTTP/1\.1")
    if colour == "1":
        child.errors = re.sub(r"\x1b\[[\d;]*m", "", child.errors)
    _check(child)


def test_the_text_of_a_traceback_is_for_a_terminal(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(APP)
    child = start("app.py", "--port", "0")
    text = ask(child.port, target="/raise").text
    assert "ValueError: boom \\x1b[2J\\x9b2J\\r\\u2028\\u202eforged" in text
    assert not OBEYED.search(text.replace("\n", ""))


@pytest.mark.parametrize("words", [["--reload"], ["--no-reload"]])
def test_an_app_that_cannot_be_loaded(tmp_path: Path, start: Start, words: list[str]) -> None:
    (tmp_path / "app.py").write_text(r'raise ValueError("\x1b[2J\x9b2J\r\u202eforged")')
    child = start("app.py", "--port", "0", *words)
    if "--reload" in words:
        child.wait_for("Until then")
        assert child.end(signal.SIGINT) == 0
    else:
        assert child.wait() == 3
    assert "\\x1b[2J\\x9b2J\\r\\u202eforged" in child.errors
    assert not OBEYED.search(child.errors.replace("\n", ""))


def test_names_of_files(tmp_path: Path, start: Start) -> None:
    """A checkout of somebody else's branch makes files of any name."""
    (tmp_path / "app.py").write_text(
        APP.replace("EVIL =", "import glob; glob.glob('*.py'); EVIL =")
    )
    child = start("app.py", "--port", "0", "--reload", "--extra-files", "*.txt")
    port = child.port
    odd = tmp_path / "x\x1b[2J\nforged\u202e.txt"
    odd.write_text("x")
    child.wait_for("Detected change in .*reloading")
    assert ask(port).text == "ok"
    _check(child)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[tool.aserve]\napp = "x\\u001b[2J\\nforged\\u202e\\u009b"\n'),
        ("pyproject.toml", '[tool.aserve]\nwatch = ["x\\u001b[2J\\nforged\\r"]\n'),
        ("pyproject.toml", '[tool.aserve]\neditor = "x\\u001b]0;\\u0007\\nforged"\n'),
        ("pyproject.toml", '[tool.aserve]\n"\\u001b[2J\\nforged" = 1\n'),
        ("pyproject.toml", '[tool.aserve]\nport = "\\u001b[2J\\nforged"\n'),
        (".env", "ASERVE_APP='x\x1b[2J\nforged\u202e'\n"),
        (".env", "ASERVE_PORT='\x1b[2J\nforged\u202e'\n"),
    ],
)
def test_a_project_that_is_looked_at(tmp_path: Path, start: Start, name: str, text: str) -> None:
    """`aserve config` runs nothing of a project, so people try it before they trust one."""
    (tmp_path / name).write_text(text)
    # A variable that is no option is told of.
    child = start("config", **{"ASERVE_\x1b[2J\nforged": "1"})
    assert child.process.stdout is not None
    shown = child.process.stdout.read()
    child.wait()
    said = shown + child.errors
    assert "forged" in said
    for line in said.split("\n"):
        assert not OBEYED.search(line), ascii(line)
        assert not line.startswith("forged"), ascii(line)


def test_what_an_authorization_server_says(start: Start) -> None:
    child = start("callback", "--timeout", str(DEADLINE))
    port = int(child.wait_for(r"http://127\.0\.0\.1:(\d+)/callback")[1])
    target = (
        "/callback?error=%1b[2J%c2%9b&error_description=%0aforged%e2%80%ae&error_uri=%1b]0;x%07"
    )
    answer = ask(port, target=target)
    assert answer.status == 200
    assert child.process.stdout is not None
    said = child.process.stdout.read()
    assert child.wait() == 6
    for line in (said + child.errors + answer.text).split("\n"):
        assert not OBEYED.search(line), ascii(line)
        assert not line.startswith("forged"), ascii(line)


def test_messages_are_safe_for_other_handlers_too(tmp_path: Path, start: Start) -> None:
    """An app that configures logging prints our records by itself."""
    (tmp_path / "app.py").write_text(
        "import logging\nlogging.basicConfig(format='%(levelname)s %(message)s')\n" + APP
    )
    child = start("app.py", "--port", "0", "--no-debug")
    ask(child.port, target="/none" + EVIL.decode("latin-1"))
    child.wait_for("ERROR GET /none.*broke WSGI")
    _check(child)
