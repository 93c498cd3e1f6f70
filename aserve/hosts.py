"""Which hosts a request may be for, and which pages may see what aserve itself has to say.

A page on the internet can have its own name lead to 127.0.0.1 and then read what a server there
answers (DNS rebinding). The name that the browser sends along gives it away. Addresses cannot be
abused like that, and `localhost` and what is below it never leave the machine (RFC 6761).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from .guarded import guarded_headers

__all__ = [
    "HostCheck",
    "Hosts",
    "is_same_origin",
    "is_this_machine",
    "may_show",
    "own_hosts",
    "refusal",
]

# The value of a header field by its name in lower case; None if it was not sent.
_Field: TypeAlias = Callable[[str], str | None]

# A client can send as many names as it likes, and as long ones; the DNS has none longer.
_MOST_REMEMBERED: Final = 1000
_LONGEST_REMEMBERED: Final = 300
_PORT: Final = re.compile("(?::[0-9]*)?")


class Hosts:
    """Names that are allowed beside addresses, `localhost` and what is below it. Any thread.

    Args:
        names: Names; `*.example.org` stands for all below, `.example.org` for itself, too, as
            in Django and Werkzeug, and `*` for all.
    """

    def __init__(self, names: Iterable[str]) -> None:
        lowered = {name.lower().rstrip(".") for name in names} | {"localhost", ".localhost"}
        below = {name for name in lowered if name.startswith(("*", "."))}
        self._endings = tuple(f".{name.lstrip('*.')}" for name in below)
        self._names = lowered - below | {name[1:] for name in below if name.startswith(".")}
        self._has_all = "*" in lowered
        self._known: dict[str, bool] = {}

    def allow(self, host: str) -> bool:
        """Whether the value of a Host field is allowed; an absent one (HTTP/1.0) is.

        Args:
            host: As it was sent, with or without a port.
        """
        known = self._known.get(host)
        if known is None:
            known = self._has_all or not host or self._is_allowed(name_of(host))
            if len(self._known) < _MOST_REMEMBERED and len(host) <= _LONGEST_REMEMBERED:
                self._known[host] = known
        return known

    def _is_allowed(self, name: str) -> bool:
        if name in self._names or (self._endings and name.endswith(self._endings)):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def name_of(host: str) -> str:
    """The name in a Host field: lower case, without port, brackets and final dot.

    Where something else than a port stands behind it, it is no name: all of it is returned.
    """
    if host.startswith("["):
        literal, _, rest = host[1:].partition("]")
        # RFC 3986 section 3.2.2: behind the bracket only a port may stand.
        return literal.partition("%")[0].lower() if _PORT.fullmatch(rest) else host
    name, colon, port = host.partition(":")
    # `localhost:1@evil.test` is user information, and then a host.
    return name.lower().rstrip(".") if _PORT.fullmatch(colon + port) else host


def own_hosts(names: Iterable[str]) -> Hosts:
    """For the pages of aserve itself: whoever lets all names in by `*` does not mean those."""
    return Hosts(name for name in names if name.strip("*."))


def may_show(field: _Field, scheme: str) -> bool:
    """Whether a page about a failure may be the answer, as far as the asking page is concerned.

    A navigation may come from anywhere (a link, the redirect of an identity provider): its
    answer is for the person in front. Frames and scripts of other origins get nothing.

    Args:
        field: Of the request.
        scheme: What the client speaks, `http` or `https`.
    """
    site = field("sec-fetch-site") or ""
    if site in ("same-origin", "none"):
        return True
    if site:
        return (field("sec-fetch-mode"), field("sec-fetch-dest")) == ("navigate", "document")
    return is_same_origin(field, scheme)


def is_same_origin(field: _Field, scheme: str) -> bool:
    """Whether Origin, if a client sends one, is this server's (RFC 6454 section 7)."""
    origin = field("origin")
    return origin is None or origin == f"{scheme}://{field('host') or ''}"


def is_this_machine(peer: str) -> bool:
    """Whether a REMOTE_ADDR is this machine's; `<local>` is whoever comes by a Unix socket."""
    return peer in ("::1", "<local>") or peer.removeprefix("::ffff:").startswith("127.")


class HostCheck:
    """A WSGI app that lets requests for allowed hosts through, and answers others with 403.

    Args:
        app: The application.
        names: See `Hosts`.
    """

    def __init__(self, app: Any, names: Sequence[str]) -> None:
        self._app = app
        self._hosts = Hosts(names)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        host = environ.get("HTTP_HOST", "")
        if self._hosts.allow(host):
            return self._app(environ, start_response)
        body = refusal(host)
        start_response("403 Forbidden", guarded_headers("text/plain", len(body)))
        return [body]


def refusal(host: str) -> bytes:
    """What whoever asks for another host is told."""
    # As it came, but nothing that a terminal would obey.
    name = name_of(host).encode("ascii", "backslashreplace").decode()
    shown = "".join(char for char in name if char.isprintable())[:100]
    return (
        f"This server does not answer for the host {shown}.\n"
        f"Allow it with --allowed-host {shown}, or as allowed_hosts in [tool.aserve].\n"
    ).encode()
