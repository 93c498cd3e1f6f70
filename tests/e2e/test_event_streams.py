"""An open event stream is no work to be finished: a stop and a reload end it at once."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from .conftest import DEADLINE, Start

APP = """
import pathlib, queue, time

class Events:
    def __init__(self, kind):
        self.kind, self.number = kind, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.number += 1
        if self.number > 1:
            # Items come now and then, or never again.
            time.sleep(0.05) if self.kind == "/often" else queue.Queue().get()
        return b"data: %d\\n\\n" % self.number

    def close(self):
        pathlib.Path("closed").write_text(self.kind)

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])
    return Events(environ["PATH_INFO"])

WORD = "one"
"""


def subscribe(port: int, path: str) -> socket.socket:
    """A browser's EventSource that has got its first event."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = b""
    while b"data: 1" not in received:
        received += sock.recv(65_536)
    return sock


def end_of(sock: socket.socket) -> bytes:
    """What comes up to the last chunk, or to the end of the connection."""
    received = b""
    while not received.endswith(b"0\r\n\r\n") and (piece := sock.recv(65_536)):
        received += piece
    return received


@pytest.mark.parametrize("path", ["/often", "/never"])
@pytest.mark.parametrize("words", [["--no-reload"], ["--reload"]])
def test_a_stop_does_not_wait_for_it(
    tmp_path: Path, start: Start, path: str, words: list[str]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    child = start("app.py", "--port", "0", "--grace", "25", *words)
    with subscribe(child.port, path) as sock:
        began = time.monotonic()
        assert child.end(signal.SIGINT) == 0
        # Far below the grace; what it takes is in the closing of processes.
        assert time.monotonic() - began < 10
        assert end_of(sock).endswith(b"0\r\n\r\n")  # complete, and not cut
    if path == "/often":
        assert (tmp_path / "closed").read_text() == path
    assert "Waiting" not in child.errors
    assert "Cut" not in child.errors


def test_a_reload_does_not_wait_for_it(tmp_path: Path, start: Start) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    child = start("app.py", "--port", "0", "--reload", "--reload-grace", "25")
    with subscribe(child.port, "/never") as sock:
        app.write_text(APP.replace("one", "two"))
        assert end_of(sock).endswith(b"0\r\n\r\n")
        # The connection is kept, and the new process has it.
        sock.sendall(b"GET /often HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"data: 1" not in received:
            received += sock.recv(65_536)
    with subscribe(child.port, "/often"):
        child.wait_for("reloading .* took")
        assert child.end() == 0
