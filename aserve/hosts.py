"""Which hosts a request may be for.

A page on the internet can have its own name lead to 127.0.0.1 and then read what a server there
answers (DNS rebinding). The name that the browser sends along gives it away. Addresses cannot be
abused like that, and `localhost` and what is below it never leave the machine (RFC 6761).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Final

__all__ = ["HostCheck", "Hosts", "is_this_machine"]

# A client can send as many names as it likes.
_MOST_REMEMBERED: Final = 1000


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
            if len(self._known) < _MOST_REMEMBERED:
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
    """The name in a Host field: lower case, without port, brackets and final dot."""
    if host.startswith("["):
        literal, _, rest = host[1:].partition("]")
        # RFC 3986 section 3.2.2: behind the bracket only a port may stand.
        return host if rest and rest[0] != ":" else literal.partition("%")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


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
        start_response(
            "403 Forbidden",
            [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
        )
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
