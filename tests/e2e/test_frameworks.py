"""Flask, Django and Bottle behind a real socket, with httpx, http.client and curl in front."""

from __future__ import annotations

import hashlib
import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ..conformance.wsgi_server import LiveServer
from .conftest import DEADLINE, EXAMPLES, Start
from .sites import FILE, SITES


@pytest.fixture(scope="module", params=list(SITES))
def site(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    with LiveServer(SITES[request.param](), host="localhost") as live:
        yield live


@pytest.fixture
def client(site: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.server.url, timeout=DEADLINE) as client:
        yield client


def test_page(client: httpx.Client) -> None:
    """B64: one Date, one Server."""
    answer = client.get("/")
    assert answer.text == "Grüße"
    assert len(answer.headers.get_list("date")) == len(answer.headers.get_list("server")) == 1


def test_head(client: httpx.Client) -> None:
    """B51."""
    answer = client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.get("/").text == "Grüße"


def test_path_with_letters(client: httpx.Client) -> None:
    """B28."""
    assert client.get("/wörld/Zoë ☃").text == "Zoë ☃"


@pytest.mark.parametrize("size", [0, 1000, 65_536, 3_000_000])
def test_upload(client: httpx.Client, size: int) -> None:
    """B42: small bodies are collected, large ones stream."""
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = client.post(
        "/upload", data={"title": "Grüße"}, files={"file": ("ä.bin", content)}
    ).json()
    digest = hashlib.sha256(content).hexdigest()
    assert answer == {"name": "ä.bin", "form": {"title": "Grüße"}, "sha256": digest}


def test_cookies_and_redirect(client: httpx.Client) -> None:
    """B35: two Set-Cookie fields stay apart, two cookies come back."""
    answer = client.get("/login", follow_redirects=True)
    assert len(answer.history[0].headers.get_list("set-cookie")) == 2
    assert answer.json() == {"user": "ada", "theme": "dark; x"}


def test_file(client: httpx.Client) -> None:
    """`wsgi.file_wrapper` as the frameworks use it."""
    answer = client.get("/file")
    assert answer.content == FILE.read_bytes()
    assert answer.headers["content-length"] == str(FILE.stat().st_size)
    assert client.head("/file").content == b""
    assert client.get("/file").content == FILE.read_bytes()


def test_events(client: httpx.Client) -> None:
    """B49, B59: events come as they are made, and the generator ends with its reader."""
    with client.stream("GET", "/events") as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(5)] == ["data: 0", "", "data: 1", "", "data: 2"]
    assert client.get("/").text == "Grüße"


def test_error(client: httpx.Client) -> None:
    """B57: the framework's own error page."""
    answer = client.get("/error")
    assert answer.status_code == 500
    assert "Internal Server Error" in answer.text or "Server Error" in answer.text
    assert client.get("/missing").status_code == 404


def test_keep_alive_with_http_client(site: LiveServer) -> None:
    """B53: an unread body does not disturb the next request."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=DEADLINE)
    connection.connect()
    first = connection.sock
    for path, body, status in (
        ("/raw", b"x" * 100_000, 200),
        ("/missing", b"x" * 200_000, 404),
        ("/raw", b"x" * 10, 200),
    ):
        connection.request("POST", path, body)
        answer = connection.getresponse()
        assert answer.status == status
        if status == 200:
            assert json.load(answer) == {"size": len(body)}
        answer.read()
    assert connection.sock is first
    connection.close()


def test_chunked_upload(site: LiveServer, request: pytest.FixtureRequest) -> None:
    """B38: in Django and Bottle, which look at CONTENT_LENGTH alone, up to `body_buffer`."""
    for pieces in ([b"abc", b"def"], [b"x" * 10_000] * 60, []):
        answer = httpx.post(f"{site.server.url}/raw", content=iter(pieces))
        assert answer.json() == {"size": sum(map(len, pieces))}
    answer = httpx.post(f"{site.server.url}/raw", content=iter([b"x" * 10_000] * 160))
    size = 1_600_000 if "flask" in request.node.callspec.params.values() else 0
    assert answer.json() == {"size": size}
    assert httpx.get(site.server.url).text == "Grüße"


def test_flask_streams_with_context() -> None:
    with LiveServer(SITES["flask"]()) as live:
        assert live.get("/context").body == b"method GET"


def test_flask_ranges_and_conditions() -> None:
    """A part of a file, and nothing when it has not changed."""
    content = FILE.read_bytes()
    with LiveServer(SITES["flask"]()) as live:
        part = live.get("/file", "GET", "Range: bytes=10-29")
        assert (part.status, part.body) == (206, content[10:30])
        assert part["content-range"] == f"bytes 10-29/{len(content)}"
        unchanged = live.get("/file", "GET", f"If-None-Match: {part['etag']}")
        assert (unchanged.status, unchanged.body) == (304, b"")


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_examples_with_curl(curl: str, example: str, start: Start, tmp_path: Path) -> None:
    """As in the README: `aserve examples/…`, then curl."""
    server = start(str(EXAMPLES / example), "--port", "0")
    upload = tmp_path / "upload.bin"
    upload.write_bytes(b"x" * 1_500_000)

    def call(path: str, *options: str) -> str:
        command = [curl, "--silent", "--show-error", "--fail", "--max-time", str(DEADLINE)]
        done = subprocess.run(
            [*command, *options, server.url + path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Hello from" in call("/")
    if example != "plain_app.py":
        assert call("/", "--head").startswith("HTTP/1.1 200 OK")
    assert "Hello from" in call("/", "--http1.0")
    assert "Hello from" in call("/", "--ipv6") + call("/", "--ipv4")
    assert call("/form", "--data-urlencode", "name=Zoë") == "Hello, Zoë"
    assert json.loads(call("/json", "--json", "[1, 2, 3]")) == {"sum": 6}
    assert call("/stream", "--no-buffer").splitlines() == [f"line {n}" for n in range(5)]
    # curl asks for `100 Continue` before it sends this much (B55).
    options = ["--data-binary", f"@{upload}", "-H", "Expect: 100-continue"]
    if example != "plain_app.py":
        options = ["--form", f"file=@{upload}", "-H", "Expect: 100-continue"]
    assert json.loads(call("/upload", *options))["size"] == 1_500_000
    assert server.end() == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""
    server.wait_for(r'"POST /upload HTTP/1\.1" 200 ')
    assert "Traceback" not in server.errors
