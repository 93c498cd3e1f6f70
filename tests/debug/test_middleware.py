"""`DebuggedApplication` around apps, without a server; `tests/e2e` has it with real ones."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aserve.debug import DebuggedApplication, DebugSettings
from aserve.errors import ClientDisconnected, ConfigError
from aserve.types import Environ, StartResponse

from .support import PAGE, PIN, Client, ask, fails, pieces


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PINs and tries of their own, away from those of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ASERVE_DEBUG_PIN", raising=False)


def works(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def test_what_works_is_left_alone() -> None:
    result: list[bytes] = [b"one"]
    app = DebuggedApplication(lambda environ, start_response: result)
    assert app({"PATH_INFO": "/"}, None) is result  # type: ignore[arg-type]
    body = io.BytesIO(b"body")
    assert ask(DebuggedApplication(works), **{"wsgi.input": body}).body == b"body"


def test_a_page_for_a_browser(caplog: pytest.LogCaptureFixture) -> None:
    answer = Client().page
    assert answer.status == 500
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "nothing at /somewhere 3" in answer.text
    assert "local value" in answer.text
    (record,) = caplog.records
    assert record.getMessage() == "GET /somewhere: the application raised an exception"
    shown = logging.Formatter().format(record)
    assert "LookupError: nothing at /somewhere 3" in shown
    assert "middleware.py" not in shown


def test_an_app_that_forgets_its_return() -> None:
    answer = ask(DebuggedApplication(lambda environ, start_response: None), **PAGE)  # type: ignore[arg-type, return-value]
    assert answer.status == 500
    assert "the application returned None, not an iterable of bytes" in answer.text
    assert "for piece in" not in answer.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain", ""])
def test_text_for_everybody_else(accept: str) -> None:
    answer = ask(DebuggedApplication(fails), HTTP_ACCEPT=accept)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("Traceback (most recent call last):")
    assert answer.text.endswith("LookupError: nothing at / 3\n")
    assert "local value" not in answer.text.replace('word = "local value"', "")


def test_the_body_is_the_apps() -> None:
    body = io.BytesIO(b"x" * 100)
    ask(DebuggedApplication(fails), REQUEST_METHOD="POST", CONTENT_LENGTH="100",
        **{**PAGE, "wsgi.input": body})  # fmt: skip
    assert body.tell() == 0


def test_an_exception_behind_the_first_call() -> None:
    """A generator runs when the server iterates: nothing was sent, so it becomes a page."""
    answer = ask(DebuggedApplication(pieces(LookupError("late"))), **PAGE)
    assert answer.status == 500
    assert "late" in answer.text


class Server:
    """Sends at once, as PEP 3333 wants it: after the first piece the head is gone."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.head: Any = None

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        if exc_info and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        self.head = (status, headers)
        return self.sent.append


def test_a_response_that_has_begun_is_the_servers(caplog: pytest.LogCaptureFixture) -> None:
    app = DebuggedApplication(pieces(b"begun", LookupError("in the middle")))
    server = Server()
    environ = {"PATH_INFO": "/a\x1b[31m\n", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
               "REQUEST_METHOD": "GET", "HTTP_HOST": "localhost:8000"}  # fmt: skip
    result = iter(app(environ, server.start_response))
    server.sent.append(next(result))
    with pytest.raises(LookupError, match="in the middle"):
        next(result)
    (line,) = (record.getMessage() for record in caplog.records)
    assert "\x1b" not in line
    assert "\n" not in line
    url = line.rpartition(" ")[2]
    assert url.startswith("http://localhost:8000/.aserve/debug/report/")
    kept = ask(app, url.removeprefix("http://localhost:8000"), **PAGE)
    assert kept.status == 200
    assert "in the middle" in kept.text


def test_close_reaches_the_app() -> None:
    closed: list[str] = []

    class Closing:
        def __iter__(self) -> Iterator[bytes]:
            raise LookupError("at once")

        def close(self) -> None:
            closed.append("closed")

    ask(DebuggedApplication(lambda environ, start_response: Closing()), **PAGE)
    assert closed == ["closed"]


def test_a_client_that_left_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise ClientDisconnected("gone")

    with pytest.raises(ClientDisconnected):
        ask(DebuggedApplication(app), **PAGE)
    with pytest.raises(ClientDisconnected):
        ask(DebuggedApplication(pieces(ClientDisconnected("gone"))), **PAGE)
    assert not caplog.records


def test_locals_and_their_parts() -> None:
    client = Client()
    frame = 0
    for command in ("locals", "expand", "open"):
        assert client.command(command, frame=frame, path=["word"])["error"] == "pin"
    client.unlock()
    values = {value["name"]: value for value in client.command("locals", frame=frame)["values"]}
    assert values["word"]["text"] == "'local value'"
    assert values["numbers"]["can_expand"]
    parts = client.command("expand", frame=frame, path=["numbers"])["values"]
    assert [part["name"] for part in parts] == ["[0]", "[1]", "[2]"]
    parts = client.command("expand", frame=frame, path=["numbers", 2])["values"]
    assert parts[0]["text"] == "'local value'"
    for path in (["nothing"], ["numbers", 9], "numbers", [["numbers"]], [True]):
        assert client.command("expand", frame=frame, path=path)["error"] == "bad-request"
    for number in (99, -1, "0", None, True):
        assert client.command("locals", frame=number)["error"] == "bad-request"


