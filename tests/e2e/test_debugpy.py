"""Breakpoints of an editor, set through the Debug Adapter Protocol, in the process that serves."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import DEADLINE, Start
from .test_reload import ask

APP = """
WORD = "one"
def app(environ, start_response):
    local = WORD * 2
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [local.encode()]
"""
LINE = 4

Message = dict[str, Any]


def _connect(port: int) -> socket.socket:
    """The adapter names its port before it listens there, and again between two clients."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)


class Session:
    """One connection of an editor to the adapter.

    Args:
        port: The adapter's.
        path: The file with the breakpoint.
        more: What tells which process is meant.
    """

    def __init__(self, port: int, path: Path, **more: Any) -> None:
        self._sock = _connect(port)
        self._file = self._sock.makefile("rb")
        self._number = 0
        self._unread: list[Message] = []
        self._reply(self.send("initialize", adapterID="test", pathFormat="path"))
        attached = self.send("attach", **{"justMyCode": True, **more})
        self.event("initialized")
        place: Message = {"source": {"path": str(path)}, "breakpoints": [{"line": LINE}]}
        self._reply(self.send("setBreakpoints", **place))
        self._reply(self.send("configurationDone"))
        self._reply(attached)

    def send(self, command: str, **arguments: Any) -> int:
        """A request; returns its number."""
        self._number += 1
        message = {
            "seq": self._number, "type": "request", "command": command, "arguments": arguments
        }  # fmt: skip
        body = json.dumps(message).encode()
        self._sock.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return self._number

    def event(self, name: str) -> Message:
        """Wait for an event; returns its body."""
        found = self._wait(lambda message: message.get("event") == name)
        body: Message = found.get("body", {})
        return body

    def _reply(self, number: int) -> None:
        found = self._wait(lambda message: message.get("request_seq") == number)
        assert found["success"], found

    def _wait(self, is_wanted: Any) -> Message:
        for message in self._unread:
            if is_wanted(message):
                self._unread.remove(message)
                return message
        while True:
            length = 0
            while line := self._file.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            message = json.loads(self._file.read(length))
            if is_wanted(message):
                return message
            self._unread.append(message)

    def close(self) -> None:
        """The end of this session."""
        # Not only closed: another thread reads from it.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    """Closed in any case: the adapter is a process of debugpy's own, and ends with the last."""
    made: list[Session] = []
    yield made
    for session in made:
        session.close()


def test_an_editors_breakpoints(tmp_path: Path, start: Start, sessions: list[Session]) -> None:
    """`python -m debugpy -m aserve`: each process is announced, and stops where it is told."""
    app = tmp_path / "app.py"
    app.write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        adapter = sock.getsockname()[1]
    child = start(
        sys.executable, "-Xfrozen_modules=off", "-m", "debugpy", "--listen", f"127.0.0.1:{adapter}",
        "--wait-for-client", "-m", "aserve", "app.py", "--port", "0", "--reload", raw=True,
    )  # fmt: skip
    main = Session(adapter, app)
    sessions.append(main)
    stops: queue.Queue[None] = queue.Queue()

    def drive(session: Session) -> None:
        while True:
            thread = session.event("stopped")["threadId"]
            stops.put(None)
            session.send("continue", threadId=thread)

    def attach() -> None:
        """As an editor does: each new process gets a session of its own."""
        while True:
            body = main.event("debugpyAttach")
            port = body.pop("connect")["port"]
            sessions.append(Session(port, app, **body))
            threading.Thread(target=quietly, args=(drive, sessions[-1]), daemon=True).start()

    attaching = threading.Thread(target=quietly, args=(attach,), daemon=True)
    attaching.start()
    port = child.port
    assert ask(port) == (200, "oneone")
    stops.get(timeout=DEADLINE)
    for word in ("two", "three"):
        app.write_text(APP.replace("one", word))
        while ask(port)[1] != word * 2:
            stops.get(timeout=DEADLINE)
        stops.get(timeout=DEADLINE)
    child.send(signal.SIGTERM)
    assert child.process.wait(DEADLINE) == 0
    assert "greenlets" not in child.errors


def quietly(work: Any, *arguments: Any) -> None:
    """The end of the session is the end of the work."""
    with contextlib.suppress(OSError, ValueError):
        work(*arguments)
