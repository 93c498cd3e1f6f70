"""Who may evaluate: the PIN, and the cookie of those who have entered it."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..pause import Pause
from ..sealed import Sealed
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
from .redact import HIDDEN

if TYPE_CHECKING:
    from ..types import Environ

__all__ = ["Gate"]


# What can be asked for without the PIN, and does something in front of the person.
_PAUSE: Final = 2.0


class Gate:
    """One lock, and what opens it for a browser. Any thread.

    Args:
        pin: The right PIN.
        run_secret: The same in all processes of the run.
        root: The directory of the project.
        is_configured: Somebody has set the PIN; else the one of the project's file counts, also
            when it changes.
    """

    def __init__(self, pin: Sealed, run_secret: Sealed, root: str, *, is_configured: bool) -> None:
        self._pin = pin.hide_everywhere()
        self._secret = run_secret
        self._store = PinStore(root)
        self._lock = Lock(run_secret, self._store.tries)
        self._root = root
        self._is_configured = is_configured
        self._showing = Pause(_PAUSE)

    def current_pin(self) -> Sealed:
        """The right PIN, which another terminal may have renewed."""
        if not self._is_configured:
            stored = self._store.stored()
            if stored is not None and stored != self._pin:
                self._pin = stored.hide_everywhere()
                self._lock.forgive()
        return self._pin

    def hider(self) -> Callable[[str], str]:
        """Returns texts without the PIN, wherever they come from."""
        return functools.partial(self.current_pin().hide_in, instead=HIDDEN)

    def try_pin(self, given: str) -> Attempt:
        """See `Lock`."""
        return self._lock.try_pin(given, self.current_pin())

    def is_open_for(self, environ: Environ) -> bool:
        """Whether whoever sends this request has entered the PIN in this run."""
        wanted, pin = self._name_for(environ), None
        for part in environ.get("HTTP_COOKIE", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name != wanted:
                continue
            pin = pin or self.current_pin()
            if is_valid_cookie(value, self._secret, pin, time.time()):
                return True
        return False

    def cookie_for(self, environ: Environ) -> str:
        """The value of Set-Cookie for a browser that has entered it."""
        return set_cookie_header(
            cookie_value(self._secret, self.current_pin(), time.time()),
            secure=is_secure(environ),
            name=self._name_for(environ),
            path=environ.get("SCRIPT_NAME", "") or "/",
        )

    def _name_for(self, environ: Environ) -> str:
        # Cookies ignore ports (RFC 6265 section 8.5), and a project may have several servers.
        return cookie_name(f"{self._root}:{environ.get('SERVER_PORT', '')}")

    def print_pin(self) -> bool:
        """Show the PIN to who sits in front of the terminal; returns whether there is one.

        Once in two seconds: every page can ask for it.
        """
        stream = sys.__stderr__
        try:
            if stream is None or not stream.isatty():
                return False
            if not self._showing.is_over():
                return True
            stream.write(f"aserve: the PIN of the debugger is {self.current_pin().reveal()}\n")
            stream.flush()
        except (OSError, ValueError):
            return False
        return True
