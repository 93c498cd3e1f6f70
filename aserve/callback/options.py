"""What else can be said about a callback server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import ConfigError
from .messages import CallbackAnswer, CallbackRequest

__all__ = ["AnswerFunction", "CallbackOptions", "check_path"]

AnswerFunction: TypeAlias = Callable[[CallbackRequest], CallbackAnswer | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackOptions:
    """The further options of `CallbackServer`.

    Args:
        ports: The ports that are registered with the provider; the first free one is taken. 0,
            the default, stands for any (RFC 8252 section 7.3).
        host: How `url` names this machine: `127.0.0.1`, `::1`, or `localhost` for a provider that
            knows nothing else (RFC 8252 section 8.3 advises against it).
        response_mode: Where the answer stands: `query` for a GET, `form_post` for the body of a
            POST.
        check_state: Whether an answer needs the right `state`. Without, the first one counts, and
            any page that the browser shows can send one.
        issuer: What the parameter `iss` has to be (RFC 9207), for a client of several servers.
        text: What the page says when all is well, instead of that the window can be closed.
        redirect: Where the browser goes instead of seeing that page.
        answer: Called with each request in a worker thread; returns an answer or a status code,
            or None to have the server do as usual. For webhooks and stand-ins.
        allowed_hosts: Further names that requests may be for, e.g. that of a tunnel.
        body_limit: The most bytes of a request's body; longer ones are answered 413.
    """

    ports: tuple[int, ...] = (0,)
    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    response_mode: Literal["query", "form_post"] = "query"
    check_state: bool = True
    issuer: str | None = None
    text: str | None = None
    redirect: str | None = None
    answer: AnswerFunction | None = None
    allowed_hosts: tuple[str, ...] = ()
    body_limit: int = 1_048_576

    def __post_init__(self) -> None:
        """Raises:
        ConfigError: A value cannot be used.
        """
        if not self.ports:
            raise ConfigError("ports", self.ports, "is empty; name one, or 0 for any that is free")
        for port in self.ports:
            if not (isinstance(port, int) and 0 <= port <= 65535):
                raise ConfigError("ports", port, "is not between 0 and 65535")
        _check_choice("host", self.host, ("127.0.0.1", "::1", "localhost"))
        _check_choice("response_mode", self.response_mode, ("query", "form_post"))
        if self.redirect is not None and not _is_header_value(self.redirect):
            raise ConfigError("redirect", self.redirect, "is no URL; percent-encode what is not")
        if self.body_limit < 0:
            raise ConfigError("body_limit", self.body_limit, "is negative; give bytes")


def check_path(path: str) -> None:
    """Raises:
    ConfigError: It is no path of a URL.
    """
    if not path.startswith("/") or path.startswith("//"):
        raise ConfigError("path", path, "has to start with one slash, as in /callback")
    if not _is_header_value(path) or any(char in path for char in "?#"):
        raise ConfigError("path", path, "is no path; leave away query, fragment and spaces")


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(option, value, f"is none of {', '.join(choices)}")


def _is_header_value(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
