"""What an app wants to be done before its process ends: `on_shutdown` and `on_reload`.

For what must be put in order while everything still works: close a database, save a cache.
Functions run in the reverse order of their registration, in a thread, each for a bounded time; what
they raise is logged and ends nothing.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Final

from .hosts import is_this_machine
from .safe_log import get_logger
from .types import Environ

__all__ = ["longest", "may_shut_down", "on_reload", "on_shutdown", "run_callbacks"]

_log = get_logger("aserve")

# As long as anybody wants to wait for one of them at Ctrl-C.
_SECONDS: Final = 2.0

_registered: list[tuple[Callable[[], object], bool]] = []


def on_shutdown(function: Callable[[], object]) -> Callable[[], object]:
    """Call this function when the server has answered everything and ends.

    At the end and at each reload alike, because a reload ends the process of the old code. Usable
    as a decorator. `aserve`, `run`, `run_simple`, `ServerThread` and `ServerProcess` look to it;
    `open_server`, `serve` and `make_server`, whose caller goes on behind them, do not, but each of
    the `processes` of `make_server` does. Any thread.

    Args:
        function: Called without arguments, in a thread of its own, for at most 2 seconds.

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


def run_callbacks(*, is_reload: bool = False) -> None:
    """Call what was registered, the last one first, and forget it. Blocks.

    Args:
        is_reload: Whether the app is loaded anew.
    """
    callbacks = [function for function, only_reload in _registered if is_reload or not only_reload]
    _registered.clear()
    for function in reversed(callbacks):
        _call(function)


def _call(function: Callable[[], object]) -> None:
    def work() -> None:
        try:
            function()
        except BaseException:
            _log.exception("%s failed at the end", name)

    name = getattr(function, "__qualname__", repr(function))
    started = perf_counter()
    thread = threading.Thread(target=work, name=f"aserve-end-{name}", daemon=True)
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
