"""Handlers of signals that the app has registered, at its import or before it was handed over.

The server's own ones take their place while it serves. At its end those of the app are called, as
if the signal had come then: uvicorn does the same, and apps that rely on it release what they hold.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from . import native
from .safe_log import get_logger

__all__ = ["SIGNALS", "AppHandlers"]

# Those that end a server.
if sys.platform == "win32":  # pragma: no cover
    SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
else:
    SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_log: Final = get_logger("aserve")


def _is_ours(handler: Callable[..., Any]) -> bool:
    # By the package: `python -m aserve` calls its module `__main__`.
    package = str(getattr(handler, "__globals__", {}).get("__package__") or "")
    return package.partition(".")[0] == __package__.partition(".")[0]


class AppHandlers:
    """What is registered at this moment. Main thread; in another one there is nothing to keep."""

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, Any], Any]] = {}
        if not native.is_main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler is signal.default_int_handler or not callable(handler):
                continue
            if not _is_ours(handler):
                self._handlers[number] = handler

    def __contains__(self, number: int) -> bool:
        return number in self._handlers

    def call(self, number: int) -> None:
        """Call the handler of a signal, if there is one, and say so. Main thread.

        Args:
            number: The signal that has ended the server.

        Raises:
            SystemExit: The handler wants the process to end, or KeyboardInterrupt. Other
                exceptions are logged.
        """
        if number not in self._handlers:
            return
        name = signal.Signals(number).name
        _log.info("Calling the app's own handler of %s", name)
        try:
            self._handlers[number](number, sys._getframe())
        except Exception:
            _log.exception("The app's handler of %s failed", name)
