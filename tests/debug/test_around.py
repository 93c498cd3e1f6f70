"""What `DebuggedApplication` does to responses, requests and the log around an exception."""

from __future__ import annotations

import gc
import io
import re
import traceback
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aserve.debug import DebuggedApplication
from aserve.types import Environ, StartResponse

from .support import PAGE, Client, ask, fails
from .test_middleware import Server, works


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ASERVE_DEBUG_PIN", raising=False)


class Stream:
    """What is its own iterator, as `werkzeug.wsgi.ClosingIterator`."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return b"piece"

    def close(self) -> None:
        self.closed += 1


def test_what_is_given_up_is_closed_one_time() -> None:
    """A client leaves: the server asks for no further piece, closes, and lets go."""
    stream = Stream()
    result = DebuggedApplication(lambda environ, start_response: stream)(
        {"PATH_INFO": "/"}, lambda *_: lambda data: None
    )
    pieces_ = iter(result)
    assert next(pieces_) == b"piece"
    result.close()  # type: ignore[attr-defined]
    del pieces_, result
    gc.collect()
    assert stream.closed == 1


def chained(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"begun"
    raise LookupError("in the middle") from KeyError("the cause")


def test_a_cause_goes_on_to_the_server() -> None:
    server = Server()
    environ = {"PATH_INFO": "/", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    result = iter(DebuggedApplication(chained)(environ, server.start_response))
    server.sent.append(next(result))
    with pytest.raises(LookupError) as caught:
        next(result)
    assert isinstance(caught.value.__cause__, KeyError)
    shown = "".join(traceback.format_exception(caught.value))
    assert "the direct cause" in shown
    assert "in start_response" not in shown


def test_a_failure_of_the_debugger_leaves_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> object:
        raise RuntimeError("ours")

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise LookupError("theirs") from KeyError("the cause")

    monkeypatch.setattr("aserve.debug.debugger.view_request", broken)
    with pytest.raises(LookupError) as caught:
        ask(DebuggedApplication(app), **PAGE)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__context__ is None


def test_paths_that_begin_like_the_consoles_are_the_apps() -> None:
    app = DebuggedApplication(works, True, console_path="/console")
    for path in ("/consoles", "/console/", "/console/more"):
        assert ask(app, path, **{"wsgi.input": io.BytesIO(b"body")}).body == b"body"
    assert ask(app, "/.aserve/debug/nothing").status == 404


class Context:
    """Leads to its environ, as Flask's do."""

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        environ["werkzeug.debug.preserve_context"](self)


@pytest.mark.parametrize("kind", [list, iter])
def test_a_healthy_request_leaves_no_garbage(kind: Any) -> None:
    made: list[weakref.ref[Context]] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        made.append(weakref.ref(Context(environ)))
        start_response("200 OK", [])
        return kind([b"fine"])  # type: ignore[no-any-return]

    debugged = DebuggedApplication(app)
    gc.disable()
    try:
        ask(debugged)
        assert made[0]() is None
    finally:
        gc.enable()


def test_what_no_page_shows_pushes_none_out() -> None:
    """Images that a foreign page asks for, say, or a probe that fails every second."""
    client = Client()
    client.unlock()
    elsewhere = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "no-cors"}
    for _ in range(10):
        ask(client.app, **{**PAGE, **elsewhere})
        ask(client.app, HTTP_ACCEPT="*/*")
    assert client.command("locals", frame=0)["ok"]


def test_an_offer_of_http_2_is_no_websocket(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(DebuggedApplication(fails), HTTP_UPGRADE="h2c", HTTP_ACCEPT="*/*")
    assert "LookupError" in answer.text
    with pytest.raises(LookupError):
        ask(DebuggedApplication(fails), HTTP_UPGRADE="websocket")
    assert "the error page is" in caplog.text


def test_the_log_links_to_no_foreign_host(caplog: pytest.LogCaptureFixture) -> None:
    app = DebuggedApplication(fails)
    for host in ("evil.example", "localhost:8000"):
        with pytest.raises(LookupError):
            ask(app, HTTP_UPGRADE="websocket", HTTP_HOST=host, SERVER_NAME="127.0.0.1",
                SERVER_PORT="8000", SCRIPT_NAME="/sh\xc3\xb6p")  # fmt: skip
    assert "evil.example" not in caplog.text
    links = re.findall(r"http://(\S+)/\.aserve", caplog.text)
    assert links == ["localhost:8000/sh%C3%B6p"]


def test_what_nobody_reads_pushes_out_nothing_that_was_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Reports that only the log tells of have a place of their own, foreign ones have none."""
    client = Client()
    client.unlock()
    link = re.compile(r"http://[^/]+(/\.aserve/debug/report/\S+)")
    websocket = {"HTTP_UPGRADE": "websocket", "HTTP_SEC_FETCH_SITE": "same-origin"}
    for _ in range(12):
        with pytest.raises(LookupError):
            ask(client.app, **websocket)
    links = link.findall(caplog.text)
    assert len(links) == 12
    assert client.command("locals", frame=0)["ok"]
    assert [ask(client.app, path, **PAGE).status for path in links] == [404] * 2 + [200] * 10
    caplog.clear()
    for foreign in (
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_ORIGIN": "https://evil.example"},
        {"HTTP_HOST": "evil.example"},
    ):
        with pytest.raises(LookupError):
            ask(client.app, HTTP_UPGRADE="websocket", **foreign)
    assert not link.findall(caplog.text)
    assert ask(client.app, links[-1], **PAGE).status == 200


def test_reports_that_are_not_here_say_why() -> None:
    client = Client()
    owner = client.settings["report"].rpartition(".")[0]
    path = "/.aserve/debug/report/"
    assert "not kept" in ask(client.app, path + owner + "." + "x" * 22, **PAGE).text
    assert "not kept" in ask(client.app, path + "%3Cb%3E<b>", **PAGE).text
    other = path + "1.xxxxxx." + "x" * 22
    assert "loaded anew" in ask(client.app, other, **PAGE).text
    again = ask(client.app, other, **PAGE, **{"wsgi.multiprocess": True, "aserve.server": "1"})
    assert (again.status, again.headers["connection"]) == (404, "close")


def test_mounted_below_a_name_that_is_not_english() -> None:
    settings = ask(DebuggedApplication(fails), SCRIPT_NAME="/sh\xc3\xb6p?", **PAGE).settings
    assert settings["command_url"] == "/sh%C3%B6p%3F/.aserve/debug/command"


def test_two_consoles_begin_at_once() -> None:
    client = Client(pin="off")
    report = client.app._debugger()._commands.store.get(client.settings["report"])
    # As if another thread were about to make one.
    output = report.context.run(lambda: client.command("eval", frame=0, code="1")["output"])
    assert output == "1\n"
