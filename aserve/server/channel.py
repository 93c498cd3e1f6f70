"""What lies under a transport: a socket, or TLS on one, and what its kernel tells of it."""

from __future__ import annotations

import sys
from typing import Any, Protocol

__all__ = ["Channel", "waiting_in_kernel"]


class Channel(Protocol):
    """What a transport reads and writes: a socket, or something that is used like one."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """See `socket.socket`."""
        ...

    def send(self, data: Any, /) -> int:
        """See `socket.socket`."""
        ...

    def shutdown(self, how: int, /) -> None:
        """See `socket.socket`."""
        ...

    def close(self) -> None:
        """See `socket.socket`."""
        ...

    def fileno(self) -> int:
        """See `socket.socket`."""
        ...


def waiting_in_kernel(descriptor: int) -> int:
    """Bytes that the other end of a socket has not taken yet; 0 where the system does not say.

    The kernel takes more only when a third of its buffer is free, which may be a megabyte: for a
    slow client that is minutes in which it seems to take nothing.
    """
    try:
        import fcntl
        import termios

        return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (ImportError, AttributeError, OSError, ValueError):  # or it is closed
        return 0
