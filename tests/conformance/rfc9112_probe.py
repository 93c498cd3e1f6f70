"""Both ends of the RFC 9112 tests: the application, and the reader of what comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import h11

from aserve.errors import ClientDisconnected
from aserve.types import Environ, StartResponse

__all__ = ["Probe", "responses"]

CHARS = {"cr": "\r", "lf": "\n", "nul": "\0"}


class Probe:
    """An application that remembers what it saw and answers as the path asks."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.began = threading.Event()
        self.left = threading.Event()
        self.close_count = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.began.set()
        path: str = environ["PATH_INFO"]
        name, *rest = path.strip("/*").split("/")
        body = b""
        if name not in ("unread", "cut"):
            try:
                body = environ["wsgi.input"].read()
            except ClientDisconnected:
                self.left.set()
                raise
        self.seen.append(f"{environ['REQUEST_METHOD']} {path} {body[:100].decode('latin-1')}")
        answer = getattr(self, f"answer_{name}", self.answer_)
        result: Iterable[bytes] = answer(environ, start_response, *rest)
        return result

    def answer_(self, environ: Environ, start: StartResponse, *_: str) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [environ.get("HTTP_HOST", "").encode("latin-1")]

    def answer_stream(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [])
        yield from (b"one", b"two", b"three")

    def answer_status(self, environ: Environ, start: StartResponse, code: str) -> Iterable[bytes]:
        start(f"{code} Some Reason", [])
        yield b"leak"

    def answer_close(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [("Connection", "close")])
        return [b"bye"]

    def answer_inject(
        self, environ: Environ, start: StartResponse, kind: str, char: str
    ) -> Iterable[bytes]:
        bad = f"a{CHARS[char]}Injected: b"
        name, value = (bad, "1") if kind == "name" else ("X", bad)
        status = f"200 {bad}" if kind == "status" else "200 OK"
        start(status, [("X-Before", "1"), ("X", "1") if kind == "status" else (name, value)])
        return [b"injected"]

    def answer_cut(self, environ: Environ, start: StartResponse, how: str) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", "99")] if how == "length" else [])
        return self._cut()

    def _cut(self) -> Iterator[bytes]:
        try:
            yield b"partial"
            raise RuntimeError("the app breaks midway")
        finally:
            self.close_count += 1


def responses(data: bytes, heads: tuple[int, ...] = ()) -> list[tuple[h11.Response, bytes]]:
    """The responses in `data`, which h11 has to accept to the last byte."""
    found: list[tuple[h11.Response, bytes]] = []
    while data:
        method = "HEAD" if len(found) in heads else "GET"
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        client.receive_data(b"")
        head, body = None, b""
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        assert head is not None
        found.append((head, body))
        data = client.trailing_data[0]
    return found
