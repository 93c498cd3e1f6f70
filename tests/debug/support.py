"""An app that fails, in the debugger, asked without a socket; and what its pages say."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

from aserve.debug import DebuggedApplication, DebugSettings
from aserve.types import Environ, StartResponse

PAGE = {"HTTP_ACCEPT": "text/html,*/*", "HTTP_HOST": "localhost:8000"}
PIN = "123-456-789"


def fails(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    word = "local value"
    numbers = [1, 2, {"three": word}]
    raise LookupError(f"nothing at {environ['PATH_INFO']} {len(numbers)}")


class Answer:
    """What an app has answered.

    Args:
        status: The status line's code.
        headers: Its fields.
        body: All of it.
    """

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status.split()[0])
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body
        self.text = body.decode()

    @property
    def settings(self) -> dict[str, Any]:
        """What the page's script is told."""
        found = re.search(r'<script [^>]*id="settings"[^>]*>(.*?)</script>', self.text, re.DOTALL)
        assert found, self.text[:500]
        settings: dict[str, Any] = json.loads(found[1])
        return settings

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(app: Callable[..., Iterable[bytes]], path: str = "/", **more: Any) -> Answer:
    """One request, as a server on loopback would hand it on."""
    environ: Environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost:8000"}
    environ["PATH_INFO"] = path
    environ.update(more)
    setup_testing_defaults(environ)
    answered: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        answered[:] = [status, headers]
        return lambda data: None

    result = app(environ, start_response)
    try:
        body = b"".join(result)
    finally:
        if hasattr(result, "close"):
            result.close()
    return Answer(*answered, body)


class Client:
    """A page of the debugger, and its commands.

    Args:
        app: What fails.
        **settings: Of the debugger.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]] = fails, **settings: Any) -> None:
        settings.setdefault("pin", PIN)
        self.app = DebuggedApplication(app, True, settings=DebugSettings(**settings))
        self.cookie = ""
        self.page = ask(self.app, "/somewhere", **PAGE)
        self.settings = self.page.settings

    def command(self, do: str, environ: dict[str, Any] | None = None, **more: Any) -> Any:
        """Carry out a command; returns its answer."""
        return self.send(do, environ, **more).json

    def send(self, do: str, environ: dict[str, Any] | None = None, **more: Any) -> Answer:
        """The same; returns the response."""
        asked = {"do": do, "report": self.settings["report"], **more}
        body = json.dumps(asked).encode()
        fields: dict[str, Any] = {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_X_ASERVE_DEBUG": self.settings["token"],
            "HTTP_ORIGIN": "http://localhost:8000",
            "HTTP_SEC_FETCH_SITE": "same-origin",
            "wsgi.input": io.BytesIO(body),
            **({"HTTP_COOKIE": self.cookie} if self.cookie else {}),
            **(environ or {}),
        }
        fields = {name: value for name, value in fields.items() if value is not None}
        answer = ask(self.app, "/.aserve/debug/command", **fields)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def unlock(self) -> None:
        assert self.command("unlock", pin=PIN)["ok"]


def pieces(*items: bytes | Exception) -> Callable[..., Iterator[bytes]]:
    """An app that yields, and raises where an exception stands."""

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    return app
