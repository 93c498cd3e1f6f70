"""Werkzeug's `run_simple`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..api import Hooks
from ..config import ReloadConfig
from ..errors import ConfigError, ListenError
from ..running import run
from ..threads import adapt, check_parallel, check_port
from ..types import WSGIApp

if TYPE_CHECKING:
    from ..net.credentials import SSLContextLike  # a Python may have been built without ssl

__all__ = ["run_simple"]

# Werkzeug's names; events of the system are what `watchdog` is about.
_RELOADERS: Final = {
    "auto": "auto",
    "watchdog": "auto",
    "watchfiles": "watchfiles",
    "stat": "stat",
}


def run_simple(
    hostname: str,
    port: int,
    application: WSGIApp,
    use_reloader: bool = False,
    use_debugger: bool = False,
    use_evalex: bool = True,
    extra_files: Iterable[str] | None = None,
    exclude_patterns: Iterable[str] | None = None,
    reloader_interval: float = 1,
    reloader_type: str = "auto",
    threaded: bool = False,
    processes: int = 1,
    request_handler: type[Any] | None = None,
    static_files: Mapping[str, str | tuple[str, str]] | None = None,
    passthrough_errors: bool = False,
    ssl_context: SSLContextLike | None = None,
) -> None:
    """Serve an app until Ctrl-C, with Werkzeug's arguments (werkzeug.serving.run_simple).

    All hosts are let in, as there. What is different stands in the guide "Come from Werkzeug". With
    the reloader, or several processes, it runs in the main thread, and raises SystemExit at the end
    in the process that supervises.

    Args:
        hostname: Name or address to listen on; `unix://path` for a Unix socket.
        port: TCP port; 0 picks a free one.
        application: The WSGI application.
        use_reloader: Load the program anew when a file changes.
        use_debugger: Show a page for exceptions; see `aserve.debug.DebuggedApplication`.
        use_evalex: Offer a console in its frames, and at `/console`, behind the PIN.
        extra_files: Further files, directories and patterns that reload.
        exclude_patterns: Patterns of files that never reload.
        reloader_interval: Seconds between two looks at the files, with the reloader "stat".
        reloader_type: "auto", "stat", "watchfiles", or "watchdog", which is the same as "auto".
        threaded: Run up to 40 requests at the same time, and not one after the other.
        processes: How many processes serve.
        request_handler: A subclass of `WSGIRequestHandler`, ours or Werkzeug's.
        static_files: URL prefix -> directory, file, or (package, path); see `StaticFiles`.
        passthrough_errors: Show the app's exceptions to `threading.excepthook`, which debuggers
            watch.
        ssl_context: See `Hooks`.

    Raises:
        TypeError: `port` is no int.
        ValueError: Both `threaded` and several `processes`.
        ConfigError: An argument cannot be used.
        SystemExit: The address cannot be bound; a line on standard error says why.
    """
    check_port(port)
    check_parallel(threaded=threaded, processes=processes)
    if reloader_type not in _RELOADERS:
        known = ", ".join(sorted(_RELOADERS))
        raise ConfigError("reloader_type", reloader_type, f"is not one of {known}")
    # The built-in debugger catches first, as there.
    passthrough_errors = passthrough_errors and not use_debugger
    app, observe = adapt(application, request_handler, passthrough_errors=passthrough_errors)
    if static_files:
        from ..static import StaticFiles

        app = StaticFiles(app, static_files)
    reload: Any = False
    if use_reloader:
        reload = ReloadConfig(
            extra_files=tuple(extra_files or ()),
            exclude_patterns=tuple(exclude_patterns or ()),
            reloader=_RELOADERS[reloader_type],  # type: ignore[arg-type]
            reloader_interval=reloader_interval,
        )
    hooks = Hooks(ssl_context=ssl_context, on_exchange=observe)
    try:
        run(
            app,
            hostname,
            port,
            reload=reload,
            hooks=hooks,
            threads=40 if threaded else 1,
            processes=processes,
            debug=use_debugger,
            debug_eval=use_evalex,
            debug_console=use_debugger and use_evalex,
        )
    except ListenError as error:
        # As there: a person's mistake needs no traceback. The flag is that of a shell.
        print(f"aserve: {str(error).replace('--port 0', 'port 0')}", file=sys.stderr)
        sys.exit(1)
