"""The command `aserve`: parses, gathers the settings, listens, loads the app, serves.

Exit status: 0 stopped; 1 crashed; 2 wrong usage or configuration, or no app; 3 the app failed to
import; 4 the address cannot be listened on; 5 a store of certificates was not changed; 6 the
authorization server refused and 7 no callback came in time (`aserve callback`); 130 Ctrl-C before
the server was ready (128 + the number of SIGINT, as shells count).

The address is bound before the app is imported: a port that is taken is told at once, and
clients that come early wait instead of being refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from ..config import ServerConfig
from ..errors import (
    AppLoadError,
    CallbackError,
    CallbackTimeout,
    ConfigError,
    ListenError,
    sentence,
)
from ..harmless import harmless, harmless_line
from ..loader import LoadedApp, load_app
from ..options import DEBUG_PIN_VARIABLE
from ..resolve import respelled
from ..sealed import Sealed, hide_known
from ..supervise import debug_pin, open_browser, shown_command, without_secrets
from . import callback
from .commands import RESERVED, DefaultGroup, PlainCommand, ServingCommand, seal_words
from .reloading import is_loopback, serve_by_processes, wants_reload
from .settings import Settings, gather, table, unknown_variables
from .trust import trust, trust_notes, untrust

if TYPE_CHECKING:
    import socket

    from ..console import Console
    from ..console.banner import ReadyServer
    from ..debug import DebugSettings
    from ..net.credentials import Credentials  # a Python may have been built without ssl
    from ..reload.child import Child
    from ..server import Server
    from ..types import WSGIApp

__all__ = ["main"]

EXIT_STOPPED: Final = 0
EXIT_USAGE: Final = 2
EXIT_APP_FAILED: Final = 3
EXIT_ADDRESS: Final = 4
EXIT_STORE: Final = 5
EXIT_REFUSED: Final = 6
EXIT_TIMEOUT: Final = 7
EXIT_INTERRUPTED: Final = 130

_TRUST_HELP: Final = (
    "Make your development authority, unless you have one, and install it where browsers and other "
    "programs look up whom to trust: the system's store, Chromium's and Firefox's. It is yours "
    "alone, and can vouch for private names and addresses only."
)
_PIN_HELP: Final = "Show the PIN of the debugger's console, for the project of this directory."
_NEW_PIN: Final = click.Option(
    ["--new", "is_new"], is_flag=True,
    help="Make another one, and unlock consoles that wrong PINs have locked. Servers that run ask "
    "for it from then on.",
)  # fmt: skip
_UNTRUST_HELP: Final = "Take your development authority out of all stores again."


class _Start(NamedTuple):
    """How the process began.

    Args:
        at: The `time.perf_counter()` at which it began its work.
        child: A process that was started ahead, for the reloader.
    """

    at: float
    child: Child | None


def main(
    args: Sequence[str] | None = None,
    *,
    started_at: float | None = None,
    child: Child | None = None,
) -> int:
    """Run the command line.

    Called in the main thread: serving installs signal handlers.

    Args:
        args: The words after the command's name; those of the process when None.
        started_at: The `time.perf_counter()` at which the process began its work.
        child: A process that was started ahead, for the reloader; ends if it is not needed.

    Returns:
        The exit status. A person's mistake is told in one line on standard error; only a
        crash of aserve itself leaves as an exception, with its traceback and status 1.
    """
    started_at = time.perf_counter() if started_at is None else started_at
    given, args = args, seal_words(sys.argv[1:] if args is None else args)
    if given is None:
        _forget_words()
    group = DefaultGroup(
        [
            ServingCommand("serve", _serve, takes_app=True),
            ServingCommand("demo", _serve_demo, takes_app=False),
            ServingCommand("config", _show_config, takes_app=True),
            PlainCommand("callback", _callback, callback.HELP, callback.options()),
            PlainCommand("trust", lambda: _status_of(trust()), _TRUST_HELP),
            PlainCommand("untrust", lambda: _status_of(untrust()), _UNTRUST_HELP),
            PlainCommand("pin", _show_pin, _PIN_HELP, [_NEW_PIN]),
        ]
    )
    try:
        status = group.main(
            args=args,
            prog_name="aserve",
            standalone_mode=False,
            obj=_Start(started_at, child),
        )
    except click.UsageError as error:
        return _fail(f"{sentence(error.format_message())} See aserve --help.", EXIT_USAGE)
    except ConfigError as error:
        return _fail(sentence(str(error)), EXIT_USAGE)
    except AppLoadError as error:
        return _fail_to_load(error)
    except ListenError as error:
        return _fail(str(error), EXIT_ADDRESS)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return int(status or EXIT_STOPPED)


def _status_of(all_done: bool) -> int:
    return EXIT_STOPPED if all_done else EXIT_STORE


def _fail(message: str, status: int) -> int:
    click.echo(f"aserve: {harmless(message)}", err=True)
    return status


def _fail_to_load(error: AppLoadError) -> int:
    if error.user_traceback:
        # Above the summary: the last line is the one that is read first.
        click.echo(f"{hide_known(harmless(error.user_traceback))}\n", err=True)
    text = f"{sentence(str(error))} {error.advice}" if error.advice else str(error)
    return _fail(hide_known(text), EXIT_APP_FAILED if error.user_traceback else EXIT_USAGE)


def _gather(given: dict[str, Any]) -> Settings:
    # A flag that may be repeated and was not given is an empty tuple.
    flags = {name: value for name, value in given.items() if value not in (None, ())}
    return gather(flags, directory=_current_directory(), environment=os.environ)


def _current_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("current directory", ".", "was removed; change to another") from None


@click.pass_context
def _serve(ctx: click.Context, /, **given: Any) -> int:
    if given["app"] in RESERVED:
        # `aserve --port 0 demo`: the words are reserved behind options, too.
        word = given["app"]
        given = {**given, "app": None}
        if word == "config":
            return _show_config(**given)
        if word != "demo":
            raise click.UsageError(f"`aserve {word}` takes no options of the server.")
        return int(ctx.invoke(_serve_demo, **given))
    settings = _gather(given)
    return _run(settings, is_demo=False, start=ctx.obj)


@click.pass_context
def _serve_demo(ctx: click.Context, /, **given: Any) -> int:
    return _run(_gather(given), is_demo=True, start=ctx.obj)


def _show_config(**given: Any) -> int:
    settings = _gather(given)
    rows = [("option", "value", "from")]
    for name, value, source in table(settings):
        # Perhaps somebody else's words: this is a way to look at a project before it runs.
        rows.append((name, harmless_line(value), harmless_line(source)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        click.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}")
    _warn_of_unknown_variables(settings)
    return EXIT_STOPPED


def _warn_of_unknown_variables(settings: Settings) -> None:
    for line in unknown_variables({**settings.variables, **os.environ}):
        click.echo(f"aserve: {harmless_line(line)}", err=True)


def _show_pin(is_new: bool) -> int:
    config = _gather({}).resolved.config
    if is_new:
        from ..debug.pin import PinStore

        store = PinStore(str(_current_directory()))
        if config.debug_pin is None and store.renew() is None:
            return _fail("a new PIN cannot be kept: no folder of this user can be written", 1)
        store.forgive()
    pin = debug_pin(dataclasses.replace(config, debug=True, debug_eval=True))
    assert pin is not None
    click.echo(pin.reveal())
    return EXIT_STOPPED


def _callback(**given: Any) -> int:
    try:
        callback.print_callback(**given)
    except CallbackError as error:
        return _fail(f"the authorization server refused: {sentence(str(error))}", EXIT_REFUSED)
    except CallbackTimeout as error:
        return _fail(sentence(str(error)), EXIT_TIMEOUT)
    return EXIT_STOPPED


_RELOAD_IS_OFF: Final = "Reload is off: without a terminal, --reload switches it on."


def _run(settings: Settings, *, is_demo: bool, start: _Start) -> int:
    from ..console import About, Console, configure_logging
    from .listen import listen

    settings = _with_hosts(settings)
    _forget_secrets()
    config = settings.resolved.config
    _warn_of_unknown_variables(settings)
    if other := _other_distribution(Path(__file__).parents[2]):
        click.echo(f"aserve: {other}", err=True)
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    with listen(settings.resolved, is_terminal=is_terminal, environment=os.environ) as (
        sockets,
        notes,
    ):
        # Before the app is imported: a bad file is told at once.
        tls = _load_credentials(settings, sockets)
        notes += trust_notes(tls)
        if config.debug is None:
            config = dataclasses.replace(config, debug=all(map(is_loopback, sockets)))
            settings = settings.with_config(config)
        pin = debug_pin(config) if is_terminal else None
        variables = {**settings.variables, **os.environ}
        is_watching = not is_demo and wants_reload(config, variables, is_terminal=is_terminal)
        if config.reload is None and not (is_watching or is_demo):
            notes += (_RELOAD_IS_OFF,)
        if is_watching or (config.processes > 1 and not is_demo):
            features = ("reload",) if is_watching else ()
            about = About(notes=notes, features=features, started_at=start.at, pin=pin)
            on_ready = _open_browser if config.open else None
            return serve_by_processes(
                settings, sockets, tls, about, on_ready, start.child, is_watching=is_watching
            )
        if start.child is not None:
            start.child.release()
        debug = _debug_settings() if config.debug else None
        if isinstance(config.debug_pin, Sealed):
            config.debug_pin.hide_everywhere()
        for name, value in settings.variables.items():
            os.environ.setdefault(name, value)
        if is_demo:
            loaded = _demo()
        else:
            loaded = load_app(
                settings.resolved.app,
                directory=settings.directory,
                is_debugged=bool(config.debug),
            )
        # After the import, so that the app's own logging configuration is seen.
        configure_logging(config.log_level)
        about = About(
            loaded.name, loaded.location, loaded.kind, notes=notes, started_at=start.at, pin=pin
        )
        must_leave = _serve_forever(
            loaded.app, config, Console(config, about), sockets=sockets, tls=tls, debug=debug
        )
    if must_leave:
        _leave_now(EXIT_STOPPED)
    return EXIT_STOPPED


def _forget_secrets() -> None:
    """Take away what was read, from where the app and its error pages would show it."""
    os.environ.pop(DEBUG_PIN_VARIABLE, None)


def _forget_words() -> None:
    for words in (sys.argv, sys.orig_argv):
        words[:] = without_secrets(words)


def _debug_settings() -> DebugSettings:
    """Before the import of the app, which may go to another directory."""
    from ..debug import DebugSettings

    return DebugSettings(
        root=str(_current_directory()), typed=shown_command("aserve", sys.argv[1:])
    )


def _with_hosts(settings: Settings) -> Settings:
    """With the hosts that are always allowed: an empty list would allow all of them."""
    config = settings.resolved.config
    bound = "" if config.host.startswith("unix:") else config.host
    names = ("localhost", *filter(None, [bound]), *config.names, *config.allowed_hosts)
    return settings.with_config(dataclasses.replace(config, allowed_hosts=names))


def _load_credentials(settings: Settings, sockets: Sequence[socket.socket]) -> Credentials | None:
    from ..api import load_credentials

    try:
        return load_credentials(settings.resolved.config, sockets)
    except ConfigError as error:
        raise respelled(error, settings.resolved.sources) from None


def _serve_forever(
    app: WSGIApp,
    config: ServerConfig,
    console: Console,
    *,
    sockets: Sequence[socket.socket],
    tls: Credentials | None,
    debug: DebugSettings | None,
) -> bool:
    from ..api import Hooks
    from ..running import run_configured

    def on_ready(server: Server) -> None:
        # What is loaded now stays for good: later collections need not look at it.
        gc.freeze()
        gc.enable()
        console.on_ready(server)
        if config.open:
            _open_browser(server)

    hooks = Hooks(
        sockets=sockets,
        on_ready=on_ready,
        on_exchange=console.on_exchange if config.access_log else None,
        debug=debug,
    )
    return run_configured(app, config, hooks, tls)


def _leave_now(status: int) -> None:
    """End the process without waiting for the app's own threads and exit functions.

    For the second Ctrl-C: whoever presses it again does not want to wait for anything.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _demo() -> LoadedApp:
    from ..demo import app

    return LoadedApp(app, "aserve.demo:app", "", "built in")


def _open_browser(server: ReadyServer) -> None:
    open_browser(server, lambda line: click.echo(f"aserve: {line}", err=True))


def _other_distribution(site: Path) -> str:
    """Look for the unrelated distribution `aserve` (2016) beside this package.

    Both install a package of the same name, so one overwrites the files of the other. A look
    into one directory, because a scan of all metadata takes longer than the start.
    """
    for pattern in ("aserve-*.dist-info", "aserve-*.egg-info"):
        for path in site.glob(pattern):
            version = path.stem.removeprefix("aserve-").partition("-")[0]
            return (
                f"the unrelated distribution `aserve` {version} is installed in {site}, too, and "
                "may overwrite files of aserve-wsgi. Run: pip uninstall -y aserve aserve-wsgi && "
                "pip install aserve-wsgi"
            )
    return ""
