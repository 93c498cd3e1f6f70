"""What all clients of the soak have in common: connections, answers, and a tally."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

__all__ = ["PATIENCE", "Broken", "Client", "Tally", "Target", "reset"]

# Seconds that a client waits for a byte. A good server needs milliseconds; the rest is patience
# with a machine that has other work.
PATIENCE: Final = 20.0

# More lines than anybody reads; the count goes on.
_LINES: Final = 20

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class Broken(Exception):
    """The server broke its promise; the message says which."""


class Tally:
    """What the clients of one kind have seen. Any thread.

    Args:
        seconds: How long they go on.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.visits = 0
        self.broken = 0
        self.lines: list[str] = []
        self.latencies = array("d")  # seconds
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.end

    def rest(self, seconds: float) -> None:
        """Sleep, but not longer than the time goes on."""
        time.sleep(min(seconds, max(0.0, self.end - time.monotonic())))

    def note(self, latency: float) -> None:
        """A good answer, and how long it took, in seconds."""
        with self._lock:
            self.latencies.append(latency)

    def count(self) -> None:
        """One more visit."""
        with self._lock:
            self.visits += 1

    def blame(self, line: str) -> None:
        """A promise was broken."""
        with self._lock:
            self.broken += 1
            if len(self.lines) < _LINES:
                self.lines.append(line)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client goes.

    Args:
        port: Of 127.0.0.1.
        tls: Whether it speaks TLS there.
    """

    port: int
    tls: bool

    def dial(self) -> socket.socket:
        """A plain connection, also to a port of TLS."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def connect(self) -> socket.socket:
        """A connection, with its handshake done."""
        sock = self.dial()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return sock
        try:
            return client_context().wrap_socket(sock, server_hostname="127.0.0.1")
        except BaseException:
            sock.close()
            raise


def client_context() -> ssl.SSLContext:
    """Nobody has signed the certificate of the soak. A session is never resumed."""
    context = ssl._create_unverified_context()
    # Without the tickets, of which the kernel would make a reset when they are left unread.
    context.options |= ssl.OP_NO_TICKET
    return context


def reset(sock: socket.socket) -> None:
    """Leave without a good-bye."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    sock.close()


class Client:
    """One connection of a client that keeps to the protocol. Use it in a `with` block.

    Args:
        target: Where to.
    """

    def __init__(self, target: Target) -> None:
        self.sock = target.connect()
        self._buffer = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, path: str, *fields: str, body: bytes = b"", method: str = "") -> None:
        """Send a request at once; a body brings its length."""
        lines = [f"{method or ('POST' if body else 'GET')} {path} HTTP/1.1", "Host: localhost"]
        lines += fields
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def send_chunked(self, path: str, pieces: Iterable[bytes]) -> None:
        """Send a request whose length is not told before."""
        self.send(path, "Transfer-Encoding: chunked", method="POST")
        for piece in pieces:
            self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.sock.sendall(b"0\r\n\r\n")

    def _more(self) -> None:
        data = self.sock.recv(131_072)
        if not data:
            raise Broken(f"closed behind {bytes(self._buffer[-60:])!r}")
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._more()
        line, _, rest = bytes(self._buffer).partition(b"\r\n")
        self._buffer[:] = rest
        return line

    def head(self) -> tuple[int, dict[str, str]]:
        """The status and the fields of the next answer, whose body is to be read next."""
        status_line = self._line().split(b" ")
        fields: dict[str, str] = {}
        while line := self._line().decode("latin-1"):
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        if len(status_line) < 2 or not status_line[1].isdigit():
            raise Broken(f"a status line of {status_line!r}")
        return int(status_line[1]), fields

    def body(self, fields: dict[str, str], piece: int = 131_072) -> Iterator[bytes]:
        """What comes of the body, in pieces; all of it, or `Broken`."""
        if "content-length" in fields:
            yield from self._exactly(int(fields["content-length"]), piece)
            return
        if fields.get("transfer-encoding") != "chunked":
            raise Broken("an answer without a length")
        while size := int(self._line(), 16):
            yield from self._exactly(size, piece)
            if self._line():
                raise Broken("a chunk that is longer than it says")
        if self._line():
            raise Broken("a trailer that nobody has sent")

    def _exactly(self, size: int, piece: int) -> Iterator[bytes]:
        while size:
            if not self._buffer:
                self._more()
            part = bytes(self._buffer[: min(size, piece)])
            del self._buffer[: len(part)]
            size -= len(part)
            yield part

    def expect(self, wanted: Iterable[bytes], status: int = 200, pause: float = 0.0) -> bool:
        """Read an answer and compare every byte; returns whether the connection goes on.

        Args:
            wanted: The body.
            status: The status.
            pause: Seconds to wait before each 16 KiB, for a client that is slow.
        """
        got, fields = self.head()
        if got != status:
            raise Broken(f"status {got} instead of {status}")
        due = bytearray()
        source = iter(wanted)
        for part in self.body(fields, 16_384 if pause else 131_072):
            while len(due) < len(part) and (more := next(source, b"")):
                due += more
            if part != due[: len(part)]:
                raise Broken("a wrong byte in a body")
            del due[: len(part)]
            if pause:
                time.sleep(pause)
        if due or next(source, b""):
            raise Broken("a body that is too short")
        if self._buffer:
            raise Broken(f"bytes behind an answer: {bytes(self._buffer[:60])!r}")
        return fields.get("connection", "").lower() != "close"


@contextlib.contextmanager
def leaving(sock: socket.socket, rng: Random) -> Iterator[socket.socket]:
    """Leave in the end, with a reset two times of three, whatever the server has said to it."""
    try:
        with contextlib.suppress(OSError):
            yield sock
    finally:
        reset(sock) if rng.random() < 0.67 else sock.close()
