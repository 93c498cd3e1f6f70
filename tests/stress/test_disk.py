"""A disk that is full while an app keeps an upload hurts that request only."""

from __future__ import annotations

import http.client
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..e2e.conftest import DEADLINE, Child, Start

MEBIBYTE = 1024 * 1024

# As Werkzeug, Django and all others do it: what is big goes to a temporary file.
APP = """
import tempfile

def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        start_response("200 OK", [])
        return [b"fine"]
    with tempfile.TemporaryFile(dir=environ["QUERY_STRING"]) as file:
        size = 0
        while piece := environ["wsgi.input"].read(65536):
            size += file.write(piece)
        file.flush()
    start_response("200 OK", [])
    return [b"kept %d" % size]
"""

# A disk of one megabyte of its own, where a user may mount one: `mount` and then the server.
SPACE = """
mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"
"""


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, size: int = 0
) -> tuple[int, bytes]:
    connection.request(method, path, b"x" * size)
    answer = connection.getresponse()
    return answer.status, answer.read()


def check(server: Child, disk: Path, message: str) -> None:
    """One upload that fits, one that does not, one that does; and a good client beside them."""
    path = f"/?{disk}"
    good = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    assert ask(good, "GET", "/") == (200, b"fine")
    for size, status in ((MEBIBYTE // 2, 200), (4 * MEBIBYTE, 500), (MEBIBYTE // 2, 200)):
        upload = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        got, body = ask(upload, "POST", path, size)
        assert got == status, (size, body, server.errors)
        assert (body == b"kept %d" % size) is (status == 200)
        assert ask(good, "GET", "/") == (200, b"fine")
        upload.close()
    good.close()
    assert server.end() == 0
    assert server.errors.count("Traceback") == 1, server.errors
    assert server.errors.count(message) >= 1


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def can_mount(folder: Path) -> bool:
    """Whether this user may have a name space with a disk of its own."""
    command = shutil.which("unshare")
    words = [command or "", "--user", "--map-root-user", "--mount", "sh", "-c", SPACE, "sh"]
    return (
        bool(command)
        and not subprocess.run(
            [*words, str(folder), "true"], capture_output=True, check=False
        ).returncode
    )


def test_no_space_left(disk: Path, start_on_loop: Start) -> None:
    """ENOSPC, from a real disk that is full."""
    if not can_mount(disk):
        pytest.skip("no name space for mounts here; the limit on files is tried instead")
    server = start_on_loop(
        "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SPACE, "sh", str(disk),
        sys.executable, "-m", "aserve", "app:app", "--port", "0", "--host", "127.0.0.1",
        "--no-debug", raw=True,
    )  # fmt: skip
    check(server, disk, "No space left on device")


def test_file_too_large(disk: Path, start_on_loop: Start) -> None:
    """EFBIG, from the limit of the process on its files."""
    server = start_on_loop("app:app", "--port", "0", "--host", "127.0.0.1", "--no-debug")
    assert server.url
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (MEBIBYTE, MEBIBYTE))
    check(server, disk, "File too large")
