"""`ServerProcess`: a server in a process of its own, known to be ready."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
import threading
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self, Unpack

from .api import Hooks, make_config
from .config import ServerConfig, ServerOptions
from .errors import AppLoadError, AserveError
from .harmless import harmless
from .running import run_configured
from .sealed import hide_known
from .types import WSGIApp

__all__ = ["ServerProcess"]

_TAIL_LINES: Final = 40
# Behind the grace, until the process is ended by force.
_KILL_SECONDS: Final = 5.0


class ServerProcess:
    """A server in a new process, which imports the app by itself.

    A context manager: on entry it accepts connections, at the exit it has finished what ran. The
    process is spawned, so nothing of this one is shared with it, and it works alike everywhere.

    Args:
        app: `module:attr` and the other forms of the command line, or a callable that can be
            pickled: one that stands at the top level of a module.
        host: As in `ServerConfig`.
        port: TCP port; 0, the default, picks a free one.
        **options: Any field of `ServerConfig`.

    Raises:
        ConfigError: An option cannot be used.
    """

    def __init__(
        self,
        app: str | WSGIApp,
        host: str = "localhost",
        port: int = 0,
        **options: Unpack[ServerOptions],
    ) -> None:
        checked = _placeholder if isinstance(app, str) else app
        self._config = make_config(checked, host, port, options, has_loop=True)
        self._app = app
        self._process: Any = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._reader: threading.Thread | None = None
        self._urls: list[str] = []
        self._port = 0

    @property
    def url(self) -> str:
        """The first URL.

        Raises:
            AserveError: It was not started.
        """
        if not self._urls:
            raise AserveError("the server was not started; use `with` or call start()")
        return self._urls[0]

    @property
    def port(self) -> int:
        """The TCP port; 0 before the start and for a Unix socket."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The process's number; None before the start."""
        return None if self._process is None else int(self._process.pid)

    @property
    def exitcode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.exitcode

    @property
    def log(self) -> str:
        """The last lines that it has written to standard error."""
        return "".join(self._tail)

    def start(self) -> Self:
        """Start, and return when connections are accepted.

        Raises:
            AserveError: It could not start; the message says why, with the end of its log.
        """
        config = self._config
        if config.debug and not config.debug_pin:
            from .debug.settings import pin_of_environment

            # It may have been taken out of the environment, which the other process inherits.
            config = dataclasses.replace(config, debug_pin=pin_of_environment())
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        log_end, log_start = context.Pipe(duplex=False)
        arguments = (self._app, config, str(Path.cwd()), theirs, log_start)
        self._process = context.Process(target=_serve, args=arguments, name="aserve-server")
        try:
            self._process.start()
        finally:
            theirs.close()
            log_start.close()
        self._reader = threading.Thread(target=self._echo, args=(log_end,), daemon=True)
        self._reader.start()
        with ours:
            try:
                told = ours.recv()
            except EOFError:
                told = {}
        if "urls" not in told:
            self.join()
            why = told.get("error") or f"it ended with status {self.exitcode}"
            raise AserveError(f"the server's process could not start: {why}\n{self.log}".rstrip())
        self._urls, self._port = told["urls"], told["port"]
        return self

    def terminate(self) -> None:
        """Have it finish what runs and end; returns at once. `join` waits."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end; does not make it end.

        Args:
            timeout: Seconds; None for as long as it takes.
        """
        if self._process is None:
            return
        self._process.join(timeout)
        if self._process.exitcode is not None and self._reader is not None:
            self._reader.join()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.terminate()
        self.join(self._config.grace + _KILL_SECONDS)
        if self.exitcode is None:
            self.kill()
            self.join()

    def _echo(self, log: Connection) -> None:
        """What it writes is seen here, too, and its end is kept."""
        with os.fdopen(os.dup(log.fileno()), encoding="utf-8", errors="replace") as lines:
            log.close()
            for line in lines:
                self._tail.append(line)
                if sys.stderr is not None:
                    sys.stderr.write(line)


def _placeholder(environ: Any, start_response: Any) -> Any:
    """Stands for an app that the other process imports."""
    raise NotImplementedError


def _serve(
    app: str | WSGIApp, config: ServerConfig, directory: str, ready: Connection, log: Connection
) -> None:
    """The other process."""
    os.dup2(log.fileno(), 2)
    log.close()
    if isinstance(app, str):
        from .loader import load_app

        try:
            app = load_app(app, directory=Path(directory)).app
        except AppLoadError as error:
            if error.user_traceback:
                print(hide_known(harmless(error.user_traceback)), file=sys.stderr)
            ready.send({"error": f"{error} {error.advice}".rstrip()})
            sys.exit(3)
    from .console import Console, configure_logging

    configure_logging(config.log_level)

    def on_ready(server: Any) -> None:
        ready.send({"urls": server.urls, "port": server.port})
        ready.close()

    on_exchange = Console(config).on_exchange if config.access_log else None
    try:
        run_configured(app, config, Hooks(on_ready=on_ready, on_exchange=on_exchange))
    except AserveError as error:
        ready.send({"error": str(error)})
        sys.exit(1)
