"""PEP 3333 over real sockets, row by row; the table is in `pep3333.py`."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

import aserve

from .pep3333 import ABSENT, ENVIRON, GOOD, REFUSED, EnvironRow, GoodRow, answering
from .pep3333_wrong import CUT, WRONG, WrongRow
from .wsgi_server import DEADLINE, App, LiveServer, Log, chunked, request

REQUIRED = {
    "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT",
    "SERVER_PROTOCOL", "wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors",
    "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once",
}  # fmt: skip


@pytest.fixture(scope="module")
def live() -> Iterator[LiveServer]:
    with LiveServer() as server:
        yield server


@pytest.fixture
def log() -> Iterator[Log]:
    with Log() as handler:
        yield handler


def environ_of(live: LiveServer, sent: bytes) -> dict[str, Any]:
    """What an app is given for a request; it reads its body first."""
    seen: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        seen.put(environ)
        start_response("204 No Content", [])
        return []

    live.app = app
    with live.connect() as client:
        client.send(sent)
        assert client.answer().status == 204
    return seen.get(timeout=DEADLINE)


@pytest.mark.parametrize("row", ENVIRON, ids=lambda row: f"{row.section}: {row.name}")
def test_environ(live: LiveServer, row: EnvironRow) -> None:
    """B26, B28, B29, B31 to B36, B38, B40, B46, B69."""
    environ = environ_of(live, row.sent)
    found = {key: environ.get(key, ABSENT) for key in row.expected}
    assert found == row.expected
    assert environ.keys() >= REQUIRED


def test_environ_is_a_plain_dict_of_native_strings(live: LiveServer) -> None:
    """Section "environ Variables": CGI values are str, and the environ a built-in dict."""
    environ = environ_of(live, request("/a?b", "POST", "X-A: b", body=b"abc"))
    assert type(environ) is dict
    assert [key for key, value in environ.items() if key.isupper() and type(value) is not str] == []


def test_environ_of_the_connection(live: LiveServer) -> None:
    """B30, B31: ports are str."""
    environs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environs.put(environ)
        start_response("204 No Content", [])
        return []

    live.app = app
    with live.connect() as client:
        client.send(request())
        assert client.answer().status == 204
        own_port = str(client.sock.getsockname()[1])
    environ = environs.get(timeout=DEADLINE)
    assert (environ["REMOTE_PORT"], environ["SERVER_PORT"]) == (own_port, str(live.port))
    assert environ["aserve.server"] is live.server
    assert environ["aserve.client_disconnected"]() in (False, True)


@pytest.mark.parametrize(("name", "sent"), REFUSED, ids=[name for name, _ in REFUSED])
def test_what_never_reaches_an_app(live: LiveServer, name: str, sent: bytes) -> None:
    """B37, B39, B41, B48: answered with 400 before any app, or where the app reads."""
    live.app = lambda environ, start: [environ["wsgi.input"].read(), 1 / 0][:0]
    with live.connect() as client:
        client.send(sent)
        assert client.answer().status == 400
        assert client.rest() == b""


@pytest.mark.parametrize("row", GOOD, ids=lambda row: f"{row.section}: {row.name}")
def test_good_apps(live: LiveServer, log: Log, row: GoodRow) -> None:
    """B38, B42, B49 to B52, B60 to B64: the same twice, over one connection where it stays."""
    live.app = row.app
    method = row.sent.partition(b" ")[0].decode()
    with live.connect() as client:
        client.send(row.sent)
        answer = client.answer(method)
        assert (answer.status, answer.body) == (row.status, row.body)
        assert {name: answer.all(name) for name in row.headers} == row.headers
        assert len(answer.all("date")) == len(answer.all("server")) == 1
        if answer.all("connection") != ["close"]:
            client.send(row.sent)
            again = client.answer(method)
            assert (again.status, again.body) == (row.status, row.body)
    assert [line for line in log.lines if not line.startswith("WARNING")] == []


@pytest.mark.parametrize("row", WRONG, ids=lambda row: f"{row.section}: {row.name}")
def test_wrong_apps(live: LiveServer, log: Log, row: WrongRow) -> None:
    """B56, B57, B60, B63, B65: a 500 or a cut, a line in the log, and the server lives."""
    live.app = row.app
    with live.connect() as client:
        client.send(request())
        answer = client.answer()
    log.wait_for(row.log)
    assert answer.complete is (row.status != CUT)
    assert answer.status == (row.status or 200)
    if row.status == 500:
        assert answer.body == b"The application failed; its log says why.\n"
    else:
        assert answer.body == row.body
    assert not any("secret" in value for _, value in answer.headers)
    live.app = answering([b"alive"])
    assert live.get().body == b"alive"


def test_log_shows_the_apps_frames_only(live: LiveServer, log: Log) -> None:
    """B57: a traceback that starts in the application."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise ValueError("oh")

    live.app = app
    assert live.get().status == 500
    line = log.wait_for("ValueError: oh")
    frames = re.findall('  File "(.*)", line', line)
    assert frames[-1] == __file__
    assert not any(Path(aserve.__file__).parent in Path(frame).parents for frame in frames)


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "404 Not Found", "500 Internal Server Error"]
)
def test_connection_outlives_the_response(live: LiveServer, status: str) -> None:
    """An answered request, good or bad, keeps the connection."""
    live.app = answering([], status=status)
    with live.connect() as client:
        for _ in range(3):
            client.send(request())
            assert client.answer().status == int(status[:3])


def _echo(environ: Any, start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.read(2), body.readline(9), *body.readlines(3), body.read(-1)]


def _stream(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"%d" % number for number in range(5))


def _empty(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


class Clean:
    """An iterable with `close`, as frameworks return."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"clean"

    def close(self) -> None:
        """Nothing to do."""


def _closing(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Clean()


def _writing(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])(b"written")
    return []


CHUNKED_POST = request("/", "POST", "Transfer-Encoding: chunked") + chunked(b"abc\n", b"def")
LARGE_POST = request("/", "POST", body=b"x" * 200_000)


@pytest.mark.parametrize(
    ("app", "sent", "body"),
    [
        (_echo, request(), b""),
        (_echo, request("/", "POST", body=b"abc\ndef"), b"abc\ndef"),
        (_echo, CHUNKED_POST, b"abc\ndef"),
        (_echo, LARGE_POST, b"x" * 200_000),
        (_stream, request(), b"01234"),
        (_stream, request("/", "HEAD"), b""),
        (_closing, request(), b"clean"),
        (_closing, request("/", "HEAD"), b""),
        (_writing, request(), b"written"),
        (_empty, request(), b""),
    ],
    ids=str,
)
def test_wsgiref_validate(live: LiveServer, log: Log, app: App, sent: bytes, body: bytes) -> None:
    """The standard library's checker has nothing against either side."""
    live.app = validator(app)
    with live.connect() as client:
        client.send(sent)
        answer = client.answer(sent.partition(b" ")[0].decode())
    assert answer.status in (200, 204), log.lines
    assert answer.body == body
    assert log.lines == []


def test_validator_of_the_standard_library_is_at_work(live: LiveServer, log: Log) -> None:
    """An app that breaks a rule that only the checker knows: text without a Content-Type."""
    live.app = validator(answering([b"x"]))
    assert live.get().status == 500
    log.wait_for("AssertionError")


def test_errors_stream(live: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Section "Input and Error Streams": wsgi.errors takes text."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        environ["wsgi.errors"].writelines(["for ", "the log\n"])
        environ["wsgi.errors"].flush()
        return []

    with LiveServer(app) as other:
        assert other.get().status == 200
    assert "for the log\n" in capsys.readouterr().err
