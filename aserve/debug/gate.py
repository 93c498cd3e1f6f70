"""Who may evaluate: the PIN, and the cookie of those who have entered it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from .guard import is_secure
from .pin import (
    Attempt,
    Lock,
    PinStore,
    cookie_name,
    cookie_value,
    is_valid_cookie,
    set_cookie_header,
)

if TYPE_CHECKING:
    from ..types import Environ

__all__ = ["Gate"]


class Gate:
    """One lock, and what opens it for a browser. Any thread.

    Args:
        pin: The right PIN.
        run_secret: The same in all processes of the run.
        root: The directory of the project.
    """

    def __init__(self, pin: str, run_secret: bytes, root: str) -> None:
        self._pin = pin
        self._secret = run_secret
        self._lock = Lock(pin, run_secret, PinStore(root).tries)
        self._root = root

    def try_pin(self, given: str) -> Attempt:
        """See `Lock`."""
        return self._lock.try_pin(given)

    def is_open_for(self, environ: Environ) -> bool:
        """Whether whoever sends this request has entered the PIN in this run."""
        wanted = self._name_for(environ)
        for part in environ.get("HTTP_COOKIE", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == wanted and is_valid_cookie(value, self._secret, self._pin, time.time()):
                return True
        return False

    def cookie_for(self, environ: Environ) -> str:
        """The value of Set-Cookie for a browser that has entered it."""
        return set_cookie_header(
            cookie_value(self._secret, self._pin, time.time()),
            secure=is_secure(environ),
            name=self._name_for(environ),
            path=environ.get("SCRIPT_NAME", "") or "/",
        )

    def _name_for(self, environ: Environ) -> str:
        # Cookies ignore ports (RFC 6265 section 8.5), and a project may have several servers.
        return cookie_name(f"{self._root}:{environ.get('SERVER_PORT', '')}")

    def print_pin(self) -> bool:
        """Show the PIN to who sits in front of the terminal; returns whether there is one."""
        stream = sys.__stderr__
        try:
            if stream is None or not stream.isatty():
                return False
            stream.write(f"aserve: the PIN of the debugger is {self._pin}\n")
            stream.flush()
        except (OSError, ValueError):
            return False
        return True
