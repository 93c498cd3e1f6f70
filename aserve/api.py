"""Serving an application: `serve`, `open_server`, `run`.

This is the only place that puts the parts together: configuration, sockets, server and, for
`run`, loop, signals and console.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import shlex
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack

from .config import ReloadConfig, ServerConfig, ServerOptions
from .errors import ConfigError
from .events import ExchangeRecord
from .forks import forget_signals
from .hosts import HostCheck
from .lifecycle import run_callbacks
from .net.listeners import UnixFile, open_listeners
from .options import unknown_key
from .portal import in_background_loop, is_trio
from .reload import role
from .server import Server
from .types import WSGIApp

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from .net.credentials import (  # a Python may have been built without ssl
        Credentials,
        SSLContextLike,
    )

__all__ = ["Hooks", "open_server", "run", "serve"]

_T = TypeVar("_T")

# Listening sockets, and the files of those that were made here.
_Opened = tuple[Sequence[socket.socket], Sequence[UnixFile]]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What else an embedding program may hand in.

    Args:
        sockets: Listening sockets to use instead of binding; the server closes them.
        ssl_context: Speak TLS; goes before the options. An `ssl.SSLContext`; "adhoc" for a
            certificate that is made on the spot; the path of a certificate with its key; or a
            pair of paths. What `run_simple` takes.
        on_exchange: Called on the loop thread with the record of each finished exchange.
        on_ready: Called on the loop thread when the server accepts connections.
    """

    sockets: Sequence[socket.socket] | None = None
    ssl_context: SSLContextLike | None = None
    on_exchange: Callable[[ExchangeRecord], object] | None = None
    on_ready: Callable[[Server], object] | None = None


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
            tls = await _to_its_end(_in_thread(load))
        if config.allowed_hosts:
            app = HostCheck(app, config.allowed_hosts)
        server = Server(
            app,
            sockets,
            config,
            on_exchange=hooks.on_exchange,
            ssl_context=tls.context if tls else None,
            ca_pem=tls.ca_pem if tls else None,
        )
    except BaseException:
        await _close_sockets((sockets, unix_files))
        raise
    try:
        server.start()
        if hooks.on_ready is not None:
            hooks.on_ready(server)
        yield server
    finally:
        await _to_its_end(_close(server, unix_files))


async def _close(server: Server, unix_files: Sequence[UnixFile]) -> None:
    await server.aclose()
    await _close_sockets(([], unix_files))


async def _close_sockets(opened: _Opened) -> None:
    sockets, unix_files = opened
    for sock in sockets:
        sock.close()
    for file in unix_files:
        await _in_thread(file.remove)


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


def run(
    app: WSGIApp,
    host: str = "localhost",
    port: int = 8000,
    *,
    reload: bool | ReloadConfig = False,
    hooks: Hooks | None = None,
    **options: Unpack[ServerOptions],
) -> None:
    """Serve `app` and block until SIGINT, SIGTERM or `server.shutdown()`.

    The first signal drains, a second one cuts. In the main thread this installs signal
    handlers (and puts the old ones back); it is the only part of the API that does, and the
    only one that configures logging and prints. With `hooks` that bring their own
    `on_ready`, it neither prints nor configures logging.

    With `reload`, or `processes` above 1, this process only supervises: it runs the program once
    more in another one, as often as a file changes, and serves the app that is given to `run`
    there. At the end it raises SystemExit, so what stands behind `run` is done in one of them only.

    Args:
        app: The WSGI application.
        host: As in `ServerConfig`.
        port: TCP port; 0 picks a free one.
        reload: Load the app anew when a file changes; a `ReloadConfig` says more about it.
        hooks: Sockets, TLS and observers.
        **options: Any field of `ServerConfig`.

    Raises:
        ConfigError: An option cannot be used.
        ListenError: The address cannot be bound.
        SystemExit: With `reload` or several processes, at the end.
    """
    if isinstance(reload, ReloadConfig):
        mine: Any = {item.name: getattr(reload, item.name) for item in fields(ReloadConfig)}
        options = {**mine, **options}
    config = make_config(app, host, port, options)
    config = dataclasses.replace(config, reload=bool(reload))
    if not config.reload and config.processes == 1:
        run_configured(app, config, hooks)
    elif (serve_here := role.serve_here) is not None:
        serve_here(app, config, hooks)
    else:
        sys.exit(_run_script_again(config, hooks or Hooks()))


