"""A page of the debugger as a browser uses it: asked over a socket, with its commands."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

from .conftest import DEADLINE, Child

__all__ = ["Page", "pin_of"]


class Page:
    """The page that a request gets, and what its script can ask for.

    Args:
        port: Of the server, on 127.0.0.1.
        path: Of the request.
        host: The name that the browser shows.
    """

    def __init__(self, port: int, path: str = "/", host: str = "localhost") -> None:
        self._port = port
        self._host = f"{host}:{port}"
        self.cookie = ""
        self.status, self.text = self.get(path)
        found = re.search(r'<script [^>]*id="settings"[^>]*>(.*?)</script>', self.text, re.DOTALL)
        assert found, (self.status, self.text[:500])
        self.settings: dict[str, Any] = json.loads(found[1])

    def get(self, path: str) -> tuple[int, str]:
        """Ask for a page."""
        status, _, text = self._ask("GET", path, b"", {"Accept": "text/html"})
        return status, text

    def command(self, do: str, **more: Any) -> Any:
        """Carry out a command; on another process if this one has not got the frames."""
        body = json.dumps({"do": do, "report": self.settings["report"], **more}).encode()
        fields = {
            "Content-Type": "application/json",
            "X-Aserve-Debug": self.settings["token"],
            "Origin": f"http://{self._host}",
            "Cookie": self.cookie,
        }
        for _ in range(60):
            _, cookie, text = self._ask("POST", self.settings["command_url"], body, fields)
            answer = json.loads(text)
            if answer.get("error") != "elsewhere":
                break
        self.cookie = cookie.partition(";")[0] or self.cookie
        return answer

    def _ask(
        self, method: str, path: str, body: bytes, fields: dict[str, str]
    ) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, {"Host": self._host, **fields})
            answer = connection.getresponse()
            cookie = answer.getheader("Set-Cookie") or ""
            return answer.status, cookie, answer.read().decode()
        finally:
            connection.close()


def pin_of(ask: Child) -> str:
    """What `aserve pin` has printed."""
    assert ask.wait() == 0, ask.errors
    assert ask.process.stdout is not None
    return ask.process.stdout.read().strip()
