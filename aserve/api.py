"""Serving an application on a loop: `serve` and `open_server`.

This is the only place that puts the parts together: configuration, sockets, TLS and server. `run`,
which adds a loop, signals and a console, is in `aserve.running`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from . import native
from .config import ServerConfig, ServerOptions
from .errors import ConfigError
from .events import ErrorRecord, ExchangeRecord
from .hosts import HostCheck
from .lifecycle import are_due_at_exit
from .net.listeners import UnixFile, open_listeners
from .options import unknown_key
from .portal import in_background_loop, is_trio
from .server import Server
from .types import WSGIApp

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from .debug import DebugSettings
    from .net.credentials import (  # a Python may have been built without ssl
        Credentials,
        SSLContextLike,
    )

__all__ = ["Hooks", "open_server", "serve"]

_T = TypeVar("_T")

# Listening sockets, and the files of those that were made here.
_Opened = tuple[Sequence[socket.socket], Sequence[UnixFile]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What else an embedding program may hand in.

    Args:
        sockets: Listening sockets to use instead of binding; the server closes them.
        ssl_context: Speak TLS; goes before the options. An `ssl.SSLContext`; "adhoc" for a
            certificate that is made on the spot; the path of a certificate with its key; or a
            pair of paths. What `run_simple` takes.
        on_exchange: Called on the loop thread with the record of each finished exchange.
        on_error: Called in the worker thread with what the application did wrong, before the
            client is told. An exception of its own is logged.
        on_ready: Called on the loop thread when the server accepts connections.
        debug: What else there is to say about the debugger, if the option `debug` is on.
    """

    sockets: Sequence[socket.socket] | None = None
    ssl_context: SSLContextLike | None = None
    on_exchange: Callable[[ExchangeRecord], object] | None = None
    on_error: Callable[[ErrorRecord], object] | None = None
    on_ready: Callable[[Server], object] | None = None
    debug: DebugSettings | None = None


@contextlib.asynccontextmanager
async def open_server(
    app: WSGIApp,
    host: str = "localhost",
    port: int = 0,
    *,
    hooks: Hooks | None = None,
    **options: Unpack[ServerOptions],
) -> AsyncIterator[Server]:
    """Serve `app` while the block runs.

    On entry the server accepts connections; on exit, also by an exception or cancellation,
    it stops accepting, finishes what runs within `grace`, and leaves nothing behind. Touches
    neither signals nor logging, so several can live in one loop. Inside trio the server has
    a loop of its own in a background thread; `on_exchange` and `on_ready` are called there.

    Args:
        app: The WSGI application; called in worker threads, never on the loop.
        host: As in `ServerConfig`.
        port: TCP port; 0, the default, picks a free one (`server.port` tells which).
        hooks: Sockets, TLS and observers.
        **options: Any field of `ServerConfig`.

    Yields:
        The server; `url`, `port` and `shutdown()` are what tests need.

    Raises:
        ConfigError: An option cannot be used.
        ListenError: The address cannot be bound; nothing is left open.
    """
    config = make_config(app, host, port, options, has_loop=True)

    def make() -> contextlib.AbstractAsyncContextManager[Server]:
        return open_configured(app, config, hooks or Hooks())

    async with in_background_loop(make) if is_trio() else make() as server:
        yield server


@contextlib.asynccontextmanager
async def open_configured(
    app: WSGIApp, config: ServerConfig, hooks: Hooks, tls: Credentials | None = None
) -> AsyncIterator[Server]:
    # To its end: a resolver's thread that is left behind would leave its sockets behind, too.
    sockets, unix_files = await _to_its_end(_open_sockets(config, hooks), undo=_close_sockets)
    try:
        if tls is None and wants_tls(config, hooks.ssl_context):
            load = functools.partial(load_credentials, config, sockets, hooks.ssl_context)
            tls = await _to_its_end(native.in_thread(load))
        if config.debug:
            app = _debugged(app, config, hooks.debug)
        if config.allowed_hosts:
            app = HostCheck(app, config.allowed_hosts)
        if native.is_patched():
            sockets = native.own(sockets)
        server = Server(
            app,
            sockets,
            config,
            on_exchange=hooks.on_exchange,
            ssl_context=tls.context if tls else None,
            ca_pem=tls.ca_pem if tls else None,
        )
        server.on_error = hooks.on_error
    except BaseException:
        await _close_sockets((sockets, unix_files))
        raise
    are_due_at_exit()
    try:
        server.start()
        if hooks.on_ready is not None:
            hooks.on_ready(server)
        yield server
    finally:
        await _to_its_end(_close(server, unix_files))


def _debugged(app: WSGIApp, config: ServerConfig, settings: DebugSettings | None) -> WSGIApp:
    from .debug import DebuggedApplication, DebugSettings  # who does not want it does not pay

    settings = settings or DebugSettings()
    pin = config.debug_pin or settings.configured_pin  # from where it was, before the app runs
    bound = () if config.host.startswith("unix:") else (config.host,)
    settings = dataclasses.replace(
        settings,
        pin=pin,
        allowed_hosts=(*settings.allowed_hosts, *config.allowed_hosts, *config.names, *bound),
        eval_from_network=config.debug_eval_from_network or settings.eval_from_network,
        editor=config.editor or settings.editor,
    )
    console_path = "/console" if config.debug_console else None
    return DebuggedApplication(app, config.debug_eval, console_path=console_path, settings=settings)


