"""Choose the sockets: handed over by systemd, asked for, or the default port and its neighbours."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ListenError
from ..forks import close_in_forks
from ..net.listeners import UnixFile, open_listeners, systemd_listeners
from ..resolve import Resolved

if TYPE_CHECKING:
    import socket

__all__ = ["listen", "may_move"]


class _Notes(NamedTuple):
    texts: tuple[str, ...] = ()
    is_inherited: bool = False


_PLACES: Final = ("host", "port", "uds", "fd")
# Twenty servers of one person at the same time; whoever has more gives them ports.
_NEIGHBOURS: Final = 20


def may_move(resolved: Resolved, *, is_terminal: bool) -> bool:
    """Whether another port may be taken when the port is in use.

    Only the default port moves, and only where a person reads the banner: a script that
    asked for nothing still expects what is documented.
    """
    config = resolved.config
    has_port = config.uds is None and config.fd is None and not config.host.startswith("unix:")
    return is_terminal and has_port and not config.strict_port and not resolved.is_asked_for("port")


@contextlib.contextmanager
def listen(
    resolved: Resolved, *, is_terminal: bool, environment: Mapping[str, str]
) -> Iterator[tuple[list[socket.socket], tuple[str, ...]]]:
    """Hold the listening sockets open while the block runs.

    Args:
        resolved: The options and where they came from.
        is_terminal: Whether a person reads standard error.
        environment: Holds `LISTEN_FDS` and `LISTEN_PID` when systemd started us.

    Yields:
        The sockets, which the server in the block may close before, and notes for the
        banner. At the end they are closed, and the file of a Unix socket made here is removed.

    Raises:
        ListenError: The address is in use or cannot be bound.
    """
    sockets, notes = _choose(resolved, is_terminal, environment)
    # A file made by whoever handed the socket over is theirs (B9).
    is_own = not notes.is_inherited
    files = [file for sock in sockets if is_own and (file := UnixFile.of(sock)) is not None]
    held = _Held(sockets)
    close_in_forks(held)
    try:
        yield sockets, notes.texts
    finally:
        for sock in sockets:
            sock.close()
        for file in files:
            file.remove()


class _Held:
    """What `listen` has opened, until a server has it."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = sockets

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`."""
        for sock in self._sockets:
            sock.close()


def _choose(
    resolved: Resolved, is_terminal: bool, environment: Mapping[str, str]
) -> tuple[list[socket.socket], _Notes]:
    config = resolved.config
    if not any(resolved.is_asked_for(name) for name in _PLACES):
        inherited = systemd_listeners(environment, os.getpid())
        if inherited:
            return inherited, _Notes(is_inherited=True)
    try:
        return _open(resolved, config.port), _Notes(is_inherited=config.fd is not None)
    except ListenError as error:
        if error.errno != errno.EADDRINUSE or not may_move(resolved, is_terminal=is_terminal):
            raise
        first = error
    for port in range(config.port + 1, config.port + 1 + _NEIGHBOURS):
        try:
            sockets = _open(resolved, port)
        except ListenError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            text = f"Port {config.port} is taken, so this is {port}; --strict-port forbids that."
            return sockets, _Notes(texts=(text,))
    raise first


def _open(resolved: Resolved, port: int) -> list[socket.socket]:
    config = resolved.config
    return open_listeners(config.host, port, uds=config.uds, fd=config.fd, backlog=config.backlog)
