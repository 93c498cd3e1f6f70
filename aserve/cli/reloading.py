"""Serving with the reloader: the command line's part of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..config import ServerConfig
from ..errors import ConfigError
from ..net.address import urls_of
from .messages import sentence
from .settings import Settings, read_env_files

if TYPE_CHECKING:
    from ..console import About
    from ..console.banner import ReadyServer
    from ..net.credentials import Credentials  # a Python may have been built without ssl
    from ..reload.child import Child

__all__ = ["serve_reloading", "wants_reload"]

# Sockets are handed to other processes.
_AVAILABLE: Final = hasattr(socket, "send_fds")

_POLLING_SECONDS: Final = 1.0


def wants_reload(
    config: ServerConfig, sockets: Sequence[socket.socket], *, is_terminal: bool
) -> bool:
    """Whether to reload: as the option says, else for a person whose server is on loopback.

    Raises:
        ConfigError: It was asked for on a system where it cannot be.
    """
    if config.reload and not _AVAILABLE:  # pragma: no cover - Windows
        raise ConfigError("reload", True, "does not work on this system yet")
    if config.reload is not None:
        return config.reload
    return _AVAILABLE and is_terminal and all(map(_is_loopback, sockets))


def _is_loopback(sock: socket.socket) -> bool:
    name = sock.getsockname()
    return not isinstance(name, tuple) or name[0] == "::1" or name[0].startswith("127.")


def serve_reloading(
    settings: Settings,
    sockets: Sequence[socket.socket],
    tls: Credentials | None,
    about: About,
    on_ready: Callable[[ReadyServer], object] | None,
    child: Child | None,
) -> int:
    """Serve until the end; returns the exit status.

    Args:
        settings: What is to be done.
        sockets: The listening sockets; they stay the caller's.
        tls: For HTTPS.
        about: What the banner tells beside the app.
        on_ready: Called when the first generation serves.
        child: A process that was started ahead.
    """
    from ..console import configure_logging
    from ..reload.child import command
    from ..reload.snapshot import Interest, absolute
    from ..reload.supervisor import Launch, Supervisor

    config = settings.resolved.config
    configure_logging(config.log_level)
    printer = _Printer(config, about, sockets, "http" if tls is None else "https", on_ready)
    directory = str(settings.directory)
    job = {
        "app": settings.resolved.app,
        "directory": directory,
        "config": dataclasses.asdict(config),
        "adhoc_pem": tls.adhoc_pem.decode() if tls is not None else "",
    }
    launch = Launch(
        sockets=sockets,
        job=job,
        variables=_Variables(printer.tell),
        command=command(),
        first=child,
        typed=shlex.join(["aserve", *sys.argv[1:]]),
        interest=Interest(
            roots=(directory,),
            extra=absolute(config.extra_files, directory),
            excluded=config.exclude_patterns,
            settings_directory=directory,
        ),
        grace=config.grace,
        on_ready=printer.on_ready,
        on_failed=printer.on_failed,
        tell=printer.tell,
        polling=_POLLING_SECONDS if config.reloader == "stat" else None,
        portable=config.reloader == "watchfiles",
        context=tls.context if tls is not None else None,
    )
    asyncio.run(Supervisor(launch).run())
    return printer.status


class _Variables:
    """What the `.env` files add to the environment, read anew for each process."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._last: dict[str, str] = {}

    def __call__(self) -> dict[str, str]:
        try:
            found = read_env_files(Path.cwd(), os.environ)
        except (ConfigError, OSError) as error:
            self._tell(str(error))
        else:
            self._last = {name: value for name, (value, _) in found.items()}
        return self._last


class _Printer:
    """What the supervisor has to say."""

    def __init__(
        self,
        config: ServerConfig,
        about: About,
        sockets: Sequence[socket.socket],
        scheme: str,
        on_ready: Callable[[ReadyServer], object] | None,
    ) -> None:
        self._config = config
        self._about = about
        self._on_ready = on_ready
        self.sockets = sockets
        self.urls = urls_of(sockets, scheme)
        self.status = 0
        self._has_served = False

    def on_ready(self, app: dict[str, Any]) -> None:
        """The first generation serves."""
        from ..console import Console

        self._has_served = True
        about = self._about._replace(
            app_name=app["name"], app_location=app["location"], app_kind=app["kind"]
        )
        Console(self._config, about).on_ready(self)
        if self._on_ready is not None:
            self._on_ready(self)

    def on_failed(self, report: dict[str, Any]) -> bool:
        """A generation cannot be loaded; ends when there never was an app to speak of."""
        trace, summary, advice = (report.get(key) for key in ("traceback", "summary", "advice"))
        if trace:
            click.echo(f"{trace}\n", err=True)
        text = " ".join(str(part) for part in (sentence(str(summary)), advice) if part)
        click.echo(f"aserve: {text}", err=True)
        if not self._has_served and not trace:
            self.status = 2
            return True
        click.echo(f"aserve: Waiting for a change. Until then {self.urls[0]} shows this.", err=True)
        return False

    def tell(self, line: str) -> None:
        """A line of the log."""
        with contextlib.suppress(OSError, ValueError):
            click.echo(f"aserve: {line}", err=True)
