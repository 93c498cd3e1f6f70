"""Many clients in one thread, which knows of each what has arrived at the server."""

from __future__ import annotations

import fcntl
import re
import selectors
import socket
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..e2e.conftest import DEADLINE

_HEAD = re.compile(rb"HTTP/1\.1 200 OK\r\n.*?Content-Length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)

# Echoes what it is asked, in as many milliseconds as it is told to take.
APP = """
import os, time

def app(environ, start_response):
    token, _, pause = environ["QUERY_STRING"].partition(",")
    body = environ["wsgi.input"].read()
    if pause:
        time.sleep(int(pause) / 1000)
    answer = f"{os.getpid()} {token} ".encode() + body
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""


def has_arrived(sock: socket.socket) -> bool:
    """Whether the kernel of the other end has acknowledged all that was sent (see tcp(7))."""
    waiting: int = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]
    return waiting == 0


@dataclass(eq=False)
class Caller:
    """A client that asks one request after the other.

    Args:
        name: Stands in each request and each answer.
        fresh: Take a new connection for each request.
    """

    name: str
    fresh: bool
    sock: socket.socket | None = None
    number: int = 0
    answered: int = 0
    is_waiting: bool = False  # for the answer to a request that was sent whole
    got: bytearray = field(default_factory=bytearray)
    pid: int = 0  # of the process that has this connection, once it has answered
    promised: str = ""  # the request whose answer is owed, whatever happens

    @property
    def token(self) -> str:
        """Of the request under way."""
        return f"{self.name}-{self.number}"


class Load:
    """Callers that ask as fast as they are answered.

    Args:
        port: Of 127.0.0.1.
        count: How many; every other one takes a new connection each time.
        pauses: Milliseconds that requests take, in turns.
    """

    def __init__(self, port: int, count: int, pauses: tuple[int, ...] = (0,)) -> None:
        self._port = port
        self._pauses = pauses
        self._selector = selectors.DefaultSelector()
        self.callers = [Caller(f"c{number}", number % 2 == 1) for number in range(count)]
        self.wrong: list[str] = []  # answers that were not what was asked for
        self.kept: set[str] = set()  # promised, and answered
        self.pids: set[int] = set()  # of the processes that have answered
        # Called when a connection ended, and for a failure to connect; the caller is out then.
        self.on_end: Callable[[Caller, str], None] = lambda caller, how: None
        self.is_asking = True  # go on with another request behind each answer
        self.last_answer = 0.0

    def __enter__(self) -> Load:
        for caller in self.callers:
            self.ask(caller)
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self.callers:
            self.hang_up(caller)
        self._selector.close()

    @property
    def answered(self) -> int:
        """Answers so far."""
        return sum(caller.answered for caller in self.callers)

    def hang_up(self, caller: Caller) -> None:
        """Close the caller's connection, if there is one."""
        if caller.sock is not None:
            self._selector.unregister(caller.sock)
            caller.sock.close()
            caller.sock = None
        caller.is_waiting = False
        caller.pid = 0
        caller.got.clear()

    def ask(self, caller: Caller) -> None:
        """Send the next request; a small one, so the kernel takes it whole or not at all."""
        caller.number += 1
        pause = self._pauses[caller.number % len(self._pauses)]
        connection = "close" if caller.fresh else "keep-alive"
        body = b"x" * (caller.number % 3 * 100)
        data = (
            f"POST /?{caller.token},{pause or ''} HTTP/1.1\r\nHost: localhost\r\n"
            f"Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        try:
            if caller.sock is None:
                caller.sock = socket.create_connection(("127.0.0.1", self._port), DEADLINE)
                self._selector.register(caller.sock, selectors.EVENT_READ, caller)
            assert caller.sock.send(data) == len(data)
        except OSError as error:
            self._end(caller, f"{type(error).__name__} at a new request")
            return
        caller.is_waiting = True

    def _end(self, caller: Caller, how: str) -> None:
        self.hang_up(caller)
        self.on_end(caller, how)

    def turn(self, timeout: float = 0.05) -> None:
        """Read what has come, and go on."""
        for key, _ in self._selector.select(timeout):
            self._read(key.data)

    def _read(self, caller: Caller) -> None:
        assert caller.sock is not None
        try:
            data = caller.sock.recv(65_536)
        except OSError as error:
            self._end(caller, f"{type(error).__name__} behind {bytes(caller.got)!r}")
            return
        if not data:
            self._end(caller, f"closed behind {bytes(caller.got)!r}")
            return
        caller.got += data
        head = _HEAD.match(caller.got)
        if head is None or len(caller.got) < head.end() + int(head[1]):
            return
        self._check(caller, bytes(caller.got[head.end() :]), int(head[1]))
        closes = b"\r\nconnection: close\r\n" in head[0].lower()
        caller.got.clear()
        if caller.fresh or closes:
            self.hang_up(caller)
        if self.is_asking:
            self.ask(caller)

    def _check(self, caller: Caller, answer: bytes, size: int) -> None:
        body = "x" * (caller.number % 3 * 100)
        pid, _, rest = answer.decode().partition(" ")
        if len(answer) != size or rest != f"{caller.token} {body}":
            self.wrong.append(f"{caller.token}: {answer!r}")
        caller.pid = int(pid)
        self.pids.add(caller.pid)
        caller.is_waiting = False
        caller.answered += 1
        self.last_answer = time.monotonic()
        if caller.promised == caller.token:
            self.kept.add(caller.token)

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Go on until something holds."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "the load waits for something that does not come"
            self.turn()

    def note_promises(self) -> set[str]:
        """The requests that have arrived as a whole and are not answered yet.

        Whatever the server's kernel has acknowledged belongs to a connection that is in the
        backlog, or was accepted: its client cannot know of an end that comes later.
        """
        promised = set()
        for caller in self.callers:
            if caller.is_waiting and caller.sock is not None and has_arrived(caller.sock):
                caller.promised = caller.token
                promised.add(caller.token)
        return promised


def cpu_seconds(pid: int) -> float:
    """Processor seconds that a process has used, all its threads, those that have ended too."""
    # The clock of another process, as clock_getcpuclockid(3) makes its number.
    return time.clock_gettime((~pid << 3) | 2)
