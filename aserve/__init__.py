"""aserve: the development server for WSGI applications.

An asyncio loop owns the sockets, a pool of threads runs your synchronous application.

    aserve app:app                                  from the shell
    async with aserve.open_server(app) as server:   inside async programs and tests
    aserve.run(app)                                 inside a script

Everything public is importable from here. Names are loaded when they are first used, so
that `import aserve` costs no more than a module of the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .api import Hooks, open_server, serve
    from .callback import (
        CallbackAnswer,
        CallbackOptions,
        CallbackRequest,
        CallbackServer,
        wait_for_callback,
    )
    from .compat import make_ssl_devcert, run_simple
    from .config import Limits, ReloadConfig, ServerConfig, Timeouts
    from .errors import (
        AppLoadError,
        AserveError,
        CallbackError,
        CallbackTimeout,
        ClientDisconnected,
        ConfigError,
        DrainTimeout,
        ListenError,
        LocalProtocolError,
        ProtocolError,
        RemoteProtocolError,
        WSGIError,
    )
    from .events import ErrorRecord, ExchangeRecord, Request
    from .handler import WSGIRequestHandler
    from .lifecycle import may_shut_down, on_reload, on_shutdown, run_shutdown_callbacks
    from .net.browser import open_browser
    from .process import ServerProcess
    from .reload.role import is_running_from_reloader
    from .running import run
    from .server import Server, ServerState
    from .static import StaticFiles
    from .threads import ServerThread, WSGIServer, make_server

_HOMES = {
    "api": ("Hooks", "open_server", "serve"),
    "callback": (
        "CallbackAnswer",
        "CallbackOptions",
        "CallbackRequest",
        "CallbackServer",
        "wait_for_callback",
    ),
    "compat": ("make_ssl_devcert", "run_simple"),
    "config": ("Limits", "ReloadConfig", "ServerConfig", "Timeouts"),
    "errors": (
        "AppLoadError",
        "AserveError",
        "CallbackError",
        "CallbackTimeout",
        "ClientDisconnected",
        "ConfigError",
        "DrainTimeout",
        "ListenError",
        "LocalProtocolError",
        "ProtocolError",
        "RemoteProtocolError",
        "WSGIError",
    ),
    "events": ("ErrorRecord", "ExchangeRecord", "Request"),
    "handler": ("WSGIRequestHandler",),
    "lifecycle": ("may_shut_down", "on_reload", "on_shutdown", "run_shutdown_callbacks"),
    "net.browser": ("open_browser",),
    "process": ("ServerProcess",),
    "reload.role": ("is_running_from_reloader",),
    "running": ("run",),
    "server": ("Server", "ServerState"),
    "static": ("StaticFiles",),
    "threads": ("ServerThread", "WSGIServer", "make_server"),
}

__all__ = [
    "AppLoadError",
    "AserveError",
    "CallbackAnswer",
    "CallbackError",
    "CallbackOptions",
    "CallbackRequest",
    "CallbackServer",
    "CallbackTimeout",
    "ClientDisconnected",
    "ConfigError",
    "DrainTimeout",
    "ErrorRecord",
    "ExchangeRecord",
    "Hooks",
    "Limits",
    "ListenError",
    "LocalProtocolError",
    "ProtocolError",
    "ReloadConfig",
    "RemoteProtocolError",
    "Request",
    "Server",
    "ServerConfig",
    "ServerProcess",
    "ServerState",
    "ServerThread",
    "StaticFiles",
    "Timeouts",
    "WSGIError",
    "WSGIRequestHandler",
    "WSGIServer",
    "__version__",
    "is_running_from_reloader",
    "make_server",
    "make_ssl_devcert",
    "may_shut_down",
    "on_reload",
    "on_shutdown",
    "open_browser",
    "open_server",
    "run",
    "run_shutdown_callbacks",
    "run_simple",
    "serve",
    "wait_for_callback",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Include the names that are not loaded yet."""
    return sorted({*globals(), *__all__})
