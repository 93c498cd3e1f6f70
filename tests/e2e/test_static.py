"""`StaticFiles` behind a real server, with curl in front."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import aserve
from aserve.static import StaticFiles

from ..helpers import ServerInThread
from .conftest import DEADLINE

# More than any buffer on the way holds, and not a round number.
LARGE = os.urandom(12_345_678)

Curl: TypeAlias = Callable[..., bytes]


def the_app(environ: Any, start_response: Any) -> list[bytes]:
    body = b"app " + environ["REQUEST_METHOD"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "large.bin").write_bytes(LARGE)
    (root / "größe ä.js").write_bytes(b"let x;")
    (root / "empty.css").write_bytes(b"")
    (root / "sub" / "a.txt").write_bytes(b"0123456789")
    (root / ".env").write_bytes(b"secret")
    (root / "out").symlink_to("../secret.txt")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerInThread]:
    # The files are new, and this test does not wait until their tags are strong.
    monkeypatch.setattr("aserve.static._REST", -1.0)
    with ServerInThread(StaticFiles(the_app, {"/static": root})) as server:
        yield server


@pytest.fixture
def fetch(server: ServerInThread, curl: str, tmp_path: Path) -> Curl:
    """Run curl with options and a path; what it wrote to its standard output."""

    def fetch(path: str, *options: str) -> bytes:
        command = [curl, "--silent", "--show-error", "--max-time", str(DEADLINE), "--path-as-is"]
        url = f"http://127.0.0.1:{server.port}{path}"
        done = subprocess.run(
            [*command, *options, url], capture_output=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return fetch


def test_whole_files(fetch: Curl) -> None:
    digest = hashlib.sha256(fetch("/static/large.bin")).hexdigest()
    assert digest == hashlib.sha256(LARGE).hexdigest()
    assert fetch("/static/gr%C3%B6%C3%9Fe%20%C3%A4.js") == b"let x;"
    assert fetch("/static/empty.css") == b""
    assert fetch("/static/sub/a.txt?version=1") == b"0123456789"


def test_head_and_other_methods(fetch: Curl) -> None:
    head = fetch("/static/large.bin", "--head").decode().lower()
    assert head.startswith("http/1.1 200 ")
    assert f"content-length: {len(LARGE)}\r\n" in head
    assert fetch("/static/large.bin", "--data", "x=1") == b"app POST"


def test_ranges(fetch: Curl) -> None:
    assert fetch("/static/large.bin", "--range", "1000000-1999999") == LARGE[1_000_000:2_000_000]
    assert fetch("/static/large.bin", "--range", "-70000") == LARGE[-70_000:]
    form = ("--output", os.devnull, "--write-out", "%{http_code} %header{content-range}")
    answer = fetch("/static/large.bin", "--range", "99999999-", *form)
    assert answer.decode() == f"416 bytes */{len(LARGE)}"


def test_download_is_resumed(fetch: Curl, tmp_path: Path) -> None:
    """`curl -C -` asks for what is missing."""
    copy = tmp_path / "copy"
    copy.write_bytes(LARGE[:5_000_001])
    size = fetch(
        "/static/large.bin", "--continue-at", "-", "--output", str(copy),
        "--write-out", "%{http_code} %{size_download}",
    )  # fmt: skip
    assert size.decode() == f"206 {len(LARGE) - 5_000_001}"
    assert copy.read_bytes() == LARGE


def test_second_request_is_answered_without_a_body(fetch: Curl, root: Path) -> None:
    """By tag, then by date; and a change is noticed."""
    form = ("--output", os.devnull, "--write-out", "%{http_code} %{size_download}")
    tags = ("--etag-save", "tag", "--etag-compare", "tag")
    assert fetch("/static/sub/a.txt", *form, *tags[:2]) == b"200 10"
    assert fetch("/static/sub/a.txt", *form, *tags) == b"304 0"
    assert fetch("/static/sub/a.txt", *form, "--time-cond", "14 Nov 2023 22:13:20 GMT") == b"304 0"
    assert fetch("/static/sub/a.txt", *form, "--time-cond", "14 Nov 2023 22:13:19 GMT") == b"200 10"
    (root / "sub" / "a.txt").write_bytes(b"other")
    assert fetch("/static/sub/a.txt", *form, *tags) == b"200 5"


@pytest.mark.parametrize(
    "path",
    ["/static/../secret.txt", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt",
     "/static/%2e%2e%2fsecret.txt", "/static/%252e%252e/secret.txt", "/static/..%5csecret.txt",
     "/static/%c0%ae%c0%ae/secret.txt", "/static/out", "/static/.env", "/static/%2eenv",
     "/static/sub/a.txt%00", "/static/sub/a.txt%20", "/static/sub/a.txt.",
     "/static/sub/a.txt::$DATA", "/static//sub/a.txt", "/staticsub/a.txt", "/static/sub",
     "/static/", "/static", "/static/nul"],
)  # fmt: skip
def test_attacks_go_on_to_the_app(fetch: Curl, path: str) -> None:
    assert fetch(path) == b"app GET"


def test_connection_stays_in_step(server: ServerInThread) -> None:
    """Answers with and without a body, one behind the other on one connection."""
    requests = [
        b"GET /static/sub/a.txt", b"HEAD /static/sub/a.txt", b"GET /static/empty.css",
        b"GET /static/no", b"GET /static/sub/a.txt",
    ]  # fmt: skip
    lines = b"".join(line + b" HTTP/1.1\r\nHost: test\r\n\r\n" for line in requests)
    last = b"GET /static/sub/a.txt HTTP/1.1\r\nHost: test\r\nRange: bytes=3-5\r\n"
    # Not half-closed behind the last request: in the middle of a body that means to leave.
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as client:
        client.sendall(lines + last + b"Connection: close\r\n\r\n")
        data = client.makefile("rb").read()
    bodies = [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [b"0123456789", b"", b"", b"app GET", b"0123456789", b"345"]


def test_file_that_shrinks_does_not_hang_the_client(
    server: ServerInThread, root: Path, curl: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is missing, and the client is told by the end of the connection."""
    real = StaticFiles.__call__

    def shrinking(self: StaticFiles, environ: Any, start_response: Any, /) -> Any:
        body = real(self, environ, start_response)
        (root / "large.bin").write_bytes(b"short")
        return body

    monkeypatch.setattr(StaticFiles, "__call__", shrinking)
    url = f"http://127.0.0.1:{server.port}/static/large.bin"
    done = subprocess.run(
        [curl, "--silent", "--max-time", str(DEADLINE), url], capture_output=True, check=False
    )
    assert done.returncode == 18  # CURLE_PARTIAL_FILE
    assert done.stdout == b"short"


