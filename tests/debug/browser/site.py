"""A server for the tests of the page: it shows pages, and answers their commands from a table."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .. import samples

POLICY = (
    "default-src 'none'; script-src 'nonce-nonce'; style-src 'nonce-nonce'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# An answer: as JSON, or as the text of something else; or what makes one of the command.
Answer = dict[str, Any] | str
Answers = dict[str, Answer | Callable[[dict[str, Any]], Answer]]


def value(name: str, text: str, type_: str = "str", **more: bool) -> dict[str, Any]:
    return {
        "name": name, "type": type_, "text": text, "is_hidden": False, "can_expand": False, **more,
    }  # fmt: skip


def refusal(error: str, **more: Any) -> dict[str, Any]:
    return {"ok": False, "error": error, "message": f"said the server: {error}", **more}


class Site(ThreadingHTTPServer):
    """Pages by path, and answers by command."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Callable[[], str]] = {}
        self.answers: Answers = {}
        self.asked: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, command: str) -> list[dict[str, Any]]:
        """The commands of this name that were given so far."""
        return [asked for asked in list(self.asked) if asked["do"] == command]

    def answer(self, asked: dict[str, Any]) -> Answer:
        """Called on the thread of the connection."""
        self.asked.append(asked)
        found = self.answers.get(asked["do"], {"run": "run-1", "kept": True})
        made = found(asked) if callable(found) else found
        return {"ok": True, **made} if isinstance(made, dict) else made


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at what was asked."""

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        if page is None:
            self.server.wrong.append(f"GET {self.path}")
            self.send_error(404)
        else:
            self._send(page(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = (
            self.path, self.headers["Content-Type"], self.headers["X-Aserve-Debug"],
        )  # fmt: skip
        if head != (samples.SETTINGS.command_url, "application/json", samples.SETTINGS.token):
            self.server.wrong.append(f"POST {head}")
        answer = self.server.answer(json.loads(body))
        if isinstance(answer, str):
            self._send(answer, "text/html")
        else:
            self._send(json.dumps(answer), "application/json")

    def _send(self, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def site() -> Iterator[Site]:
    """A running one."""
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
