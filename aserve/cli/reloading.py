"""Serving with the reloader: the command line's part of it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..config import ServerConfig
from ..errors import ConfigError
from ..options import DEBUG_PIN_VARIABLE
from ..supervise import AVAILABLE, Plan, check_is_possible, shown_command, supervise
from .settings import Settings, read_env_files

if TYPE_CHECKING:
    from ..console import About
    from ..console.banner import ReadyServer
    from ..net.credentials import Credentials  # a Python may have been built without ssl
    from ..reload.child import Child

__all__ = ["is_loopback", "serve_by_processes", "wants_reload"]


# As Flask reads it.
_FLASK_DEBUG: Final = "FLASK_DEBUG"
_NO: Final = ("", "0", "false", "no")


def wants_reload(config: ServerConfig, variables: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Whether to reload: as the option says, else for a person, and in Flask's debug mode.

    On whatever address: other machines are told no more than that the log says why.

    Args:
        config: What was asked for.
        variables: The environment, with what the `.env` files add.
        is_terminal: Whether a person looks on.

    Raises:
        ConfigError: It was asked for on a system where it cannot be.
    """
    if config.reload:
        check_is_possible("reload", True)
    if config.reload is not None:
        return config.reload
    is_asked = variables.get(_FLASK_DEBUG, "").lower() not in _NO
    return AVAILABLE and (is_terminal or is_asked)


def is_loopback(sock: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    name = sock.getsockname()
    return not isinstance(name, tuple) or name[0] == "::1" or name[0].startswith("127.")


def serve_by_processes(
    settings: Settings,
    sockets: Sequence[socket.socket],
    tls: Credentials | None,
    about: About,
    on_ready: Callable[[ReadyServer], object] | None,
    child: Child | None,
    *,
    is_watching: bool,
) -> int:
    """Serve until the end; returns the exit status.

    Args:
        settings: What is to be done.
        sockets: The listening sockets; they stay the caller's.
        tls: For HTTPS.
        about: What the banner tells beside the app.
        on_ready: Called when the first generation serves.
        child: A process that was started ahead.
        is_watching: Whether to reload when a file changes.
    """
    directory = str(settings.directory)
    return supervise(
        Plan(
            config=settings.resolved.config,
            sockets=sockets,
            tls=tls,
            source={"app": settings.resolved.app, "directory": directory},
            directory=directory,
            is_watching=is_watching,
            typed=shown_command("aserve", sys.argv[1:]),
            about=about,
            variables=_Variables(),
            on_ready=on_ready,
            child=child,
        )
    )


class _Variables:
    """What the `.env` files add to the environment, read anew for each process."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def __call__(self) -> dict[str, str]:
        try:
            found = read_env_files(Path.cwd(), os.environ)
        except (ConfigError, OSError) as error:
            if sys.stderr is not None:
                print(f"aserve: {error}", file=sys.stderr)
        else:
            self._last = {name: value for name, (value, _) in found.items()}
            self._last.pop(DEBUG_PIN_VARIABLE, None)
        return self._last
