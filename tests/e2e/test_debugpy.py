"""Breakpoints of an editor, set through the Debug Adapter Protocol, in the process that serves."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
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


class Refused(Exception):
    """The adapter does not do what was asked."""


class Session:
    """One connection of an editor to the adapter.

    Args:
        sock: Connected to the adapter; the session closes it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")
        self._number = 0
        self._unread: list[Message] = []

    def begin(self, path: Path, **more: Any) -> None:
        """Attach, with a breakpoint.

        Args:
            path: The file with the breakpoint.
            more: What tells which process is meant.

        Raises:
            Refused: For example because its process has ended since.
        """
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
        if not found["success"]:
            raise Refused(found)

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

    def cut(self) -> None:
        """End this session; a thread that reads from it sees the end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it, once no thread uses it."""
        self._file.close()
        self._sock.close()


class Editor:
    """The sessions of an editor, and its threads. `close()` leaves none of them behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: list[Session] = []
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()

    def open(self, port: int) -> Session:
        """A session with the adapter at a port.

        It names its port before it listens there, and again between two clients.
        """
        while not self._closed.is_set():
            with contextlib.suppress(ConnectionRefusedError):
                session = Session(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE))
                with self._lock:
                    self._sessions.append(session)
                    if self._closed.is_set():
                        session.cut()
                return session
        raise ConnectionAbortedError

    def start(self, work: Any, *arguments: Any) -> None:
        """Do something in a thread, until the session that it is about has ended."""

        def run() -> None:
            with contextlib.suppress(OSError, ValueError):
                work(*arguments)

        thread = threading.Thread(target=run)
        with self._lock:
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """In any case: the adapter is a process of debugpy's own, and ends with the last."""
        with self._lock:
            self._closed.set()
            for session in self._sessions:
                session.cut()
        # One that is just being opened is cut by who opens it, and starts threads that end.
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        for session in self._sessions:
            session.close()


def has_ended(pid: int) -> bool:
    """Whether a process has, or does so within the deadline."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], DEADLINE)[0])
    finally:
        os.close(descriptor)


@pytest.fixture
def editor() -> Iterator[Editor]:
    with contextlib.closing(Editor()) as editor:
        yield editor


def test_an_editors_breakpoints(tmp_path: Path, start: Start, editor: Editor) -> None:
    """`python -m debugpy -m aserve`: each process is announced, and stops where it is told."""
    app = tmp_path / "app.py"
    app.write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        adapter = sock.getsockname()[1]
    child = start(
        sys.executable, "-Xfrozen_modules=off", "-m", "debugpy", "--listen", f"127.0.0.1:{adapter}",
        "--wait-for-client", "-m", "aserve", "app.py", "--port", "0", "--reload", raw=True,
    )  # fmt: skip
    main = editor.open(adapter)
    main.begin(app)
    stops: queue.Queue[None] = queue.Queue()

    def drive(port: int, process: dict[str, Any]) -> None:
        """A process: that it ends before the session has begun is no fault, all else is."""
        session = editor.open(port)
        try:
            session.begin(app, **process)
        except Refused:
            if not has_ended(process["subProcessId"]):
                raise
            return
        while True:
            thread = session.event("stopped")["threadId"]
            stops.put(None)
            session.send("continue", threadId=thread)

    def attach() -> None:
        """As an editor does: each new process gets a session of its own."""
        while True:
            process = main.event("debugpyAttach")
            editor.start(drive, process.pop("connect")["port"], process)

    editor.start(attach)
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
