"""Serving by processes that can be replaced: what a supervisor is told, and what it has to say.

For the command line and for `run`. The app itself is imported by `aserve.worker` only.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import secrets
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import native
from .config import ServerConfig, iter_options
from .errors import ConfigError, sentence
from .harmless import harmless
from .hosts import Hosts, own_hosts
from .net.address import urls_of
from .sealed import Sealed

if TYPE_CHECKING:
    from .console import About
    from .console.banner import ReadyServer
    from .debug import DebugSettings
    from .net.credentials import Credentials  # a Python may have been built without ssl
    from .reload.child import Child
    from .reload.content import OpenFile

__all__ = [
    "Plan",
    "check_is_possible",
    "debug_pin",
    "open_browser",
    "shown_command",
    "supervise",
    "without_secrets",
]

# Sockets are handed to other processes.
AVAILABLE: Final = hasattr(socket, "send_fds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to serve by processes of its own.

    Args:
        config: The options.
        sockets: The listening sockets; they stay the caller's.
        tls: For HTTPS.
        source: Where a process gets the app from: "app" and "directory", or "script".
        directory: Where the watching starts; absolute.
        is_watching: Whether to reload when a file changes.
        typed: What the person typed, for the pages.
        debug: What the program says of its debugger.
        about: What the banner tells beside the app.
        variables: Returns what a process is to add to its environment.
        on_ready: Called when the first generation serves.
        child: A process that was started ahead.
        start: The environment and the directory that a process starts in; nothing for those of
            this one.
    """

    config: ServerConfig
    sockets: Sequence[socket.socket]
    tls: Credentials | None
    source: dict[str, Any]
    directory: str
    is_watching: bool
    typed: str
    about: About
    variables: Callable[[], dict[str, str]] = dict
    on_ready: Callable[[ReadyServer], object] | None = None
    child: Child | None = None
    start: tuple[dict[str, str], str] | tuple[()] = ()
    debug: DebugSettings | None = None


def debug_pin(config: ServerConfig, settings: DebugSettings | None = None) -> Sealed | None:
    """What a terminal shows as the PIN of the debugger; None if nobody is asked for one.

    Args:
        config: The options.
        settings: What the program says of its debugger.

    Raises:
        ConfigError: The one that was set cannot be used.
    """
    if (pin := _debug_pin(config, settings)) is None:
        return None
    if pin.reveal() == "off":
        return Sealed("off: the console of the debugger is open to whoever reaches this server")
    is_set = _debug_settings(config, settings).configured_pin
    return Sealed(f"{pin.reveal()} (from debug_pin)") if is_set else pin


def _debug_pin(config: ServerConfig, settings: DebugSettings | None) -> Sealed | None:
    """The PIN, or "off"; None if there is no console."""
    if not (config.debug and config.debug_eval):
        return None
    from .debug.pin import load_pin

    told = _debug_settings(config, settings)
    return load_pin(told.directory, told.configured_pin) or Sealed("off")


def _debug_settings(config: ServerConfig, settings: DebugSettings | None) -> DebugSettings:
    from .debug.settings import DebugSettings

    settings = settings or DebugSettings()
    return dataclasses.replace(settings, pin=config.debug_pin or settings.pin)


def shown_command(program: str, words: Sequence[str]) -> str:
    """A command line as pages show it: the PIN, above all, is not for who can see them.

    Args:
        program: Its first word.
        words: The others.
    """
    return shlex.join(without_secrets([program, *words]))


def without_secrets(words: Sequence[str]) -> list[str]:
    """Words of a command line with dots in place of what is for nobody's eyes."""
    secret = {flag for option in iter_options() if option.is_secret for flag in option.flags}
    shown: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        if shown and shown[-1] in secret:
            shown.append("...")
        else:
            shown.append(f"{name}=..." if equals and name in secret else word)
    return shown


def check_is_possible(option: str, value: object) -> None:
    """Raises:
    ConfigError: Not on this system, or not in this thread.
    """
    if not AVAILABLE:  # pragma: no cover - Windows
        raise ConfigError(option, value, "does not work on this system yet")
    if not native.is_main_thread():
        raise ConfigError(option, value, "works in the main thread only")


