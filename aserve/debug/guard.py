"""Who may see an error page, and who may give it commands.

The page holds the token of the run, and commands hold the app in their hands. Three things are
asked of a request: that its Host is one that no foreign name can stand for (DNS rebinding), that
no page of another origin has sent it, and for evaluation that it comes from this machine.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..hosts import is_same_origin, is_this_machine, may_show, own_hosts

__all__ = ["TOKEN_HEADER", "Guard", "is_secure"]

TOKEN_HEADER: Final = "X-Aserve-Debug"
_TOKEN_KEY: Final = "HTTP_X_ASERVE_DEBUG"
# Fields that say "somebody else stands between us": the peer is then not who asks.
_FORWARDED: Final = (
    "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP",
)  # fmt: skip


class Guard:
    """What is asked of each request. Any thread.

    Args:
        hosts: Names that are allowed beside `localhost`, what is below it, and addresses; `*`
            allows no further ones: whoever lets all names in does not mean the debugger.
        token: Of the run.
        eval_from_network: Evaluate also for peers beyond loopback.
    """

    def __init__(self, hosts: Iterable[str], token: str, *, eval_from_network: bool) -> None:
        self._hosts = own_hosts(hosts)
        self._token = token.encode()
        self._eval_from_network = eval_from_network

    def knows_host(self, environ: Mapping[str, Any]) -> bool:
        """Whether the name that the client has asked for is one of this server."""
        return self._hosts.allow(environ.get("HTTP_HOST", ""))

    def may_see(self, environ: Mapping[str, Any]) -> bool:
        """Whether a page, or the text of a traceback, may be the answer."""
        return self.knows_host(environ) and may_show(_fields_of(environ), _scheme_of(environ))

    def may_command(self, environ: Mapping[str, Any]) -> bool:
        """Whether a command is from a page of this run."""
        given = environ.get(_TOKEN_KEY, "").encode("utf-8", "replace")
        return (
            environ.get("REQUEST_METHOD") == "POST"
            and environ.get("CONTENT_TYPE", "").partition(";")[0].strip() == "application/json"
            and self.knows_host(environ)
            and environ.get("HTTP_SEC_FETCH_SITE", "same-origin") == "same-origin"
            and is_same_origin(_fields_of(environ), _scheme_of(environ))
            and hmac.compare_digest(given, self._token)
        )

    def may_eval(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request comes from this machine, or that does not matter."""
        return self._eval_from_network or self.is_local(environ)

    def is_local(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request comes from this machine, as far as anybody can tell."""
        if any(environ.get(name) for name in _FORWARDED):
            return False
        # Behind a Unix socket, other servers than ours say nothing.
        return is_this_machine(str(environ.get("REMOTE_ADDR") or "<local>"))


def _fields_of(environ: Mapping[str, Any]) -> Callable[[str], str | None]:
    return lambda name: environ.get(f"HTTP_{name.upper().replace('-', '_')}")


def _scheme_of(environ: Mapping[str, Any]) -> str:
    return "https" if is_secure(environ) else "http"


def is_secure(environ: Mapping[str, Any]) -> bool:
    """Whether the client speaks TLS to this server."""
    return environ.get("wsgi.url_scheme") == "https"
