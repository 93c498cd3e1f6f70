"""`run`: serve and block, with loop, signals and console; or supervise processes that do.

The only part of the API that installs signal handlers, configures logging and prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import fields
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from . import native
from .api import Hooks, load_credentials, make_config, open_configured, open_sockets
from .app_signals import SIGNALS, AppHandlers
from .config import ReloadConfig, ServerConfig, ServerOptions
from .errors import ConfigError
from .forks import forget_signals
from .lifecycle import run_callbacks, skip_callbacks
from .options import DEBUG_PIN_VARIABLE
from .reload import role
from .sealed import Sealed
from .server import Server
from .server.own_loop import own_loop
from .types import WSGIApp

if TYPE_CHECKING:
    from .net.credentials import Credentials  # a Python may have been built without ssl

__all__ = ["InMainThread", "run", "run_configured", "run_on_loop"]

_T = TypeVar("_T")
# Calls a function there, and waits for it.
InMainThread = Callable[[Callable[[], object]], object]


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
    handlers, puts the old ones back, and calls those of yours for the signal that has come; it is
    the only part of the API that does, and the only one that configures logging and prints. With
    `hooks` that bring their own `on_ready`, it neither prints nor configures logging.

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
    if (serve_here := role.serve_here) is not None:
        # Whatever is asked for now: this process has the sockets, and what runs behind the first
        # app is a server like any other.
        role.serve_here = None
        serve_here(app, config, hooks)
    elif not config.reload and config.processes == 1:
        run_configured(app, config, hooks)
    else:
        sys.exit(_run_script_again(config, hooks or Hooks()))


def _run_script_again(config: ServerConfig, hooks: Hooks) -> int:
    """Supervise processes that run this program; returns the exit status."""
    from .console import About
    from .reload.script import describe, directory_at_start, environment_at_start
    from .supervise import Plan, check_is_possible, shown_command, supervise

    started_at = perf_counter()
    option = "reload" if config.reload else "processes"
    check_is_possible(option, getattr(config, option))
    _refuse_inside_a_loop()
    script = describe()
    if script is None:
        fix = "needs a program that can be run again, and this is none, but an interactive shell"
        raise ConfigError(option, getattr(config, option), fix)
    # As the program was started, whatever its first run has changed since.
    directory, variables = directory_at_start(), environment_at_start()
    variables.pop(DEBUG_PIN_VARIABLE, None)  # read already; it is handed on by the channel
    sockets, unix_files = open_sockets(config, hooks)
    try:
        plan = Plan(
            config=config,
            sockets=sockets,
            tls=load_credentials(config, sockets, hooks.ssl_context),
            source={"script": script},
            directory=directory,
            start=(variables, directory),
            is_watching=bool(config.reload),
            typed=shown_command("python", sys.orig_argv[1:]),
            debug=hooks.debug,
            about=About(
                features=("reload",) if config.reload else (),
                started_at=started_at,
                pin=_pin_for_terminal(config, hooks),
            ),
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
    native.restore()
    if hooks is None or hooks.on_ready is None:
        hooks = _with_console(hooks or Hooks(), config)
    handlers = AppHandlers()
    received = run_on_loop(
        lambda app, in_main_thread: _run(app, config, hooks, tls, in_main_thread), app
    )
    if len(received) > 1:
        skip_callbacks()
        return True
    run_callbacks()
    for number in received:
        handlers.call(number)
    return False


def run_on_loop(
    serve: Callable[[WSGIApp, InMainThread], Coroutine[Any, Any, _T]], app: WSGIApp
) -> _T:
    """Run a loop until `serve` is done: here, or where it does not hold up the app's greenlets.

    Args:
        serve: Given the app to serve, and a function that calls another one in the main thread and
            waits for it; what it returns runs on the loop.
        app: The application.

    Returns:
        What `serve` has returned.
    """

    def run(app: WSGIApp, in_main_thread: InMainThread) -> _T:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(app, in_main_thread))

    if not native.is_patched():
        return run(app, lambda function: function())
    from .greenlets import GreenletApp, Hub

    hub = Hub()
    return hub.run(lambda: run(GreenletApp(app, hub), hub.call))


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "aserve.run blocks, and an event loop is running in this thread already; "
        "use `await aserve.serve(app)` or `async with aserve.open_server(app)`"
    )


async def _run(
    app: WSGIApp,
    config: ServerConfig,
    hooks: Hooks,
    tls: Credentials | None,
    in_main_thread: InMainThread,
) -> list[int]:
    """Serve; returns the signals that have come."""
    received: list[int] = []
    signals = contextlib.ExitStack()
    try:

        def on_ready(server: Server) -> None:
            # Before anybody is told that the server is ready, it can be stopped.
            in_main_thread(lambda: signals.enter_context(_shutdown_on_signal(server, received)))
            if hooks.on_ready is not None:
                hooks.on_ready(server)

        ours = dataclasses.replace(hooks, on_ready=on_ready)
        async with open_configured(app, config, ours, tls) as server:
            await server.wait_closed()
        return received
    finally:
        in_main_thread(signals.close)


@contextlib.contextmanager
def _shutdown_on_signal(server: Server, received: list[int]) -> Iterator[None]:
    """First signal: drain. Second one: cut. `received` collects their numbers."""
    if not native.is_main_thread():
        yield  # Python delivers signals to the main thread only
        return

    def stop(number: int, _: object) -> None:
        received.append(number)
        server.shutdown(0 if len(received) > 1 else None)

    previous = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, stop)
    forget_signals(SIGNALS)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    # The loop of Windows has no selector that could be asked to wait.
    return None if sys.platform == "win32" else own_loop


def _with_console(hooks: Hooks, config: ServerConfig) -> Hooks:
    from .console import About, Console, configure_logging

    configure_logging(config.log_level)
    console = Console(config, About(pin=_pin_for_terminal(config, hooks)))
    return dataclasses.replace(
        hooks,
        on_exchange=hooks.on_exchange or console.on_exchange,
        on_ready=console.on_ready,
    )


def _pin_for_terminal(config: ServerConfig, hooks: Hooks) -> Sealed | None:
    if not config.debug or sys.stderr is None or not sys.stderr.isatty():
        return None
    from .supervise import debug_pin

    return debug_pin(config, hooks.debug)