def supervise(plan: Plan) -> int:
    """Serve until the end; returns the exit status. Main thread, no loop running.

    Args:
        plan: What to serve.
    """
    from .console import configure_logging
    from .reload.child import command, spawn
    from .reload.launch import Launch
    from .reload.snapshot import Interest, absolute
    from .reload.supervisor import Supervisor

    config = plan.config
    configure_logging(config.log_level)
    printer = _Printer(plan)
    pin = _debug_pin(config, plan.debug)
    root = _debug_settings(config, plan.debug).directory if config.debug else ""
    interest = Interest(
        roots=(plan.directory, *absolute(config.watch, plan.directory)),
        extra=absolute(config.extra_files, plan.directory),
        excluded=config.exclude_patterns,
        settings_directory=plan.directory,
    )
    launch = Launch(
        sockets=plan.sockets,
        job={
            **plan.source,
            "config": {**dataclasses.asdict(config), "debug_pin": None},
            "adhoc_pem": plan.tls.adhoc_pem.decode() if plan.tls is not None else "",
            "debug_secret": secrets.token_hex(32),
            # Settled here: an app may go to another directory when it is imported, and processes
            # that cannot keep a PIN in a file would each make their own.
            "debug_pin": pin.reveal() if pin is not None else "",
            "debug_root": root,
            "typed": plan.typed,
        },
        variables=plan.variables,
        start=functools.partial(spawn, command(), *plan.start),
        first=plan.child,
        typed=plan.typed,
        interest=interest if plan.is_watching else None,
        processes=config.processes,
        grace=config.grace,
        reload_grace=config.reload_grace,
        on_ready=printer.on_ready,
        on_failed=printer.on_failed,
        on_open=lambda: open_browser(printer, printer.tell),
        on_pin=lambda: printer.tell_pin(debug_pin(config, plan.debug), root),
        tell=printer.tell,
        write=printer.write,
        polling=config.reloader_interval if config.reloader == "stat" else None,
        context=plan.tls.context if plan.tls is not None else None,
        own_hosts=_own_hosts(config, plan.debug),
        is_for_all=bool(config.debug),
        hosts=Hosts(config.allowed_hosts) if config.allowed_hosts else None,
        find_editor=lambda: _editor(config, plan),
    )
    with asyncio.Runner(loop_factory=native.loop_factory()) as runner:
        runner.run(Supervisor(launch).run())
    return printer.status


def _editor(config: ServerConfig, plan: Plan) -> OpenFile | None:
    """What opens files of the project in the editor of whoever sits here."""
    from .debug.editor import EditorError, has_editor, open_in_editor

    editor = config.editor or (plan.debug.editor if plan.debug is not None else None)
    if not has_editor(editor):
        return None

    def work(file: str, line: int) -> str:
        try:
            open_in_editor(file, line, root=plan.directory, editor=editor)
        except EditorError as error:
            return str(error)
        return ""

    async def open_file(file: str, line: int) -> str:
        return await native.in_thread(lambda: work(file, line))

    return open_file


def _own_hosts(config: ServerConfig, debug: DebugSettings | None) -> Hosts:
    """Those that the debugger answers, too."""
    bound = () if config.host.startswith("unix:") else (config.host,)
    told = debug.allowed_hosts if debug is not None else ()
    return own_hosts((*told, *config.allowed_hosts, *config.names, *bound))


class _Printer:
    """What the supervisor has to say."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.sockets = plan.sockets
        self.urls = urls_of(plan.sockets, "http" if plan.tls is None else "https")
        self.status = 0
        self._has_begun = False

    def on_ready(self, app: dict[str, Any]) -> None:
        """The first generation serves."""
        from .console import Console
        from .reload.keys import Keys

        self._has_begun = True
        about = self._plan.about._replace(
            app_name=app["name"],
            app_location=app["location"],
            app_kind=app["kind"],
            has_keys=Keys.are_possible(),
        )
        Console(self._plan.config, about).on_ready(self)
        if self._plan.on_ready is not None:
            self._plan.on_ready(self)

    def on_failed(self, report: dict[str, Any]) -> bool:
        """A generation cannot be loaded; ends when there never was an app to speak of."""
        trace, summary, advice = (report.get(key) for key in ("traceback", "summary", "advice"))
        if trace:
            self.write(f"{harmless(str(trace))}\n\n")
        self.tell(" ".join(str(part) for part in (sentence(str(summary)), advice) if part))
        if not self._plan.is_watching:
            self.status = 3
            return True
        if not self._has_begun and report.get("is_usage"):
            self.status = 2
            return True
        self._has_begun = True
        from .console.banner import Places

        url = Places.of(self).local[0]
        self.tell(f"Waiting for a change. Until then {url} shows this.")
        return False

    def tell_pin(self, pin: Sealed | None, root: str) -> None:
        """The PIN, for who sits here; consoles that wrong ones have locked take it again."""
        if pin is None:
            self.tell("there is no PIN: the console of the debugger is off")
            return
        from .debug.pin import PinStore

        PinStore(root).forgive()
        self.tell(f"the PIN of the debugger is {pin.reveal()}")

    def tell(self, line: str) -> None:
        """A line of the log."""
        self.write(f"aserve: {harmless(line)}\n")

    def write(self, text: str) -> None:
        """A text as it is."""
        # The terminal may be closed, and there may never have been one.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(text)
            sys.stderr.flush()


def open_browser(server: ReadyServer, tell: Callable[[str], object]) -> None:
    """Open the page; in a thread, because browsers may take seconds to answer.

    Args:
        server: What serves it.
        tell: Called with a line when there is no browser.
    """
    from .console.banner import Places

    url = Places.of(server).local[0]
    if not url.startswith("http"):
        return

    def work() -> None:
        from .net import browser

        if not browser.open_browser(url):
            tell(f"no browser could be opened; the page is {url}")

    native.threading.Thread(target=work, name="aserve-open-browser", daemon=True).start()
