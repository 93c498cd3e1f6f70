"""Servers for programs without a loop: a thread, a process, and Werkzeug's `make_server`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, Unpack

from . import prefork
from .api import Hooks, load_credentials, make_config, open_configured, open_sockets
from .config import ServerConfig, ServerOptions
from .errors import AserveError, ConfigError
from .events import ExchangeRecord
from .handler import adapt
from .server import Server
from .types import WSGIApp

if TYPE_CHECKING:
    from .net.credentials import (  # a Python may have been built without ssl
        Credentials,
        SSLContextLike,
    )

__all__ = ["ServerThread", "WSGIServer", "adapt", "check_parallel", "check_port", "make_server"]


class ServerThread:
    """A server in a thread of its own, with a loop of its own; touches no signal.

    A context manager: on entry the server accepts connections, at the exit it has finished what
    ran. It can be started again.

    Args:
        app: The WSGI application.
        host: As in `ServerConfig`.
        port: TCP port; 0, the default, picks a free one.
        hooks: Sockets, TLS and observers; called in the server's thread.
        **options: Any field of `ServerConfig`.

    Raises:
        ConfigError: An option cannot be used.
    """

    def __init__(
        self,
        app: WSGIApp,
        host: str = "localhost",
        port: int = 0,
        *,
        hooks: Hooks | None = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        self._app = app
        self._config = make_config(app, host, port, options, has_loop=True)
        self._hooks = hooks or Hooks()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None

    @property
    def server(self) -> Server:
        """The server.

        Raises:
            AserveError: It was not started.
        """
        if self._server is None:
            raise AserveError("the server was not started; use `with` or call start()")
        return self._server

    @property
    def url(self) -> str:
        """The first URL."""
        return self.server.url

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.server.port

    def start(self) -> Self:
        """Start, and return when connections are accepted. Any thread.

        Raises:
            AserveError: It runs already.
            ListenError: The address cannot be bound.
        """
        if self._thread is not None and self._thread.is_alive():
            raise AserveError("the server runs already; call shutdown() before a second start()")
        self._ready.clear()
        self._server = None
        thread = threading.Thread(target=self._work, name="aserve-server", daemon=True)
        self._thread = thread
        try:
            thread.start()
            self._ready.wait()
        except RuntimeError:  # the system has no thread left, so none was started
            self._thread = None
            raise
        except BaseException:  # Ctrl-C: nobody would ever stop what has begun
            self.shutdown(0)
            raise
        error, self._error = self._error, None
        if error is not None:
            thread.join()
            raise error
        return self

    def shutdown(self, grace: float | None = None) -> None:
        """Finish what runs, and return when all of it has ended. Any thread.

        Called by the app, in one of the server's threads, it returns at once: it runs itself.

        Args:
            grace: Seconds that running requests may take; None for the configured one.
        """
        if self._thread is not None and self._thread is not threading.current_thread():
            self._ready.wait()  # another thread may just be starting it: a matter of milliseconds
        if self._server is not None:
            self._server.shutdown(grace)
            if self._server.is_in_app():
                return
        self.join()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the server has ended; does not make it end.

        Args:
            timeout: Seconds; None for as long as it takes.
        """
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _work(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._ready.is_set():
                raise
            self._error = error
            self._ready.set()

    async def _serve(self) -> None:
        async with open_configured(self._app, self._config, self._hooks) as server:
            self._server = server
            self._ready.set()
            await server.wait_closed()


class WSGIServer:
    """What `make_server` returns: bound already, and served by whoever calls `serve_forever`.

    Attributes:
        host: The name or address it is bound to.
        port: The TCP port.
        server_address: Host and port, or the path of a Unix socket.
        server_name: The same as `host`, as programs for `http.server` look for it.
        server_port: The same as `port`.
        socket: The first listening socket.
        app: The WSGI application.
        ssl_context: As it was given.
        multithread: Whether several requests run at the same time.
        multiprocess: Whether `serve_forever` serves by several processes.
        timeout: Seconds that `handle_request` waits; None for as long as it takes.
    """

    timeout: float | None = None

    def __init__(self, app: WSGIApp, config: ServerConfig, hooks: Hooks) -> None:
        self.app = app
        self.ssl_context = hooks.ssl_context
        self.multithread = config.threads > 1
        self.multiprocess = config.processes > 1
        self._config = config
        self._hooks = hooks
        self._sockets, self._files = open_sockets(config, hooks)
        self.socket: socket.socket = self._sockets[0]
        name = self.socket.getsockname()
        self.server_address: Any = name[:2] if isinstance(name, tuple) else name
        self.host = config.host
        self.port = name[1] if isinstance(name, tuple) else 0
        self.server_name, self.server_port = self.host, self.port
        self._lock = threading.Lock()
        self._serving: Server | None = None
        self._workers: prefork.Workers | None = None
        self._is_worker = False
        self._must_stop = False
        self._stopped = threading.Event()
        self._stopped.set()

    def fileno(self) -> int:
        """The first listening socket's descriptor, to wait for connections with `select`."""
        return self.socket.fileno()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown` or Ctrl-C, and close. Blocks.

        With several processes this one only looks after them, and each of them is a fork of it, as
        it is now. At their end they call what `on_shutdown` was given.

        Args:
            poll_interval: For the sake of callers; nothing is polled.

        Raises:
            ConfigError: TLS cannot be set up.
        """
        try:
            if self.multiprocess:
                self._run_workers()
            else:
                self._run(lambda server: server)
        finally:
            self.server_close()

    def handle_request(self) -> None:
        """Serve until a request was answered, or `timeout` has passed. Blocks."""

        def watch(server: Server) -> None:
            if self.timeout is not None:
                server.loop.call_later(self.timeout, server.shutdown, 0)

        self._run(watch, is_single=True)

    def shutdown(self) -> None:
        """Finish what runs, and return when `serve_forever` has. Any thread.

        In one of several processes it returns at once: they all end, also the one that asks. So it
        does when the app calls it, in one of the server's threads.
        """
        is_in_app = False
        with self._lock:
            self._must_stop = True
            if self._serving is not None:
                is_in_app = self._serving.is_in_app()
                self._serving.shutdown()
            if self._workers is not None:
                self._workers.stop()
        if not (self._is_worker or is_in_app):
            self._stopped.wait()

    def server_close(self) -> None:
        """Close the listening sockets. Idempotent."""
        for sock in self._sockets:
            sock.close()
        for file in self._files:
            file.remove()
        self._files = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server_close()

    def _run(self, on_ready: Callable[[Server], object], *, is_single: bool = False) -> None:
        if self._must_stop:
            return
        self._stopped.clear()
        try:
            # Ctrl-C cancels what runs here, which then drains.
            with contextlib.suppress(KeyboardInterrupt), asyncio.Runner() as runner:
                runner.run(self._serve(on_ready, is_single=is_single))
        finally:
            self._stopped.set()

    def _run_workers(self) -> None:
        # Before they part: a certificate that is made on the spot has to be the same for all.
        tls = load_credentials(self._config, self._sockets, self._hooks.ssl_context)

        def work(on_ready: Callable[[Server], object]) -> None:
            # Another thread may have held the lock at the moment of the fork.
            self._lock = threading.Lock()
            self._is_worker = True
            self._workers = None
            asyncio.run(self._serve(on_ready, tls=tls))

        with self._lock:
            if self._must_stop:
                return
            self._stopped.clear()
            self._workers = prefork.Workers(self._config.processes, work, self._config.grace)
        try:
            self._workers.run()
        finally:
            self._stopped.set()

    async def _serve(
        self,
        on_ready: Callable[[Server], object],
        *,
        is_single: bool = False,
        tls: Credentials | None = None,
    ) -> None:
        def on_exchange(record: ExchangeRecord) -> None:
            if self._hooks.on_exchange is not None:
                self._hooks.on_exchange(record)
            if is_single:
                server.shutdown()

        # The engine closes what it serves on; these have to outlive it.
        copies = [sock.dup() for sock in self._sockets]
        hooks = dataclasses.replace(self._hooks, sockets=copies, on_exchange=on_exchange)
        async with open_configured(self.app, self._config, hooks, tls) as server:
            with self._lock:
                self._serving = server
                if self._must_stop:
                    server.shutdown()
            on_ready(server)
            await server.wait_closed()
        self._serving = None


def make_server(
    host: str,
    port: int,
    app: WSGIApp,
    threaded: bool = False,
    processes: int = 1,
    request_handler: type[Any] | None = None,
    passthrough_errors: bool = False,
    ssl_context: SSLContextLike | None = None,
    fd: int | None = None,
) -> WSGIServer:
    """A server that is bound and not served yet, with Werkzeug's arguments and methods.

    Args:
        host: Name or address; `unix://path` for a Unix socket.
        port: TCP port; 0 picks a free one.
        app: The WSGI application.
        threaded: Run up to 40 requests at the same time, and not one after the other.
        processes: How many processes serve; above 1 they are forks of the caller's, which
            `serve_forever` starts. `handle_request` serves in the caller's in any case.
        request_handler: See `run_simple`.
        passthrough_errors: See `run_simple`.
        ssl_context: See `Hooks`.
        fd: Listen on this descriptor; it stays the caller's.

    Raises:
        TypeError: `port` is no int.
        ValueError: Both `threaded` and several `processes`.
        ConfigError: An argument cannot be used; several `processes` on a system without `fork`.
        ListenError: The address cannot be bound.
    """
    check_port(port)
    check_parallel(threaded=threaded, processes=processes)
    if processes > 1 and not prefork.AVAILABLE:
        fix = "needs `fork`, which this system does not have; `run_simple` and `run` do without"
        raise ConfigError("processes", processes, fix)
    options: ServerOptions = {"threads": 40 if threaded else 1, "processes": processes}
    if fd is not None:
        options["fd"] = os.dup(fd)
    config = make_config(app, host, port, options)
    adapted, observe = adapt(app, request_handler, passthrough_errors=passthrough_errors)
    return WSGIServer(adapted, config, Hooks(ssl_context=ssl_context, on_exchange=observe))


def check_port(port: object) -> None:
    """Raises:
    TypeError: It is no int, e.g. text from the environment.
    """
    if not isinstance(port, int):
        raise TypeError(f"port must be an integer, and {port!r} is none; write int(...)")


def check_parallel(*, threaded: bool, processes: int) -> None:
    """Raises:
    ValueError: Both are asked for, as in Werkzeug.
    """
    if threaded and processes > 1:
        raise ValueError("a server has several threads or several processes, not both")
