"""`aserve.threads` and `aserve.process`: servers for programs without a loop."""

from __future__ import annotations

import http.client
import logging
import multiprocessing
import os
import select
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aserve
from aserve import prefork
from aserve.threads import WSGIServer
from aserve.types import Environ, StartResponse

from .helpers import no_time_passes

DEADLINE = 20


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", environ["PATH_INFO"].encode()]


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        body: bytes = answer.read()
        return body


class Gate:
    """An app whose requests wait."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            self.entered.set()
            self.opened.wait(DEADLINE)
        return hello(environ, start_response)


# -- ServerThread --------------------------------------------------------------------------


def test_a_thread_serves_and_ends() -> None:
    before = set(threading.enumerate())
    with aserve.ServerThread(hello) as server:
        assert get(f"{server.url}/a") == b"hello /a"
        assert server.port
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE)  # it has done its work, and is on its way out
        assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_it_can_be_started_again() -> None:
    server = aserve.ServerThread(hello)
    with pytest.raises(aserve.AserveError, match="was not started"):
        _ = server.url
    for _ in range(2):
        server.start()
        assert get(server.url) == b"hello /"
        server.shutdown()
    server.shutdown()
    server.join()


def test_what_runs_is_finished_before_shutdown_returns() -> None:
    gate = Gate()
    answers: list[bytes] = []
    with aserve.ServerThread(gate) as server:
        client = threading.Thread(target=lambda: answers.append(get(f"{server.url}/wait")))
        client.start()
        gate.entered.wait(DEADLINE)
        ending = threading.Thread(target=server.shutdown)
        ending.start()
        gate.opened.set()
        ending.join(DEADLINE)
        client.join(DEADLINE)
    assert answers == [b"hello /wait"]


@pytest.mark.parametrize("kind", ["ServerThread", "make_server"])
def test_an_app_that_shuts_its_server_down_waits_for_nobody(kind: str) -> None:
    ended: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        server.shutdown()
        ended.append("shutdown has returned")
        return hello(environ, start_response)

    server: aserve.ServerThread | WSGIServer
    if kind == "ServerThread":
        server = aserve.ServerThread(app).start()
        url, wait = server.url, server.join
    else:
        server = aserve.make_server("127.0.0.1", 0, app)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        url, wait = f"http://127.0.0.1:{server.port}", serving.join
    with no_time_passes():
        assert get(f"{url}/end") == b"hello /end"
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(DEADLINE)
        assert not waiting.is_alive()
    assert ended
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_a_port_that_is_taken_is_told_by_start() -> None:
    with (
        aserve.ServerThread(hello, "127.0.0.1") as server,
        pytest.raises(aserve.ListenError, match="in use"),
    ):
        aserve.ServerThread(hello, "127.0.0.1", server.port).start()


def test_an_app_context_around_it() -> None:
    import flask

    app = flask.Flask("shop")

    @app.get("/")
    def index() -> str:
        return flask.current_app.name

    with app.app_context(), aserve.ServerThread(app) as server:
        assert get(server.url) == b"shop"
        assert flask.current_app.name == "shop"


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"REMOTE_ADDR": "::1"}, True),
        ({"REMOTE_ADDR": "::ffff:127.0.0.1"}, True),
        ({"REMOTE_ADDR": "<local>"}, True),
        ({"REMOTE_ADDR": "192.0.2.1"}, False),
        ({"REQUEST_METHOD": "GET"}, False),
        ({"HTTP_X_SHUTDOWN_TOKEN": "wrong"}, False),
        ({"HTTP_X_SHUTDOWN_TOKEN": ""}, False),
        ({"HTTP_X_SHUTDOWN_TOKEN": "\xe9"}, False),
    ],
)
def test_who_may_end_the_server(changes: dict[str, str], may: bool) -> None:
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "POST",
        "HTTP_X_SHUTDOWN_TOKEN": "secret",
        **changes,
    }
    assert aserve.may_shut_down(environ, "secret") is may
    assert not aserve.may_shut_down({**environ, "HTTP_X_SHUTDOWN_TOKEN": ""}, "")


# -- make_server ---------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[WSGIServer]:
    with aserve.make_server("127.0.0.1", 0, hello) as made:
        yield made


def test_it_is_bound_before_it_serves(server: WSGIServer) -> None:
    assert server.server_address == ("127.0.0.1", server.port)
    assert (server.server_name, server.server_port) == (server.host, server.port)
    assert (server.host, server.fileno()) == ("127.0.0.1", server.socket.fileno())
    with socket.create_connection(server.server_address) as client:  # waits in the queue
        assert select.select([server], [], [], DEADLINE)[0] == [server]
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        server.handle_request()
        assert client.makefile("rb").read().endswith(b"hello /")


def test_shutdown_from_another_thread(server: WSGIServer) -> None:
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    # An idle connection that is kept alive holds nothing up.
    connection = http.client.HTTPConnection(*server.server_address, timeout=DEADLINE)
    connection.request("GET", "/idle")
    assert connection.getresponse().read() == b"hello /idle"
    ending = threading.Thread(target=server.shutdown)
    with no_time_passes():
        ending.start()
        ending.join(DEADLINE)
        assert not ending.is_alive()
    serving.join(DEADLINE)
    assert not serving.is_alive()
    assert server.fileno() == -1
    connection.close()


def test_a_shutdown_that_comes_first(server: WSGIServer) -> None:
    server.shutdown()
    server.serve_forever()


def test_one_request_after_the_other(server: WSGIServer) -> None:
    for number in range(3):
        client = threading.Thread(target=get, args=(f"http://127.0.0.1:{server.port}/{number}",))
        client.start()
        server.handle_request()
        client.join(DEADLINE)


def test_nobody_comes_in_time(server: WSGIServer) -> None:
    server.timeout = 0.05
    server.handle_request()


def test_one_request_at_a_time_and_no_idle_connection_in_its_way() -> None:
    gate = Gate()
    with aserve.make_server("127.0.0.1", 0, gate) as server:
        assert not server.multithread
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        url = f"http://127.0.0.1:{server.port}"
        with socket.create_connection(server.server_address):  # says nothing
            idle = http.client.HTTPConnection(*server.server_address, timeout=DEADLINE)
            idle.request("GET", "/idle")
            idle.getresponse().read()
            assert get(f"{url}/other") == b"hello /other"
            waiting = threading.Thread(target=get, args=(f"{url}/wait",))
            waiting.start()
            gate.entered.wait(DEADLINE)
            behind = threading.Thread(target=get, args=(f"{url}/behind",))
            behind.start()
            gate.opened.set()
            waiting.join(DEADLINE)
            behind.join(DEADLINE)
            idle.close()
        server.shutdown()
        serving.join(DEADLINE)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="port must be an integer, and '80' is none"):
        aserve.make_server("localhost", "80", hello)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        aserve.make_server("localhost", 0, hello, threaded=True, processes=2)
    with pytest.raises(aserve.ConfigError, match="processes: 1000 is not between 1 and 100"):
        aserve.make_server("localhost", 0, hello, processes=1000)
    with pytest.raises(TypeError, match="must be a subclass of WSGIRequestHandler"):
        aserve.make_server("localhost", 0, hello, request_handler=dict)


def test_several_processes_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefork, "AVAILABLE", False)
    with pytest.raises(aserve.ConfigError, match="processes: 2 needs `fork`, which this system"):
        aserve.make_server("localhost", 0, hello, processes=2)


def test_a_descriptor_and_a_unix_socket(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with aserve.make_server("localhost", 0, hello, fd=sock.fileno()) as server:
            assert server.server_address == sock.getsockname()
        assert sock.fileno() >= 0  # it stays the caller's
    path = tmp_path / "s"
    with aserve.make_server(f"unix://{path}", 0, hello) as server:
        assert (server.server_address, server.port) == (str(path), 0)
    assert not path.exists()


def test_exceptions_are_shown_to_debuggers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def broken(environ: Environ, start_response: StartResponse) -> list[bytes]:
        raise LookupError("where is it?")

    with aserve.make_server("127.0.0.1", 0, broken, passthrough_errors=True) as server:
        with socket.create_connection(server.server_address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            server.handle_request()
            assert b" 500 " in client.recv(100)
    assert [arguments.exc_type for arguments in seen] == [LookupError]


# -- request_handler -----------------------------------------------------------------------


def ask_through(handler: type[Any]) -> bytes:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [str(environ.get("added")).encode()]

    with aserve.make_server("127.0.0.1", 0, app, request_handler=handler) as server:
        with socket.create_connection(server.server_address) as client:
            client.sendall(
                b"GET /path?q=1 HTTP/1.1\r\nHost: a\r\nX-Thing: x\r\nConnection: close\r\n\r\n"
            )
            server.handle_request()
            return client.makefile("rb").read()


def _bases() -> list[type[Any]]:
    from werkzeug.serving import WSGIRequestHandler

    return [aserve.WSGIRequestHandler, WSGIRequestHandler]


@pytest.mark.parametrize("base", _bases())
def test_what_a_handler_overrides_is_called(base: Any) -> None:
    logged: list[tuple[Any, ...]] = []
    done = threading.Event()

    class Handler(base):  # type: ignore[misc]
        server_version = "Special/1"

        def make_environ(self) -> Environ:
            environ = super().make_environ()
            environ["added"] = f"{self.command} {self.path} {self.headers['X-Thing']}"
            return environ  # type: ignore[no-any-return]

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            logged.append((self.requestline, code, self.address_string()))
            done.set()

    answer = ask_through(Handler)
    assert answer.endswith(b"GET /path?q=1 x")
    assert b"\r\nServer: Special/1\r\n" in answer
    assert done.wait(DEADLINE)
    assert logged == [("GET /path?q=1 HTTP/1.1", 200, "127.0.0.1")]


@pytest.mark.parametrize("base", _bases())
@pytest.mark.parametrize(
    ("version", "field", "is_kept"),
    [
        (None, None, True),
        ("HTTP/1.1", None, True),
        ("HTTP/1.0", None, False),
        ("HTTP/1.0", "keep-alive", False),
        ("HTTP/1.1", "close", False),
    ],
)
def test_a_version_that_keeps_no_connection(
    base: Any, version: str | None, field: str | None, is_kept: bool
) -> None:
    class Handler(base):  # type: ignore[misc]
        if version is not None:
            protocol_version = version

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Connection", field)] if field else [])
        return [environ["SERVER_PROTOCOL"].encode()]

    with aserve.make_server("127.0.0.1", 0, app, request_handler=Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        connection = http.client.HTTPConnection(*server.server_address, timeout=DEADLINE)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.version, answer.read()) == (11, b"HTTP/1.1")
        assert answer.headers.get_all("Connection") == (None if is_kept else ["close"])
        assert (connection.sock is not None) is is_kept
        connection.close()
        server.shutdown()
        serving.join(DEADLINE)


def test_log_is_where_all_of_them_end() -> None:
    lines: list[str] = []
    done = threading.Event()

    class Handler(aserve.WSGIRequestHandler):
        def log(self, type: str, message: str, *args: object) -> None:
            lines.append(f"{type} {message % args}")
            done.set()

    ask_through(Handler)
    assert done.wait(DEADLINE)
    assert lines == ['info "GET /path?q=1 HTTP/1.1" 200 4']


def test_other_overrides_are_named_one_time(caplog: pytest.LogCaptureFixture) -> None:
    from werkzeug.serving import WSGIRequestHandler

    class Handler(WSGIRequestHandler):
        def handle(self) -> None:
            raise NotImplementedError

    with caplog.at_level(logging.WARNING):
        assert ask_through(Handler).endswith(b"None")
    assert [record.message for record in caplog.records] == [
        "Handler.handle is not called by aserve"
    ]


# -- ServerProcess -------------------------------------------------------------------------


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawned process finds this module by its name, as it stands in a pickle."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def pid_app(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/end":
        environ["aserve.server"].shutdown()
    return [str(os.getpid()).encode()]


def test_a_process_serves_and_ends(importable: None) -> None:
    with aserve.ServerProcess(pid_app) as server:
        assert int(get(server.url)) == server.pid != os.getpid()
        assert server.exitcode is None
    assert server.exitcode == 0
    assert '"GET / HTTP/1.1" 200' in server.log


def test_an_app_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'shop']"
    )
    monkeypatch.chdir(tmp_path)
    with aserve.ServerProcess("shop:app") as server:
        assert get(server.url) == b"shop"
    (tmp_path / "shop.py").write_text("1 / 0")
    with pytest.raises(aserve.AserveError, match=r"ZeroDivisionError(.|\n)*line 1"):
        aserve.ServerProcess("shop:app").start()


def test_a_process_that_cannot_listen(importable: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(aserve.AserveError, match="in use"):
            aserve.ServerProcess(pid_app, "127.0.0.1", port).start()


def test_a_process_that_the_app_ends(importable: None) -> None:
    server = aserve.ServerProcess(pid_app).start()
    assert int(get(f"{server.url}/end")) == server.pid
    server.join(DEADLINE)
    assert server.exitcode == 0


def _get_token(port: int, queue: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        queue.put(environ["QUERY_STRING"])
        start_response("200 OK", [])
        return [b"You may close this page."]

    aserve.run_simple("127.0.0.1", port, app)


def test_a_token_comes_back_through_a_queue(importable: None) -> None:
    """The example of Werkzeug's documentation, where the process is ended behind it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_get_token, args=(port, queue), daemon=True)
    process.start()
    while True:
        try:
            get(f"http://127.0.0.1:{port}/?code=secret")
            break
        except OSError:
            assert process.is_alive()
    assert queue.get(block=True, timeout=DEADLINE) == "code=secret"
    process.terminate()
    process.join(DEADLINE)
    assert process.exitcode == 0