def test_a_slow_download_takes_nobodys_thread(tmp_path: Path) -> None:
    """There is one thread, and a client that does not read its file."""
    (tmp_path / "large").write_bytes(bytes(50_000_000))

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "3")])
        return [b"app"]

    with aserve.ServerThread(StaticFiles(app, {"/": tmp_path}), "127.0.0.1", threads=1) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            slow.sendall(b"GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            assert b" 200 " in slow.recv(100)
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", server.port), timeout=20) as quick:
                    quick.sendall(b"GET /app HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                    assert quick.makefile("rb").read().endswith(b"app")
            size = sum(len(piece) for piece in iter(lambda: slow.recv(1 << 20), b""))
            assert size > 49_999_000


def test_slow_downloads_over_tls_take_nobodys_thread(tmp_path: Path) -> None:
    """There are two threads, eight clients that do not read their file, and one that leaves."""
    content = os.urandom(1 << 20) * 8
    (tmp_path / "large").write_bytes(content)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "3")])
        return [b"app"]

    site = StaticFiles(app, {"/": tmp_path})
    with (
        aserve.ServerThread(site, "127.0.0.1", threads=2, ssl="adhoc") as server,
        contextlib.ExitStack() as clients,
    ):
        context = server.server.ssl_context_for_clients()

        def ask(path: str) -> ssl.SSLSocket:
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            client = clients.enter_context(context.wrap_socket(sock, server_hostname="localhost"))
            client.sendall(f"GET /{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            return client

        slow = [ask("large") for _ in range(9)]
        begun = [client.recv(100) for client in slow]
        assert all(b" 200 " in head for head in begun)
        for _ in range(3):
            assert ask("app").makefile("rb").read().endswith(b"app")
        slow.pop().close()
        begun.pop()
        for head, client in zip(begun, slow, strict=True):
            answer = head + b"".join(iter(lambda client=client: client.recv(1 << 20), b""))
            assert answer.partition(b"\r\n\r\n")[2] == content
        assert ask("app").makefile("rb").read().endswith(b"app")


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_threads_that_were_lent_come_back(tmp_path: Path, way: str) -> None:
    """Behind slow downloads there are no more requests at the same time than before."""
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    running: list[int] = [0, 0]  # now, and the most so far
    lock = threading.Lock()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        with lock:
            running[0] += 1
            running[1] = max(running)
        threading.Event().wait(0.01)
        with lock:
            running[0] -= 1
        start_response("200 OK", [])
        return [b"app"]

    options: Any = {"ssl": "adhoc"} if way == "tls" else {}
    site = StaticFiles(app, {"/": tmp_path})
    with aserve.ServerThread(site, "127.0.0.1", threads=1, **options) as server:
        context = server.server.ssl_context_for_clients() if way == "tls" else None

        def ask(path: str) -> bytes:
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
                client = context.wrap_socket(sock, server_hostname="localhost") if context else sock
                with client:
                    client.sendall(f"GET /{path} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
                    first = client.recv(1)
                    return first + b"".join(iter(lambda: client.recv(1 << 16), b""))

        for _ in range(3):
            assert len(ask("large")) > 8 << 20
        askers = [threading.Thread(target=ask, args=("app",)) for _ in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(20)
    assert running == [0, 1]
