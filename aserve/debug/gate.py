"""Who may evaluate: the PIN, and the cookie of those who have entered it."""

from __future__ import annotations

import sys
import time

from .pin import (
    Attempt,
    Lock,
    PinStore,
    cookie_name,
    cookie_value,
    is_valid_cookie,
    set_cookie_header,
)

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
        self._name = cookie_name(root)

    def try_pin(self, given: str) -> Attempt:
        """See `Lock`."""
        return self._lock.try_pin(given)

    def is_open_for(self, cookies: str) -> bool:
        """Whether the PIN was entered in this run.

        Args:
            cookies: The field Cookie of a request.
        """
        for part in cookies.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._name and is_valid_cookie(value, self._secret, self._pin, time.time()):
                return True
        return False

    def cookie(self, *, secure: bool, path: str) -> str:
        """The value of Set-Cookie for a browser that has entered it."""
        value = cookie_value(self._secret, self._pin, time.time())
        return set_cookie_header(value, secure=secure, name=self._name, path=path)

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
