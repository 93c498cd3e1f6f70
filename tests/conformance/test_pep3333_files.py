"""PEP 3333 "Optional Platform-Specific File Handling": `wsgi.file_wrapper` over real sockets."""

from __future__ import annotations

import gzip
import io
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .wsgi_server import App, Client, LiveServer, Log, request

# More than the sockets of both sides hold, so that somebody has to wait.
SIZE = 32 * 1024 * 1024


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The transports of the two loops differ in when they pause and what they let through."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def live(loop: str) -> Iterator[LiveServer]:
    with LiveServer(loop=loop) as server:
        yield server


@pytest.fixture(scope="module")
def content() -> bytes:
    return b"".join(b"%07d\n" % number for number in range(SIZE // 8))


@pytest.fixture(scope="module")
def path(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "content"
    path.write_bytes(content)
    return path


def serving(open_file: Callable[[], Any], *headers: tuple[str, str]) -> tuple[App, list[Any]]:
    """An app that wraps a file, and the files that it opened."""
    files: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(headers))
        files.append(open_file())
        return environ["wsgi.file_wrapper"](files[-1])

    return app, files


def wait_closed(live: LiveServer, files: list[Any]) -> None:
    """The answer is out before the app's `close` runs; the next request comes behind it."""
    live.until(lambda: all(file.closed for file in files))


def test_whole_file(live: LiveServer, path: Path, content: bytes) -> None:
    live.app, files = serving(lambda: path.open("rb"))
    answer = live.get()
    assert answer.body == content
    assert answer["content-length"] == str(SIZE)
    wait_closed(live, files)


@pytest.mark.parametrize(
    ("position", "headers", "size"),
    [
        (0, (), SIZE),
        (8, (), SIZE - 8),
        (SIZE - 1, (), 1),
        (SIZE, (), 0),
        (SIZE + 9, (), 0),
        (16, (("Content-Length", "24"),), 24),
        (0, (("Content-Length", "0"),), 0),
    ],
)
def test_from_the_position_on(
    live: LiveServer,
    path: Path,
    content: bytes,
    position: int,
    headers: tuple[tuple[str, str], ...],
    size: int,
) -> None:
    """From the current position to the end, or as far as Content-Length goes."""

    def open_file() -> Any:
        file = path.open("rb")
        file.seek(position)
        return file

    live.app, files = serving(open_file, *headers)
    answer = live.get()
    assert answer.body == content[position : position + size]
    assert answer["content-length"] == str(size)
    wait_closed(live, files)


def test_many_on_one_connection(live: LiveServer, path: Path, content: bytes) -> None:
    """Files, lists and pipelining keep their order."""
    file_app, files = serving(lambda: path.open("rb"))

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/list":
            start_response("200 OK", [])
            return [b"list"]
        return file_app(environ, start_response)

    live.app = app
    with live.connect() as client:
        client.send(b"".join(request(target) for target in ("/list", "/", "/list", "/", "/list")))
        bodies = [client.answer().body for _ in range(5)]
    assert bodies == [b"list", content, b"list", content, b"list"]
    wait_closed(live, files)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_kinds_of_file_objects(live: LiveServer, tmp_path: Path, method: str) -> None:
    """What has a descriptor, but shows something else than the disk, is read."""
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(b"plain"))
    plain = tmp_path / "plain"
    plain.write_bytes(b"plain")

    def pipe() -> Any:
        reading, writing = os.pipe()
        os.write(writing, b"plain")
        os.close(writing)
        return os.fdopen(reading, "rb")

    def temporary() -> Any:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
        file.write(b"plain")
        file.seek(0)
        return file

    for open_file in (
        lambda: gzip.GzipFile(packed),
        lambda: io.BytesIO(b"plain"),
        lambda: plain.open("rb"),
        lambda: plain.open("r+b"),
        lambda: plain.open("rb", buffering=0),
        pipe,
        temporary,
    ):
        live.app, files = serving(open_file)
        assert live.get(method=method).body == (b"plain" if method == "GET" else b"")
        wait_closed(live, files)


def test_http_1_0(live: LiveServer, path: Path, content: bytes) -> None:
    """B52."""
    live.app, files = serving(lambda: path.open("rb"))
    with live.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.answer().body == content
        assert client.rest() == b""
    wait_closed(live, files)


class OneClose:
    """A file object of the app's own."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.closes = 0

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self.closes += 1

    @property
    def closed(self) -> bool:
        return self.closes > 0


def test_closed_exactly_once(live: LiveServer) -> None:
    """B58."""
    live.app, files = serving(lambda: OneClose(b"x"))
    for _ in range(3):
        assert live.get().body == b"x"
    wait_closed(live, files)
    assert [file.closes for file in files] == [1, 1, 1]


def test_file_is_truncated_meanwhile(live: LiveServer, tmp_path: Path) -> None:
    """B56: fewer bytes than announced are a cut, never a hang."""
    path = tmp_path / "shrinking"
    path.write_bytes(b"x" * SIZE)
    live.app, files = serving(lambda: path.open("rb"))
    with Log() as log, live.connect(receive_buffer=65_536) as client:
        client.send(request())
        head = client.head()
        assert head["content-length"] == str(SIZE)
        os.truncate(path, SIZE // 2)
        body = client.rest()
        assert SIZE > len(body) > 0
        log.wait_for("bytes shorter than Content-Length")
    wait_closed(live, files)
    live.app, _ = serving(lambda: io.BytesIO(b"alive"))
    assert live.get().body == b"alive"


def leave(client: Client) -> None:
    """End the connection in the common way."""
    client.sock.close()


@pytest.mark.parametrize("end", [leave, Client.reset], ids=["closes", "resets"])
def test_client_leaves_midway(live: LiveServer, path: Path, end: Callable[[Client], None]) -> None:
    """B58, B65: the file is closed, the thread is free, and nothing is logged."""
    live.app, files = serving(lambda: path.open("rb"))
    with Log() as log, live.connect(receive_buffer=65_536) as client:
        client.send(request())
        assert client.head().status == 200
        assert len(client.exactly(100_000)) == 100_000
        end(client)
        wait_closed(live, files)
    live.until(lambda: not live.server.pool.running())
    assert log.lines == []


def test_client_that_closes_its_half_midway_gets_the_rest(live: LiveServer, path: Path) -> None:
    """It reads on, so it has not left (RFC 9112 section 9.6)."""
    live.app, files = serving(lambda: path.open("rb"))
    with live.connect(receive_buffer=65_536) as client:
        client.send(request())
        assert client.head().status == 200
        assert len(client.exactly(100_000)) == 100_000
        client.sock.shutdown(socket.SHUT_WR)
        assert len(client.exactly(SIZE - 100_000)) == SIZE - 100_000
        wait_closed(live, files)


def test_client_leaves_before_its_turn(tmp_path: Path, loop: str) -> None:
    """B58: the file waits behind answers that nobody reads; then the client is gone.

    The worker must not wait for ever for a socket that it will never get.
    """
    path = tmp_path / "small"
    path.write_bytes(b"x")
    file_app, files = serving(lambda: path.open("rb"))

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/file":
            return file_app(environ, start_response)
        start_response("200 OK", [])
        return [b"x" * 16_384]

    with LiveServer(app, loop=loop, grace=0.0) as live:
        with live.connect(receive_buffer=65_536) as client:
            # Some file comes just when the kernel is full and little waits in front of it.
            client.send((request("/list") + request("/file")) * 1000)
            live.until(lambda: _waits_for_its_turn(live))
            client.reset()
        live.until(lambda: not live.server.pool.running())
        wait_closed(live, files)


def _waits_for_its_turn(live: LiveServer) -> bool:
    senders = [member._closing._sender for member in live.server.roster]
    return any(sender._file_turn is not None for sender in senders)


def test_server_is_cut_midway(path: Path, loop: str) -> None:
    """B58: a stalled transfer ends with the grace."""
    app, files = serving(lambda: path.open("rb"))
    with (
        LiveServer(app, loop=loop, grace=0.0) as live,
        live.connect(receive_buffer=65_536) as client,
    ):
        client.send(request())
        assert client.head().status == 200
        live.server.shutdown()
        live.join()
        assert len(client.rest()) < SIZE
    closed = threading.Event()
    while not files[0].closed:
        closed.wait(0.001)
