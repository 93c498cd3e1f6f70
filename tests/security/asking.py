"""Requests as an attacker writes them: by hand, over a socket."""

from __future__ import annotations

import socket
from typing import NamedTuple

from ..e2e.conftest import DEADLINE

__all__ = ["CROSS_ORIGIN", "FOREIGN_HOSTS", "Answer", "ask", "send"]

# What no browser may make this machine's server answer, and what no client means.
FOREIGN_HOSTS = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
    "EVIL.example.", "localhost%2eevil.example", "xn--lcalhost-6fg", "[::1].evil.example",
    "2130706433", "0x7f.1",
]  # fmt: skip

# What a browser says when a page of another origin asks, but for plain links.
CROSS_ORIGIN = {
    "script": "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script",
    "frame": "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe",
    "fetch": "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nOrigin: https://evil.example",
    "same-site": "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty",
    "old fetch": "Origin: https://evil.example",
    "sandbox": "Origin: null",
    "other port": "Origin: http://localhost:1",
    "WebSocket": "Origin: https://evil.example\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}


class Answer(NamedTuple):
    """What came; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    text: str


def ask(
    port: int, *lines: str, target: str = "/", method: str = "GET", host: str = "localhost",
    body: bytes = b"",
) -> Answer:  # fmt: skip
    """A request with these further header lines; `host` may be empty for no Host at all."""
    head = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host else []), *lines]
    head += [f"Content-Length: {len(body)}"] if body else []
    head.append("Connection: close")
    return send(port, "\r\n".join((*head, "", "")).encode("latin-1") + body)


def send(port: int, data: bytes) -> Answer:
    """These bytes, after which the server has to end the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock:
        sock.sendall(data)
        received = b""
        while piece := sock.recv(65_536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(int(first.split()[1]), headers, body.decode("utf-8", "backslashreplace"))
