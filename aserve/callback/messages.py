"""What comes in and what is answered: requests, answers, and the pages for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from ..errors import ConfigError
from ..guarded import NO_CONTENT, guarded_headers, policy
from ..pages.document import document, style_hash
from ..pages.markup import element
from ..wsgi.response import make_response

__all__ = ["CallbackAnswer", "CallbackRequest", "page", "plain", "printable", "redirect"]

_REASONS: Final = {int(status): status.phrase for status in HTTPStatus}

_PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")

# The server may end right behind it: the browser is not to count on the connection.
_LAST: Final = ("Connection", "close")


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


def _guarded(kind: str, size: int, rules: str = NO_CONTENT) -> list[tuple[str, str]]:
    # The address has the code in it, so no page that is gone to from here is told of it.
    return [*guarded_headers(kind, size, rules, referrer="no-referrer"), _LAST]


def plain(status: int, text: str, *headers: tuple[str, str]) -> CallbackAnswer:
    """For programs."""
    body = f"{text}\n".encode()
    return CallbackAnswer(status, body, (*headers, *_guarded("text/plain", len(body))))


def page(status: int, title: str, text: str) -> CallbackAnswer:
    """For people; both texts may hold anything."""
    heading = element("h1", element("span", title, class_="message"), class_="headline")
    main = element("main", [heading, element("p", text)], class_="simple")
    body = document(title, main).encode("utf-8", "backslashreplace")
    rules = policy(styles=style_hash())
    return CallbackAnswer(status, body, _guarded("text/html", len(body), rules))


def redirect(url: str) -> CallbackAnswer:
    """To a page of the program's own; as a GET, without what stood in this address."""
    body = f"See {url}\n".encode()
    headers = (("Location", url), *_guarded("text/plain", len(body)))
    return CallbackAnswer(303, body, headers)


def printable(text: str, most: int = 300) -> str:
    """What was sent, but nothing that a terminal or a log would obey."""
    return "".join(char if char.isprintable() else " " for char in text)[:most]