def _run_script_again(config: ServerConfig, hooks: Hooks) -> int:
    """Supervise processes that run this program; returns the exit status."""
    from .console import About
    from .reload.script import describe
    from .supervise import Plan, check_is_possible, supervise

    option = "reload" if config.reload else "processes"
    check_is_possible(option, getattr(config, option))
    _refuse_inside_a_loop()
    script = describe()
    if script is None:
        fix = "needs a program that can be run again, and this is none, but an interactive shell"
        raise ConfigError(option, getattr(config, option), fix)
    sockets, unix_files = _open_sockets_now(config, hooks)
    try:
        plan = Plan(
            config=config,
            sockets=sockets,
            tls=load_credentials(config, sockets, hooks.ssl_context),
            source={"script": script},
            directory=str(Path.cwd()),
            is_watching=bool(config.reload),
            typed=shlex.join(["python", *sys.orig_argv[1:]]),
            about=About(features=("reload",) if config.reload else ()),
        )
        return supervise(plan)
    finally:
        for sock in sockets:
            sock.close()
        for file in unix_files:
            file.remove()


def run_configured(
    app: WSGIApp,
    config: ServerConfig,
    hooks: Hooks | None = None,
    tls: Credentials | None = None,
) -> bool:
    """`run` for callers that have resolved their options already; see there.

    Args:
        app: The WSGI application.
        config: The options.
        hooks: Sockets and observers.
        tls: What `load_credentials` has returned, if it was called already.

    Returns:
        Whether a second signal asked to leave at once.
    """
    _refuse_inside_a_loop()
    if hooks is None or hooks.on_ready is None:
        hooks = _with_console(hooks or Hooks(), config)
    with asyncio.Runner(loop_factory=_loop_factory(config.loop)) as runner:
        must_leave = runner.run(_run(app, config, hooks, tls))
    if not must_leave:
        run_callbacks()
    return must_leave


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "aserve.run blocks, and an event loop is running in this thread already; "
        "use `await aserve.serve(app)` or `async with aserve.open_server(app)`"
    )


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


async def _run(app: WSGIApp, config: ServerConfig, hooks: Hooks, tls: Credentials | None) -> bool:
    received: list[int] = []
    with contextlib.ExitStack() as signals:

        def on_ready(server: Server) -> None:
            # Before anybody is told that the server is ready, it can be stopped.
            signals.enter_context(_shutdown_on_signal(server, received))
            if hooks.on_ready is not None:
                hooks.on_ready(server)

        ours = dataclasses.replace(hooks, on_ready=on_ready)
        async with open_configured(app, config, ours, tls) as server:
            await server.wait_closed()
        return len(received) > 1


@contextlib.contextmanager
def _shutdown_on_signal(server: Server, received: list[int]) -> Iterator[None]:
    """First signal: drain. Second one: cut. `received` collects their numbers."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return

    def stop(number: int, _: object) -> None:
        received.append(number)
        server.shutdown(0 if len(received) > 1 else None)

    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, stop)
    forget_signals(_SIGNALS)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise ConfigError(
                    "loop", name, "is not installed: pip install 'aserve-wsgi[fast]'"
                ) from None
        else:
            return uvloop.new_event_loop
    return None


def _with_console(hooks: Hooks, config: ServerConfig) -> Hooks:
    from .console import Console, configure_logging

    configure_logging(config.log_level)
    console = Console(config)
    return dataclasses.replace(
        hooks,
        on_exchange=hooks.on_exchange or console.on_exchange,
        on_ready=console.on_ready,
    )


async def _open_sockets(config: ServerConfig, hooks: Hooks) -> _Opened:
    # A resolver may take seconds, and looking for the holder of a port reads a lot of files.
    return await _in_thread(lambda: _open_sockets_now(config, hooks))


def _open_sockets_now(config: ServerConfig, hooks: Hooks) -> _Opened:
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


async def _in_thread(function: Callable[[], _T]) -> _T:
    """Run a blocking function in a thread of its own, which is gone afterwards.

    The executors of asyncio and anyio keep their threads, and whoever embeds a server expects
    that nothing of it is left. Must not be cancelled; the callers are shielded.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def work() -> None:
        try:
            result = function()
        except BaseException as error:
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    thread = threading.Thread(target=work, name="aserve-blocking-call", daemon=True)
    thread.start()
    try:
        return await done
    finally:
        thread.join()  # it has made its last call


if sys.platform == "win32":  # pragma: no cover
    _SIGNALS += (signal.SIGBREAK,)  # type: ignore[misc]
