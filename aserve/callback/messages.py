"""What comes in and what is answered: requests, answers, and the pages for people."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from ..errors import ConfigError
from ..wsgi.response import make_response

__all__ = ["CallbackAnswer", "CallbackRequest", "page", "plain", "printable", "redirect"]

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1rem}"
    "h1{font-size:1.5rem}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_REASONS: Final = {int(status): status.phrase for status in HTTPStatus}

_PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")

# For all answers: the address has the code in it, so no cache, no Referer, and nothing loaded.
_GUARDED: Final = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
    ),
    # The server may end right behind it: the browser is not to count on the connection.
    ("Connection", "close"),
)


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """A request that came. Its text form shows nothing that could be secret.

    Args:
        method: E.g. `POST`.
        path: Decoded, without the query.
        query: What stands behind the first `?`, not decoded.
        headers: By their names in lower case; several of one name are joined by commas.
        body: As it was sent.
    """

    method: str
    path: str
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class CallbackAnswer:
    """What a request is answered.

    Args:
        status: 200 to 599.
        body: Bytes; a text becomes UTF-8.
        headers: Pairs of a name and a value; without a Content-Type it is plain text.
    """

    status: int = 200
    body: bytes | str = field(default=b"", repr=False)
    headers: Iterable[tuple[str, str]] = ()

    def parts(self) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status line, headers and body, as WSGI wants them.

        Raises:
            ConfigError: The status is no final one.
            WSGIError: They cannot be sent.
        """
        if not 200 <= self.status <= 599:
            raise ConfigError("status", self.status, "is not between 200 and 599")
        status = f"{self.status} {_REASONS.get(self.status, '')}"
        body = self.body.encode() if isinstance(self.body, str) else self.body
        headers = [pair for pair in self.headers if pair[0].lower() != "content-length"]
        if body and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(_PLAIN)
        if self.status in (204, 304):
            body = b""
        else:
            headers.append(("Content-Length", str(len(body))))
        # Here, where its author is told of it together with what else can fail.
        make_response(status, tuple(headers))
        return status, headers, body


def plain(status: int, text: str, *headers: tuple[str, str]) -> CallbackAnswer:
    """For programs."""
    return CallbackAnswer(status, f"{text}\n", (_PLAIN, *headers, *_GUARDED))


def page(status: int, title: str, text: str) -> CallbackAnswer:
    """For people; both texts may hold anything."""
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></html>\n"
    )
    return CallbackAnswer(status, body, (("Content-Type", "text/html; charset=utf-8"), *_GUARDED))


def redirect(url: str) -> CallbackAnswer:
    """To a page of the program's own; as a GET, without what stood in this address."""
    return CallbackAnswer(303, f"See {url}\n", (("Location", url), *_GUARDED))


def printable(text: str, most: int = 300) -> str:
    """What was sent, but nothing that a terminal or a log would obey."""
    return "".join(char if char.isprintable() else " " for char in text)[:most]
