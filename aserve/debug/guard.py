"""Who may see an error page, and who may give it commands.

The page holds the token of the run, and commands hold the app in their hands. Three things are
asked of a request: that its Host is one that no foreign name can stand for (DNS rebinding), that
no page of another origin has sent it, and for evaluation that it comes from this machine.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..hosts import Hosts, is_this_machine

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
        self._hosts = Hosts(name for name in hosts if name.strip("*."))
        self._token = token.encode()
        self._eval_from_network = eval_from_network

    def knows_host(self, environ: Mapping[str, Any]) -> bool:
        """Whether the name that the client has asked for is one of this server."""
        return self._hosts.allow(environ.get("HTTP_HOST", ""))

    def may_see(self, environ: Mapping[str, Any]) -> bool:
        """Whether a page, or the text of a traceback, may be the answer.

        A navigation may come from anywhere (a link, the redirect of an identity provider): its
        answer is for the person in front. Frames and scripts of other origins get nothing.
        """
        if not self.knows_host(environ):
            return False
        site = environ.get("HTTP_SEC_FETCH_SITE", "")
        if site in ("same-origin", "none"):
            return True
        if site:
            mode, target = (environ.get(f"HTTP_SEC_FETCH_{name}") for name in ("MODE", "DEST"))
            return mode == "navigate" and target == "document"
        return self._is_same_origin(environ)

    def may_command(self, environ: Mapping[str, Any]) -> bool:
        """Whether a command is from a page of this run."""
        given = environ.get(_TOKEN_KEY, "").encode("utf-8", "replace")
        return (
            environ.get("REQUEST_METHOD") == "POST"
            and environ.get("CONTENT_TYPE", "").partition(";")[0].strip() == "application/json"
            and self.knows_host(environ)
            and environ.get("HTTP_SEC_FETCH_SITE", "same-origin") == "same-origin"
            and self._is_same_origin(environ)
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

    def _is_same_origin(self, environ: Mapping[str, Any]) -> bool:
        """Whether Origin, if a client sends one, is this server's (RFC 6454 section 7)."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None:
            return True
        scheme = "https" if is_secure(environ) else "http"
        return bool(origin == f"{scheme}://{environ.get('HTTP_HOST', '')}")


def is_secure(environ: Mapping[str, Any]) -> bool:
    """Whether the client speaks TLS to this server."""
    return environ.get("wsgi.url_scheme") == "https"