async def _close(server: Server, unix_files: Sequence[UnixFile]) -> None:
    await server.aclose()
    await _close_sockets(([], unix_files))


async def _close_sockets(opened: _Opened) -> None:
    sockets, unix_files = opened
    for sock in sockets:
        sock.close()
    for file in unix_files:
        await native.in_thread(file.remove)


async def _to_its_end(
    work: Coroutine[Any, Any, _T], *, undo: Callable[[_T], Coroutine[Any, Any, None]] | None = None
) -> _T:
    """Await something that cancellation must not cut short; it is raised afterwards.

    `undo` is then given the result, which the caller will never see. What runs here has a
    time limit of its own: the drain its grace, the resolver its time-out.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with _shield_from_scopes():
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
        result = task.result()
        if cancelled is None:
            return result
        if undo is not None:
            await undo(result)
        raise cancelled


def _shield_from_scopes() -> contextlib.AbstractContextManager[object]:
    """A cancelled scope of anyio cancels again in each turn of the loop, unless shielded."""
    anyio = sys.modules.get("anyio")  # without it nobody has opened such a scope
    return anyio.CancelScope(shield=True) if anyio is not None else contextlib.nullcontext()


async def serve(
    app: WSGIApp,
    host: str = "localhost",
    port: int = 8000,
    *,
    hooks: Hooks | None = None,
    task_status: TaskStatus[Server] | None = None,
    **options: Unpack[ServerOptions],
) -> None:
    """Serve `app` until cancelled or until `server.shutdown()` is called.

    In an anyio task group, `server = await tg.start(serve, app)` returns once the server
    accepts connections. Arguments and errors are those of `open_server`.

    Args:
        app: The WSGI application.
        host: As in `ServerConfig`.
        port: TCP port; 0 picks a free one.
        hooks: Sockets, TLS and observers.
        task_status: Filled in by anyio's `TaskGroup.start`.
        **options: Any field of `ServerConfig`.
    """
    async with open_server(app, host, port, hooks=hooks, **options) as server:
        if task_status is not None:
            task_status.started(server)
        await server.wait_closed()


def make_config(
    app: object, host: str, port: int, options: ServerOptions, *, has_loop: bool = False
) -> ServerConfig:
    """One configuration out of what an API function was given.

    Args:
        app: The application.
        host: As in `ServerConfig`.
        port: The same.
        options: The other fields.
        has_loop: It is for a server in this process, so there cannot be several.

    Raises:
        ConfigError: Also for an `app` that cannot be called, the mistake of `serve("app:app")`.
    """
    if not callable(app):
        raise ConfigError(
            "app", app, "cannot be called; pass the WSGI application itself, not its name"
        )
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        raise ConfigError(
            "app", app, "is an ASGI application; wrap it with a2wsgi, or use an ASGI server"
        )
    for name in options:
        if name == "reload":
            # Only a process that has not imported the app yet can load it anew.
            fix = "belongs to `run` and to `aserve --reload APP`"
            raise ConfigError(name, options.get(name), fix)
        if name not in ServerOptions.__annotations__:
            known = ["host", "port", *ServerOptions.__annotations__]
            raise unknown_key(name, known, "keyword argument")
    config = ServerConfig(host=host, port=port, **options)
    if has_loop and config.processes > 1:
        fix = "works with `run` and with `aserve --processes N APP` only"
        raise ConfigError("processes", config.processes, fix)
    return config


async def _open_sockets(config: ServerConfig, hooks: Hooks) -> _Opened:
    # A resolver may take seconds, and looking for the holder of a port reads a lot of files.
    return await native.in_thread(lambda: open_sockets(config, hooks))


def open_sockets(config: ServerConfig, hooks: Hooks) -> _Opened:
    """The sockets to serve on, and the files to remove at the end: only those made here."""
    if hooks.sockets is not None:
        if not hooks.sockets:
            raise ConfigError("sockets", hooks.sockets, "is empty; pass at least one socket")
        return hooks.sockets, []
    sockets = open_listeners(
        config.host, config.port, uds=config.uds, fd=config.fd, backlog=config.backlog
    )
    return sockets, [] if config.fd is not None else UnixFile.of_all(sockets)


def load_credentials(
    config: ServerConfig, sockets: Sequence[socket.socket], given: SSLContextLike | None = None
) -> Credentials | None:
    """See `aserve.net.credentials.make_credentials`; None for plain HTTP."""
    if not wants_tls(config, given):
        return None
    try:
        from .net.credentials import make_credentials
    except ImportError:
        raise ConfigError("https", True, "needs a Python that was built with OpenSSL") from None
    return make_credentials(config, sockets, given)


def wants_tls(config: ServerConfig, given: SSLContextLike | None = None) -> bool:
    """Whether `load_credentials` has something to do; without it, ssl is not even imported."""
    return given is not None or bool(config.https or config.ssl or config.cert or config.client_ca)
