"""Bodies of 200 MB in both directions, through a server whose memory stays flat."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DEADLINE, Child, Start

MEBIBYTE = 1024 * 1024
SIZE = 200 * MEBIBYTE
# The promise is 16 MiB for a body of any size.
GROWTH = 16 * MEBIBYTE

APP = """
import json
import os
import tempfile

PIECE = b"0123456789abcdef" * 4096


def app(environ, start_response):
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def count(environ, start_response):
    body, size = environ["wsgi.input"], 0
    while piece := body.read(65536):
        size += len(piece)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"size": size}).encode()]


def lines(environ, start_response):
    size = sum(map(len, environ["wsgi.input"]))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"size": size}).encode()]


def generate(environ, start_response):
    size = int(environ["QUERY_STRING"])
    start_response("200 OK", [])
    return (PIECE for _ in range(size // len(PIECE)))


def write(environ, start_response):
    size = int(environ["QUERY_STRING"])
    send = start_response("200 OK", [("Content-Length", str(size))])
    for _ in range(size // len(PIECE)):
        send(PIECE)
    return []


def file(environ, start_response):
    size = int(environ["QUERY_STRING"])
    sparse = tempfile.TemporaryFile()
    sparse.truncate(size)
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](sparse)


def echo(environ, start_response):
    start_response("200 OK", [])
    return iter(lambda: environ["wsgi.input"].read(65536), b"")


def ignore(environ, start_response):
    start_response("413 Content Too Large", [])
    return [b"no"]


ROUTES = {
    "/": hello, "/count": count, "/lines": lines, "/generate": generate, "/write": write,
    "/file": file, "/echo": echo, "/ignore": ignore,
}
"""


@pytest.fixture
def server(tmp_path: Path, start_on_loop: Start) -> Iterator[Child]:
    """Measures from the first answer on, when everything is loaded."""
    (tmp_path / "app.py").write_text(APP)
    child = start_on_loop("app:app", "--port", "0", "--host", "127.0.0.1")
    connection = connect(child)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    connection.close()
    before = child.memory("VmRSS")
    yield child
    growth = {name: child.memory(name) - before for name in ("VmRSS", "VmHWM")}
    assert max(growth.values()) < GROWTH, {name: f"{g / 1e6:.1f} MB" for name, g in growth.items()}


def connect(child: Child) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", child.port, timeout=DEADLINE)


def pieces(size: int = SIZE) -> Iterator[bytes]:
    """A body that exists one piece at a time; each piece is a line."""
    piece = b"x" * (65_536 - 1) + b"\n"
    return (piece for _ in range(size // len(piece)))


@pytest.mark.parametrize("path", ["/count", "/lines"])
@pytest.mark.parametrize("chunked", [False, True])
def test_upload(server: Child, path: str, chunked: bool) -> None:
    connection = connect(server)
    headers = {} if chunked else {"Content-Length": str(SIZE)}
    connection.request("POST", path, pieces(), headers, encode_chunked=chunked)
    assert json.load(connection.getresponse()) == {"size": SIZE}
    connection.close()


def read_all(response: http.client.HTTPResponse) -> int:
    """How much comes, without keeping it."""
    buffer = memoryview(bytearray(MEBIBYTE))
    size = 0
    while count := response.readinto(buffer):
        size += count
    return size


@pytest.mark.parametrize("path", ["/generate", "/write", "/file"])
def test_download(server: Child, path: str) -> None:
    connection = connect(server)
    connection.request("GET", f"{path}?{SIZE}")
    assert read_all(connection.getresponse()) == SIZE
    connection.close()


def test_echo(server: Child) -> None:
    """Both directions at once."""
    connection = connect(server)
    connection.putrequest("POST", "/echo")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()

    def send() -> None:
        for piece in pieces():
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")

    sender = threading.Thread(target=send)
    sender.start()
    assert read_all(connection.getresponse()) == SIZE
    sender.join(DEADLINE)
    assert not sender.is_alive()
    connection.close()


def test_body_that_the_app_ignores(server: Child) -> None:
    """B54: the answer is seen, and what comes behind it is neither kept nor waited for."""
    connection = connect(server)
    connection.putrequest("POST", "/ignore")
    connection.putheader("Content-Length", str(SIZE))
    connection.endheaders()
    connection.send(b"x" * MEBIBYTE)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (413, b"no")
    connection.close()


def test_client_that_stops_reading(server: Child) -> None:
    """A generator waits for its client, not its client for memory."""
    stalled = [connect(server) for _ in range(8)]
    for connection in stalled:
        connection.request("GET", f"/generate?{SIZE}")
        assert connection.getresponse().read(MEBIBYTE)
    connection = connect(server)
    connection.request("GET", f"/generate?{SIZE}")
    assert read_all(connection.getresponse()) == SIZE
    for each in (*stalled, connection):
        each.close()
