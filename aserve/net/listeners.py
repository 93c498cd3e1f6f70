"""Listening sockets: dual stack, Unix, inherited (BEHAVIOURS A).

Everything here is blocking and quick, except the resolver for host names other than
localhost. The caller owns the sockets that it gets, and closes them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import ListenError
from .address import UNIX_PREFIX, strip_brackets
from .holder import describe_holder

__all__ = ["UnixFile", "inherited_listener", "open_listeners", "systemd_listeners"]

# A free port of one family may be taken in the other; the odds of that ten times in a row
# are nil on any machine that works.
_TWIN_TRIES: Final = 10

# sd_listen_fds(3): the first descriptor that is passed.
_SYSTEMD_FIRST: Final = 3


def open_listeners(
    host: str,
    port: int,
    *,
    uds: str | None = None,
    fd: int | None = None,
    backlog: int = 2048,
) -> list[socket.socket]:
    """Bind and listen.

    Args:
        host: `localhost` for 127.0.0.1 and ::1 on one port, `::` for dual stack, an
            address, a name, or `unix://PATH`.
        port: 0 picks a free one, the same for both families.
        uds: Path of a Unix socket; then host and port do not count.
        fd: An inherited descriptor that already listens; then nothing else counts.
        backlog: Connections that may wait to be accepted.

    Returns:
        Non-blocking, listening sockets; the caller closes them.

    Raises:
        ListenError: With advice; every socket that was opened is closed again.
    """
    if fd is not None:
        return [inherited_listener(fd)]
    if uds is None and host.startswith(UNIX_PREFIX):
        uds = host[len(UNIX_PREFIX) :]
    if uds is not None:
        return [_listen_unix(uds, backlog)]
    host = strip_brackets(host)
    if host.lower() == "localhost":
        return _listen_localhost(port, backlog)
    return [_listen_tcp(*_resolve(host), port, backlog)]


def _listen_localhost(port: int, backlog: int) -> list[socket.socket]:
    """Both loopback addresses: browsers try either first, and give up on it slowly (B13)."""
    for attempt in range(_TWIN_TRIES):
        first = _listen_tcp(socket.AF_INET, "127.0.0.1", port, backlog)
        try:
            second = _listen_tcp(socket.AF_INET6, "::1", first.getsockname()[1], backlog)
        except ListenError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return [first]  # a machine without IPv6
            first.close()
            if port or error.errno != errno.EADDRINUSE or attempt == _TWIN_TRIES - 1:
                raise
        else:
            return [first, second]
    raise AssertionError("unreachable: the last attempt returns or raises")


def _resolve(host: str) -> tuple[int, str]:
    try:
        found = socket.getaddrinfo(
            host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except (OSError, UnicodeError):
        # ADDRCONFIG hides ::1 on a machine whose only IPv6 address is loopback.
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ListenError(
                errno.EADDRNOTAVAIL,
                f"the host {host!r} is not known",
                advice="Use `localhost`, an address of this machine, or 0.0.0.0 for all of them.",
            ) from None
    family, _, _, _, address = found[0]
    scope = f"%{address[3]}" if len(address) == 4 and address[3] and "%" not in host else ""
    return family, str(address[0]) + scope


def _listen_tcp(family: int, host: str, port: int, backlog: int) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(error, host, port) from None
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            # Elsewhere this option lets a second server take the same port unseen (B18).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        sock.bind((host, port))
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _listen_error(error, host, port) from None
    return sock


def _listen_error(error: OSError, host: str, port: int) -> ListenError:
    place = f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        holder = describe_holder(port)
        message = f"{place} is already in use" + (f" by {holder}" if holder else "")
        advice = "Stop that program, choose another port, or let `--port 0` pick a free one."
        if sys.platform == "darwin" and port == 5000 and not holder:
            advice += (
                " On macOS the AirPlay Receiver takes port 5000: switch it off in System"
                " Settings, General, AirDrop & Handoff."
            )
        return ListenError(error.errno, message, advice=advice)
    if error.errno == errno.EACCES:
        advice = "Ports below 1024 belong to the administrator; choose one from 1024 to 65535."
        return ListenError(error.errno, f"not allowed to listen on {place}", advice=advice)
    if error.errno == errno.EADDRNOTAVAIL:
        advice = "Use `localhost`, an address of this machine, or 0.0.0.0 for all of them."
        return ListenError(
            error.errno, f"this machine does not have the address {host}", advice=advice
        )
    return ListenError(error.errno, f"cannot listen on {place}: {os.strerror(error.errno or 0)}")


def _listen_unix(path_text: str, backlog: int) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise ListenError(errno.EAFNOSUPPORT, "this system has no Unix sockets")
    path = Path(path_text).absolute()
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        reason = str(error) if error.errno is None else os.strerror(error.errno)
        raise ListenError(
            error.errno,
            f"cannot listen on the Unix socket {path}: {reason}",
            advice="Choose a short path in a directory that you may write to.",
        ) from None
    return sock


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on any more; nothing else, ever (B9)."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(
            errno.EEXIST,
            f"{path} exists and is not a socket",
            advice="It is left as it is; choose another path.",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
        except FileNotFoundError:
            return
        except OSError:
            pass  # EAGAIN: its backlog is full, so somebody listens; EACCES: not ours
    raise ListenError(
        errno.EADDRINUSE,
        f"the Unix socket {path} is in use by a running program",
        advice="Stop that program or choose another path.",
    )


class UnixFile(NamedTuple):
    """The file of a Unix socket that this process made, to be removed at the end."""

    path: str
    identity: tuple[int, int]

    @classmethod
    def of(cls, sock: socket.socket) -> UnixFile | None:
        """The file of a socket; None for TCP and for sockets without a file."""
        if sock.family != getattr(socket, "AF_UNIX", None):
            return None
        path = sock.getsockname()
        if not isinstance(path, str) or not path:
            return None
        status = Path(path).lstat()
        return cls(path, (status.st_dev, status.st_ino))

    @classmethod
    def of_all(cls, sockets: Iterable[socket.socket]) -> list[UnixFile]:
        """The files of those sockets that have one."""
        return [file for sock in sockets if (file := cls.of(sock)) is not None]

    def remove(self) -> None:
        """Remove it, unless it is gone or another server has replaced it."""
        with contextlib.suppress(OSError):
            status = Path(self.path).lstat()
            if (status.st_dev, status.st_ino) == self.identity:
                Path(self.path).unlink()


def inherited_listener(fd: int) -> socket.socket:
    """Adopt a listening socket by its descriptor, which the returned object then owns.

    Raises:
        ListenError: It is not open, not a stream socket, or does not listen.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        reason = os.strerror(error.errno or errno.EBADF)
        raise ListenError(
            error.errno,
            f"descriptor {fd} is not an open socket: {reason}",
            advice="Pass the number of a listening socket that this process inherited.",
        ) from None
    # macOS cannot tell (no SO_ACCEPTCONN before bind); there a bad one shows at accept.
    accepting = sock.type == socket.SOCK_STREAM
    with contextlib.suppress(OSError):
        accepting = accepting and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if not accepting:
        sock.detach()  # it is not ours to close
        raise ListenError(
            errno.EINVAL,
            f"descriptor {fd} is a socket, but it does not listen",
            advice="Call bind() and listen() before passing it on.",
        )
    sock.setblocking(False)
    return sock


def systemd_listeners(environ: Mapping[str, str], pid: int) -> list[socket.socket]:
    """The sockets that systemd passed (sd_listen_fds(3)); empty when there are none for us.

    Args:
        environ: The environment; LISTEN_PID and LISTEN_FDS count.
        pid: The process that LISTEN_PID must name.

    Raises:
        ListenError: As from `inherited_listener`.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdecimal()):
        return []
    listeners = []
    for fd in range(_SYSTEMD_FIRST, _SYSTEMD_FIRST + int(count)):
        os.set_inheritable(fd, False)
        listeners.append(inherited_listener(fd))
    return listeners
