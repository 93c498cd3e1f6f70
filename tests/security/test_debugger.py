"""The debugger over a socket, as `aserve` serves it: pages, kept reports, commands, the console."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..e2e.conftest import Child, Start, starter
from ..e2e.debugging import Page, pin_of
from .asking import CROSS_ORIGIN, FOREIGN_HOSTS, Answer, ask, send

APP = """
def app(environ, start_response):
    word = "SECRET"
    raise LookupError(word)
"""
HTML = "Accept: text/html"
JSON = "Content-Type: application/json"
COMMAND = "/.aserve/debug/command"
WORDS = ("app.py", "--port", "0", "--debug-console", "--no-reload")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    folder = tmp_path_factory.mktemp("debugged")
    (folder / "app.py").write_text(APP)
    with starter(folder, XDG_STATE_HOME=str(folder / "state")) as start:
        child = start(*WORDS)
        child.wait_for("ready in")
        yield child


@pytest.fixture
def places(served: Child) -> dict[str, str]:
    """Every address of the debugger that answers to GET, and the app's own failure."""
    name = Page(served.port).settings["report"]
    return {"page": "/", "report": f"/.aserve/debug/report/{name}", "console": "/console"}


def has_told(answer: Answer) -> bool:
    return any(word in answer.text for word in ("SECRET", "LookupError", "token", "settings"))


def command(port: int, *lines: str, token: str, host: str = "localhost") -> Answer:
    body = json.dumps({"do": "alive", "report": "x"}).encode()
    lines = (JSON, f"X-Aserve-Debug: {token}", *lines)
    return ask(port, *lines, target=COMMAND, method="POST", host=host, body=body)


def test_who_may_see_it(served: Child, places: dict[str, str]) -> None:
    for target in places.values():
        assert has_told(ask(served.port, HTML, target=target)), target
    token = Page(served.port).settings["token"]
    assert command(served.port, token=token).status == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_names_get_nothing(served: Child, places: dict[str, str], host: str) -> None:
    refused = 400 if host.startswith("[") else 403  # it is no Host at all
    token = Page(served.port).settings["token"]
    for target in (*places.values(), COMMAND, "/.aserve/debug/"):
        for lines in ((), (HTML,), (f"Origin: http://{host}",), ("X-Forwarded-Host: localhost",)):
            answer = ask(served.port, *lines, target=target, host=host)
            assert answer.status == refused
            assert not has_told(answer)
    assert command(served.port, token=token, host=host).status == refused
    absolute = ask(served.port, target=f"http://{host}{COMMAND}", method="POST")
    assert absolute.status == refused


@pytest.mark.parametrize("options", ["", ", allowed_hosts=('*',)"])
def test_a_program_that_lets_all_names_in(tmp_path: Path, start: Start, options: str) -> None:
    """The app is for every name, and the debugger is not."""
    (tmp_path / "main.py").write_text(
        f"{APP}\nimport aserve\naserve.run(app, port=0, debug=True, debug_console=True{options})\n"
    )
    port = start(sys.executable, "main.py", raw=True).port
    page = Page(port)
    report = f"/.aserve/debug/report/{page.settings['report']}"
    for target in ("/", "/console", report):
        for lines in ((), (HTML,), (HTML, "Origin: http://shop.example")):
            assert not has_told(ask(port, *lines, target=target, host="shop.example"))
    token = page.settings["token"]
    assert command(port, token=token, host="shop.example").status == 403
    assert command(port, token=token).status == 200


@pytest.mark.parametrize("lines", CROSS_ORIGIN.values(), ids=CROSS_ORIGIN)
def test_pages_of_other_origins_get_nothing(
    served: Child, places: dict[str, str], lines: str
) -> None:
    for target in places.values():
        for accept in (HTML, "Accept: */*"):
            answer = ask(served.port, accept, lines, target=target)
            assert not has_told(answer), (target, accept)
            assert answer.status in (403, 500)
    assert command(served.port, lines, token=Page(served.port).settings["token"]).status == 403