def test_the_console_behind_the_pin() -> None:
    client = Client()
    assert client.command("eval", frame=0, code="1")["error"] == "pin"
    assert client.command("complete", frame=0, text="wo")["error"] == "pin"
    wrong = client.command("unlock", pin="111-111-111")
    assert (wrong["error"], wrong["left"]) == ("wrong-pin", 9)
    answer = client.send("unlock", pin=PIN)
    assert answer.json["ok"]
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert PIN not in cookie
    assert client.command("eval", frame=0, code="word.upper()")["output"] == "'LOCAL VALUE'\n"
    assert client.command("eval", frame=0, code="kept = _")["output"] == ""
    assert client.command("eval", frame=0, code="kept")["output"] == "'LOCAL VALUE'\n"
    assert client.command("complete", frame=0, text="wor")["matches"] == ["word"]
    error = client.command("eval", frame=0, code="1/0")
    assert "ZeroDivisionError" in error["output"]


def test_the_cookie_is_secure_over_tls() -> None:
    client = Client()
    answer = client.send(
        "unlock",
        {"wsgi.url_scheme": "https", "HTTP_ORIGIN": "https://localhost:8000"},
        pin=PIN,
    )
    assert "Secure" in answer.headers["set-cookie"]


def test_ten_wrong_pins_lock() -> None:
    client = Client(run_secret=b"a" * 32)
    lefts = [client.command("unlock", pin=f"{n:09}").get("left") for n in range(10)]
    assert lefts[:9] == list(range(9, 0, -1))
    assert client.command("unlock", pin=PIN)["error"] == "locked"
    # Also in another process of the run, or behind a reload.
    assert Client(run_secret=b"a" * 32).command("unlock", pin=PIN)["error"] == "locked"
    Client(run_secret=b"b" * 32).unlock()


def test_a_run_does_not_know_the_cookies_of_another() -> None:
    first = Client(run_secret=b"a" * 32)
    first.unlock()
    second = Client(run_secret=b"b" * 32)
    second.cookie = first.cookie
    assert second.command("eval", frame=0, code="1")["error"] == "pin"
    same = Client(run_secret=b"a" * 32)
    same.cookie = first.cookie
    assert same.command("eval", frame=0, code="1")["output"] == "1\n"


def test_two_servers_of_one_project_share_no_cookie() -> None:
    client = Client(run_secret=b"a" * 32)
    first = client.send("unlock", {"SERVER_PORT": "8000"}, pin=PIN).headers["set-cookie"]
    second = client.send("unlock", {"SERVER_PORT": "8001"}, pin=PIN).headers["set-cookie"]
    assert first.partition("=")[0] != second.partition("=")[0]


def test_without_evaluation() -> None:
    app = DebuggedApplication(fails)
    settings = ask(app, **PAGE).settings
    assert settings["can_eval"] is False
    client = Client()
    client.app, client.settings = app, settings
    assert client.command("eval", frame=0, code="1")["error"] == "no-eval"
    assert client.command("unlock", pin=PIN)["error"] == "no-eval"
    assert client.command("locals", frame=0)["error"] == "no-eval"


def test_no_pin_is_a_choice_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(pin="off")
    assert "asks for no PIN" in caplog.text
    assert client.command("eval", frame=0, code="6 * 7")["output"] == "42\n"


def test_a_console_of_its_own() -> None:
    app = DebuggedApplication(works, True, console_path="/console")
    settings = ask(app, "/console", **PAGE).settings
    client = Client()
    client.app = app
    client.settings = settings
    client.app._settings = DebugSettings(pin=PIN)
    assert ask(app, "/console", REQUEST_METHOD="POST").body == b""
    assert ask(DebuggedApplication(works, True), "/console").status == 200


def test_the_oldest_are_let_go() -> None:
    client = Client()
    client.unlock()
    for _ in range(10):
        ask(client.app, **PAGE)
    assert client.command("alive") == {
        "ok": True, "run": client.settings["generation"], "kept": False,
    }  # fmt: skip
    answer = client.command("locals", frame=0)
    assert answer["error"] == "dropped"


def test_another_process_has_it() -> None:
    client = Client()
    client.unlock()
    prefix = client.settings["report"]
    client.settings = {**client.settings, "report": "z" + prefix[1:]}
    # Of an id that this process cannot have made, nothing is known.
    assert client.command("locals", frame=0)["error"] in ("gone", "dropped")


def test_mounted_below_a_path() -> None:
    settings = ask(DebuggedApplication(fails, True), SCRIPT_NAME="/shop", **PAGE).settings
    assert settings["command_url"] == "/shop/.aserve/debug/command"


def test_a_pin_that_is_none_is_told_at_once() -> None:
    for pin in ("12", "secret", "12345\n"):
        with pytest.raises(ConfigError, match="debug_pin") as caught:
            DebuggedApplication(works, True, settings=DebugSettings(pin=pin))
        assert pin not in str(caught.value)


def test_a_failure_of_the_debugger_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object) -> object:
        raise RuntimeError("ours")

    monkeypatch.setattr("aserve.debug.debugger.view_request", broken)
    with pytest.raises(LookupError, match="nothing at /"):
        ask(DebuggedApplication(fails), **PAGE)
    assert "RuntimeError: ours" in caplog.text
