"""`run_simple`, as programs call it that were written for Werkzeug."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

import aserve

from .conftest import Child, Start
from .test_reload import ask, get, until

PROGRAM = """
import sys
from {module} import run_simple
from app import app

if __name__ == "__main__":
    run_simple({arguments})
    print("behind", file=sys.stderr, flush=True)
"""

APP = """
import os
def app(environ, start_response):
    if environ["PATH_INFO"] == "/stop":
        environ["werkzeug.server.shutdown"]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    keys = ("wsgi.multithread", "wsgi.multiprocess", "wsgi.url_scheme")
    main = os.environ.get("WERKZEUG_RUN_MAIN")
    return [" ".join([{word!r}, str(main), *(str(environ[key]) for key in keys)]).encode()]
"""


def serve(tmp_path: Path, start: Start, arguments: str, module: str = "aserve") -> Child:
    (tmp_path / "app.py").write_text(APP.format(word="one"))
    (tmp_path / "program.py").write_text(PROGRAM.format(arguments=arguments, module=module))
    return start(sys.executable, "program.py", raw=True)


def test_the_simplest_call(tmp_path: Path, start: Start) -> None:
    child = serve(tmp_path, start, "'localhost', 0, app")
    assert get(child) == (200, "one None False False http")
    assert child.end(signal.SIGINT) == 0
    assert "behind" in child.errors


@pytest.mark.parametrize("way", ["auto", "stat", "watchdog", "watchfiles"])
def test_the_reloader(tmp_path: Path, start: Start, way: str) -> None:
    child = serve(
        tmp_path,
        start,
        f"'localhost', 0, app, use_reloader=True, reloader_type={way!r}, reloader_interval=0.1, "
        "extra_files=['data.txt'], exclude_patterns=['*/ignored.py'], threaded=True",
    )
    assert get(child) == (200, "one true True False http")
    (tmp_path / "ignored.py").write_text("")
    (tmp_path / "app.py").write_text(APP.format(word="two"))
    until(child, "two true")
    (tmp_path / "data.txt").write_text("new")
    child.wait_for(r"data\.txt', reloading \(created\)")
    assert "ignored.py" not in child.errors
    assert child.end(signal.SIGINT) == 0, child.errors


def test_several_processes(tmp_path: Path, start: Start) -> None:
    child = serve(tmp_path, start, "'localhost', 0, app, processes=2")
    assert get(child) == (200, "one true False True http")
    assert child.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("more", ["", ", use_reloader=True"])
def test_an_endpoint_that_ends_it(tmp_path: Path, start: Start, more: str) -> None:
    """The answer of that endpoint still arrives."""
    child = serve(tmp_path, start, f"'localhost', 0, app{more}")
    assert get(child, path="/stop")[0] == 200
    assert child.wait() == 0


def test_static_files(tmp_path: Path, start: Start) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.css").write_text("p{}")
    child = serve(tmp_path, start, "'localhost', 0, app, static_files={'/static': 'static'}")
    assert get(child, path="/static/a.css") == (200, "p{}")
    assert get(child, path="/static/../app.py")[1].startswith("one")


def test_tls(tmp_path: Path, start: Start) -> None:
    import ssl
    import urllib.request

    child = serve(tmp_path, start, "'localhost', 0, app, ssl_context='adhoc'")
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(f"https://127.0.0.1:{child.port}", context=context) as answer:
        assert answer.read().endswith(b"https")


def test_a_unix_socket(tmp_path: Path, start: Start) -> None:
    child = serve(tmp_path, start, "'unix://s', 0, app")
    child.wait_for("ready in")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"one None" in client.makefile("rb").read()


def test_wrong_arguments() -> None:
    def app(environ: object, start_response: object) -> list[bytes]:
        return []

    with pytest.raises(TypeError, match="port must be an integer"):
        aserve.run_simple("localhost", "5000", app)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        aserve.run_simple("localhost", 0, app, threaded=True, processes=2)
    with pytest.raises(aserve.ConfigError, match="reloader_type: 'magic' is not one of auto"):
        aserve.run_simple("localhost", 0, app, reloader_type="magic")
    with pytest.raises(aserve.ConfigError, match="exclude_patterns"):
        aserve.run_simple("localhost", 0, app, use_reloader=True, exclude_patterns=[""])


@pytest.mark.parametrize("more", ["", ", use_reloader=True", ", processes=2"])
def test_a_busy_port_is_a_line_and_status_1(tmp_path: Path, start: Start, more: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = serve(tmp_path, start, f"'127.0.0.1', {port}, app{more}")
        assert child.wait() == 1
    assert child.errors.startswith(f"aserve: port {port} on 127.0.0.1 is already in use")
    assert child.errors.count("\n") == 1
    assert "--port" not in child.errors


def test_any_host_is_let_in(tmp_path: Path, start: Start) -> None:
    child = serve(tmp_path, start, "'localhost', 0, app")
    assert ask(child.port)[0] == 200
    with socket.create_connection(("127.0.0.1", child.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 200")