def test_no_origin_is_let_in_by_cors(served: Child, places: dict[str, str]) -> None:
    ask_first = ("Origin: https://evil.example", "Access-Control-Request-Method: POST",
                 "Access-Control-Request-Headers: x-aserve-debug, content-type",
                 "Access-Control-Request-Private-Network: true")  # fmt: skip
    for target in (*places.values(), COMMAND):
        for method in ("OPTIONS", "GET", "POST"):
            headers = ask(served.port, *ask_first, target=target, method=method).headers
            assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_forms_of_other_pages_command_nothing(served: Child, kind: str) -> None:
    """What a browser posts anywhere without asking first."""
    body = b'{"do": "eval", "frame": 0, "code": "1", "x": "="}'
    token = f"X-Aserve-Debug: {Page(served.port).settings['token']}"
    for lines in ((), (token,)):
        lines = (f"Content-Type: {kind}", *lines)
        answer = ask(served.port, *lines, target=COMMAND, method="POST", body=body)
        assert answer.status == 403


def test_a_command_needs_the_token_of_this_run(tmp_path: Path, served: Child, start: Start) -> None:
    (tmp_path / "app.py").write_text(APP)
    other = Page(start(*WORDS).port).settings["token"]
    for token in ("", "guess", other, other.upper(), "\xff"):
        assert command(served.port, token=token).status == 403
    token = Page(served.port).settings["token"]
    for target in (f"{COMMAND}?token={token}", f"{COMMAND}?X-Aserve-Debug={token}"):
        answer = ask(served.port, JSON, target=target, method="POST", body=b'{"do": "alive"}')
        assert answer.status == 403


def test_nothing_is_framed_kept_or_guessed(served: Child, places: dict[str, str]) -> None:
    token = Page(served.port).settings["token"]
    pages = [ask(served.port, HTML, target=target) for target in places.values()]
    for answer in (*pages, ask(served.port), command(served.port, token=token)):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    for page in pages:
        assert page.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"
        # Nothing secret stands in an address, which is what logs and Referer show.
        assert not re.search(rf"(?:href|src|action)=\"[^\"]*{token}", page.text)


def test_ten_wrong_pins_lock_it(tmp_path: Path, start: Start) -> None:
    (tmp_path / "app.py").write_text(APP)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    page = Page(start(*WORDS, **state).port)
    for _ in range(9):
        assert page.command("unlock", pin="000-000-000")["error"] == "wrong-pin"
    assert page.command("unlock", pin="000-000-000")["error"] == "locked"
    assert page.command("unlock", pin=pin_of(start("pin", **state)))["error"] == "locked"
    assert page.command("eval", frame=0, code="1")["error"] == "pin"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_no_console_through_a_proxy_that_says_so(served: Child, name: str) -> None:
    answer = ask(served.port, HTML, f"{name}: 127.0.0.1", target="/console")
    assert (answer.status, has_told(answer)) == (403, False)


def test_http_1_0_and_hosts_that_are_none(served: Child) -> None:
    assert has_told(send(served.port, b"GET / HTTP/1.0\r\nAccept: text/html\r\n\r\n"))
    for head in (
        b"GET /console HTTP/1.1",
        b"GET /console HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        b"GET /console HTTP/1.1\r\nHost: localhost:80@evil.example",
        b"GET /console HTTP/1.1\r\nHost: evil@localhost",
        b"GET http://localhost@evil.example/console HTTP/1.1\r\nHost: localhost",
    ):
        answer = send(served.port, head + b"\r\n\r\n")
        assert (answer.status, has_told(answer)) == (400, False)


def test_refused_commands_are_in_the_log(tmp_path: Path, start: Start) -> None:
    """The page's own, which come each second, are not."""
    (tmp_path / "app.py").write_text(APP)
    child = start(*WORDS)
    page = Page(child.port)
    page.command("alive")
    assert command(child.port, token="guess").status == 403
    child.wait_for(r'"POST /\.aserve/debug/command HTTP/1\.1" 403')
    ask(child.port, target="/.aserve/../hidden")
    child.wait_for(r'"GET /\.aserve/\.\./hidden HTTP/1\.1" 500')
    assert child.errors.count("/.aserve/debug/command") == 1
    assert page.settings["token"] not in child.errors
