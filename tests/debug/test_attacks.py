"""What a page of another origin, a foreign name or a guess can reach: nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aserve.debug import DebuggedApplication
from aserve.types import Environ, StartResponse

from .support import PAGE, PIN, Client, ask, fails

SECRET = "hunter2-and-more"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ASERVE_DEBUG_PIN", raising=False)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8000",
     "localhostx", "[::1].evil.example"],
)  # fmt: skip
def test_a_foreign_name_sees_and_commands_nothing(host: str) -> None:
    for accept in ("text/html", "*/*"):
        answer = ask(DebuggedApplication(fails, True), HTTP_HOST=host, HTTP_ACCEPT=accept)
        assert answer.status == 500
        assert "LookupError" not in answer.text
        assert "token" not in answer.text
    client = Client()
    answer = client.send("locals", {"HTTP_HOST": host, "HTTP_ORIGIN": f"http://{host}"}, frame=0)
    assert (answer.status, answer.json["error"]) == (403, "forbidden")
    report = "/.aserve/debug/report/" + client.settings["report"]
    assert ask(client.app, report, **{**PAGE, "HTTP_HOST": host}).status == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "a.localhost", ""])
def test_own_names_see_it(host: str) -> None:
    answer = ask(DebuggedApplication(fails, True), **{**PAGE, "HTTP_HOST": host})
    assert "LookupError" in answer.text


def test_a_name_that_was_allowed() -> None:
    client = Client(allowed_hosts=("shop.test", "*", "*.", "**", "."))
    page = ask(client.app, **{**PAGE, "HTTP_HOST": "shop.test"})
    assert "LookupError" in page.text
    # `*` lets the app be asked by any name; nobody means the debugger by it.
    assert "LookupError" not in ask(client.app, **{**PAGE, "HTTP_HOST": "evil.example"}).text


@pytest.mark.parametrize(
    "fields",
    [
        {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "no-cors",
         "HTTP_SEC_FETCH_DEST": "script"},
        {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "navigate",
         "HTTP_SEC_FETCH_DEST": "iframe"},
        {"HTTP_SEC_FETCH_SITE": "same-site", "HTTP_SEC_FETCH_MODE": "cors",
         "HTTP_SEC_FETCH_DEST": "empty"},
        {"HTTP_ORIGIN": "https://evil.example"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "http://localhost:9000"},
        {"HTTP_ORIGIN": "https://localhost:8000"},
    ],
)  # fmt: skip
def test_other_origins_read_nothing(fields: dict[str, str]) -> None:
    answer = ask(DebuggedApplication(fails, True), **{**PAGE, **fields})
    assert answer.status == 500
    assert "LookupError" not in answer.text
    answer = Client().send("locals", fields, frame=0)
    if fields != {}:
        assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_link_from_elsewhere_shows_the_page() -> None:
    """The redirect of an identity provider, say: its answer is for the person in front."""
    fields = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "navigate",
              "HTTP_SEC_FETCH_DEST": "document"}  # fmt: skip
    assert "LookupError" in ask(DebuggedApplication(fails, True), **{**PAGE, **fields}).text


@pytest.mark.parametrize(
    "fields",
    [
        {"HTTP_X_ASERVE_DEBUG": None},
        {"HTTP_X_ASERVE_DEBUG": ""},
        {"HTTP_X_ASERVE_DEBUG": "guess"},
        {"HTTP_X_ASERVE_DEBUG": "\xff\u0100"},
        {"REQUEST_METHOD": "GET"},
        {"REQUEST_METHOD": "PUT"},
        {"CONTENT_TYPE": "text/plain"},
        {"CONTENT_TYPE": "application/x-www-form-urlencoded"},
        {"CONTENT_TYPE": None},
        {"HTTP_SEC_FETCH_SITE": "none"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
    ],
)
def test_a_command_needs_everything(fields: dict[str, Any]) -> None:
    client = Client(pin="off")
    answer = client.send("eval", fields, frame=0, code="1")
    assert (answer.status, answer.json["error"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"do": 1}', b'{"do": "no"}', b"[" * 100_000, b"\xff",
     b'{"do": "eval"}', b'{"do": "expand", "report": {}, "frame": []}'],
)  # fmt: skip
def test_commands_that_are_none(body: bytes) -> None:
    import io

    answer = Client(pin="off").send(
        "x", {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    )
    assert answer.status == 200
    assert answer.json["ok"] is False


@pytest.mark.parametrize("length", ["", "-1", "200001", "ten", "9" * 5000])
def test_lengths_of_commands(length: str) -> None:
    answer = Client().send("alive", {"CONTENT_LENGTH": length})
    assert answer.json["error"] == "bad-request"


@pytest.mark.parametrize(
    "fields",
    [
        {"REMOTE_ADDR": "192.168.1.5"},
        {"REMOTE_ADDR": "::ffff:10.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=1.2.3.4"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_REAL_IP": "1.2.3.4"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_VIA": "1.1 varnish"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": "https"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_HOST": "shop.example"},
    ],
)
def test_no_evaluation_beyond_this_machine(fields: dict[str, str]) -> None:
    client = Client(pin="off")
    page = ask(client.app, **{**PAGE, **fields})
    assert page.settings["can_eval"] is False
    assert client.command("eval", fields, frame=0, code="1")["error"] == "no-eval"
    assert client.command("unlock", fields, pin=PIN)["error"] == "no-eval"
    forced = Client(pin="off", eval_from_network=True)
    assert forced.command("eval", fields, frame=0, code="1")["output"] == "1\n"


def test_editors_open_for_this_machine_only() -> None:
    """Also where the console is for others: a window is of no use to them."""
    client = Client(editor="true", eval_from_network=True)
    classes = re.compile(r'<html lang="en" class="([^"]*)"')
    for fields, is_here in (({}, True), ({"REMOTE_ADDR": "192.168.1.5"}, False)):
        page = ask(client.app, **{**PAGE, **fields})
        assert ("has-editor" in classes.findall(page.text)[0]) is is_here
        answer = client.command("open", fields, frame=0)
        assert ("this machine only" in answer.get("message", "")) is not is_here


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "<local>"])
def test_evaluation_on_this_machine(peer: str) -> None:
    client = Client(pin="off")
    assert client.command("eval", {"REMOTE_ADDR": peer}, frame=0, code="1")["ok"]


def test_the_head_forbids_everything_else() -> None:
    headers = Client().page.headers
    policy = headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]{16,})'", policy)
    assert nonce is not None
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'",
                 "form-action 'none'", f"style-src 'nonce-{nonce[1]}'"):  # fmt: skip
        assert rule in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert Client().page.headers["content-security-policy"] != policy


def test_two_reports_and_two_runs_share_nothing_to_guess() -> None:
    first, second = Client(), Client()
    assert first.settings["token"] != second.settings["token"]
    assert first.settings["report"] != second.settings["report"]
    assert len(first.settings["token"]) >= 20
    second.settings = {**second.settings, "token": first.settings["token"]}
    assert second.send("locals", frame=0).status == 403


def leaks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    password = SECRET
    settings = {"API_KEY": SECRET, "nested": [{"client_secret": SECRET}]}
    raise LookupError(len(password) + len(settings))


def test_secrets_are_on_no_page_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fields = {
        **PAGE,
        "HTTP_AUTHORIZATION": f"Bearer {SECRET}",
        "HTTP_COOKIE": f"sessionid={SECRET}",
        "HTTP_X_API_KEY": SECRET,
        "QUERY_STRING": f"access_token={SECRET}&page=2",
    }
    client = Client(leaks)
    client.page = ask(client.app, "/there", **fields)
    client.settings = client.page.settings
    assert SECRET not in client.page.text
    assert "page" in client.page.text
    assert SECRET not in ask(client.app, **{**fields, "HTTP_ACCEPT": "*/*"}).text
    answer = client.send("locals", frame=0)
    assert SECRET not in answer.text
    client.unlock()
    client.command("unlock", pin="000-000-000")
    for record in caplog.records:
        text = logging.Formatter().format(record)
        assert SECRET not in text.replace("password = SECRET", "")
        assert PIN not in text
        assert client.settings["token"] not in text


def test_what_an_exception_says_is_text() -> None:
    payload = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028"

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        value = {payload: payload}
        raise type(f"Odd{payload}", (Exception,), {})(payload, value)

    page = ask(
        DebuggedApplication(app, True),
        "/" + payload.encode().decode("latin-1"),
        **{**PAGE, "QUERY_STRING": payload.encode().decode("latin-1"),
           "HTTP_USER_AGENT": payload.encode().decode("latin-1")},
    )  # fmt: skip
    assert "<script>alert" not in page.text
    assert "<img" not in page.text
    assert page.settings
