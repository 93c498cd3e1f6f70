"""What an app wants to be done before its process ends: `on_shutdown` and `on_reload`.

For what must be put in order while everything still works: close a database, save a cache.
Functions run in the reverse order of their registration; what they raise is logged and ends
nothing. When they run depends on whose the process is:

process of the server (`aserve`, `run`, a reload): server ends --> called
program that has servers in it, one after the other: first one begins --> due --> exit --> called
"""

from __future__ import annotations

import atexit
import hmac
import os
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Final

from .hosts import is_this_machine
from .safe_log import get_logger
from .types import Environ

__all__ = [
    "are_due_at_exit",
    "longest",
    "may_shut_down",
    "on_reload",
    "on_shutdown",
    "run_callbacks",
    "run_shutdown_callbacks",
    "skip_callbacks",
]

_log = get_logger("aserve")

# As long as anybody wants to wait for one of them at Ctrl-C.
_SECONDS: Final = 2.0

# They stay: a process may have one server after the other.
_registered: list[tuple[Callable[[], object], bool]] = []


class _AtExit:
    """What is due when the interpreter exits. Any thread."""

    def __init__(self) -> None:
        self._process = 0  # in which it is due: a fork of it has begun no server
        self._is_known = False

    def set(self) -> None:
        """It is due."""
        self._process = os.getpid()
        if not self._is_known:
            self._is_known = True
            atexit.register(self._run)

    def clear(self) -> None:
        """It was done."""
        self._process = 0

    def _run(self) -> None:
        # No thread can be started any more, so they have the time that `atexit` gives: all of it.
        if self._process == os.getpid():
            self.clear()
            for function in _callbacks(is_reload=False):
                _call(function)


_at_exit: Final = _AtExit()


def on_shutdown(function: Callable[[], object]) -> Callable[[], object]:
    """Call this function when the app has answered everything and ends.

    In a process that is there to serve (`aserve`, `run`, `run_simple`, `ServerProcess`, each of the
    `processes`) that is when the server ends, and at each reload, which ends the process of the
    old code. In a program that has servers in it (`ServerThread`, `open_server`, `serve`,
    `make_server`, the fixtures of pytest), where the next one may serve the same app, it is when
    the interpreter exits, or when the program calls `run_shutdown_callbacks`. Usable as a
    decorator. Any thread.

    Args:
        function: Called without arguments; at the end of a server in a thread of its own, for at
            most 2 seconds, and else in the thread that exits.

    Returns:
        The function.
    """
    _registered.append((function, False))
    return function


def on_reload(function: Callable[[], object]) -> Callable[[], object]:
    """The same as `on_shutdown`, but only when the app is loaded anew.

    Args:
        function: Called without arguments, in a thread of its own, for at most 2 seconds.

    Returns:
        The function.
    """
    _registered.append((function, True))
    return function


def longest() -> float:
    """Seconds that `run_callbacks` takes at most."""
    return _SECONDS * len(_registered)


def are_due_at_exit() -> None:
    """A server begins: unless `run_callbacks` comes before, the exit calls what is registered."""
    _at_exit.set()


def run_shutdown_callbacks() -> None:
    """Call what `on_shutdown` has registered now, and not at the exit of the interpreter.

    For a program that has had servers in it, and goes on without them. The last one registered is
    called first. Blocks, for at most 2 seconds each; any thread that may block.
    """
    run_callbacks()


def run_callbacks(*, is_reload: bool = False) -> None:
    """Call what was registered, the last one first. Blocks.

    Args:
        is_reload: Whether the app is loaded anew.
    """
    _at_exit.clear()
    for function in _callbacks(is_reload=is_reload):
        _call_in_thread(function)


def skip_callbacks() -> None:
    """Somebody wants to leave at once."""
    _at_exit.clear()


def _callbacks(*, is_reload: bool) -> list[Callable[[], object]]:
    return [function for function, only in reversed(_registered) if is_reload or not only]


def _name_of(function: Callable[[], object]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _call(function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException:
        _log.exception("%s failed at the end", _name_of(function))


def _call_in_thread(function: Callable[[], object]) -> None:
    name = _name_of(function)
    started = perf_counter()
    thread = threading.Thread(
        target=_call, args=(function,), name=f"aserve-end-{name}", daemon=True
    )
    thread.start()
    thread.join(_SECONDS)
    if thread.is_alive():
        elapsed = perf_counter() - started
        _log.error("%s takes longer than %.0f s; it is left behind", name, elapsed)


def may_shut_down(environ: Environ, token: str) -> bool:
    """Whether a request may end the server: for an endpoint that calls `shutdown`.

    It has to be a POST from this machine with the token in its field `X-Shutdown-Token`. A page on
    the internet can have a browser post here, but not with that field; and behind a proxy every
    request comes from this machine, so the token is what counts.

    Args:
        environ: The request's.
        token: A secret that is made for this run, e.g. by `secrets.token_urlsafe()`.
    """
    given = str(environ.get("HTTP_X_SHUTDOWN_TOKEN", ""))
    is_here = is_this_machine(str(environ.get("REMOTE_ADDR", "")))
    is_right = hmac.compare_digest(given.encode(), token.encode())
    return bool(token) and environ.get("REQUEST_METHOD") == "POST" and is_here and is_right
