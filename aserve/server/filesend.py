"""Sending a file to a socket, in the worker thread.

In the worker and not on the loop, because reading from a disk blocks.

Not with `sendfile`: a browser on the same machine is what this server is for, and there the
kernel hands the pages of the file to the client, which then fetches each from main memory.
Read in pieces that fit the processor's cache, the same file arrives 1.4 times as fast
(2 cores, 4 clients, 100 MB). Over a network card it costs more of the processor, and no time.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from typing import Final

from .. import native
from ..errors import ClientDisconnected
from .channel import waiting_in_kernel

__all__ = ["AVAILABLE", "CAN_READ", "read", "send"]

AVAILABLE: Final = hasattr(os, "preadv") and hasattr(select, "poll")
CAN_READ: Final = hasattr(os, "pread")

# How long a stalled client is waited for before a look at whether the connection was cut.
_POLL_MILLISECONDS: Final = 200

# Half of it or twice as much sends a tenth less.
_PIECE: Final = 262_144

# As much as is encrypted in one go.
_READ_SIZE: Final = 131_072


def read(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    """The pieces of a file, for who cannot have it sent, as over TLS.

    Args:
        descriptor: The file; its position is neither used nor changed.
        offset: Where to start, in bytes.
        size: How many bytes; fewer come when the file turns out to be shorter.
    """
    while size > 0 and (piece := os.pread(descriptor, min(size, _READ_SIZE), offset)):
        offset += len(piece)
        size -= len(piece)
        yield piece


def send(
    to_descriptor: int,
    from_descriptor: int,
    offset: int,
    size: int,
    *,
    is_cut: Callable[[], bool],
    on_wait: Callable[[], object] = int,
    patience: float = 0.0,
) -> int:
    """Send `size` bytes of a file; blocks until the kernel has taken them.

    Args:
        to_descriptor: A non-blocking socket; closed here, in every case.
        from_descriptor: The file; its position is neither used nor changed.
        offset: Where to start, in bytes.
        size: How many bytes.
        is_cut: Says whether the connection was given up meanwhile.
        on_wait: Called when the client has to be waited for, the first time.
        patience: Seconds in which it may take nothing; 0 for no bound.

    Returns:
        The bytes sent: fewer than `size` only when the file turned out to be shorter.

    Raises:
        ClientDisconnected: The client left, or took nothing for too long, or the connection was
            cut.
    """
    try:
        poll = native.select.poll()
        poll.register(to_descriptor, select.POLLOUT)
        buffer = memoryview(bytearray(min(size, _PIECE)))
        sent = 0
        has_waited = False
        stall = _Stall(to_descriptor, patience)
        while sent < size:
            piece = buffer[: size - sent]
            piece = piece[: os.preadv(from_descriptor, [piece], offset + sent)]
            if not piece:
                break
            sent += len(piece)
            while piece:
                if is_cut():
                    raise ClientDisconnected("the connection was cut while a file was sent")
                try:
                    piece = piece[native.os.write(to_descriptor, piece) :]
                except BlockingIOError:
                    if not has_waited:
                        has_waited = True
                        on_wait()
                    if not poll.poll(_POLL_MILLISECONDS):
                        stall.note()
                except ConnectionError as error:
                    raise ClientDisconnected("the client left while a file was sent") from error
        return sent
    finally:
        native.os.close(to_descriptor)


class _Stall:
    """How long a client has taken nothing, in waits: a process that stands still has none."""

    def __init__(self, descriptor: int, patience: float) -> None:
        self._descriptor = descriptor
        self._patience = patience
        self._waiting = -1  # bytes in the kernel
        self._waits = 0

    def note(self) -> None:
        """It was waited for, in vain."""
        waiting = waiting_in_kernel(self._descriptor)
        self._waits = self._waits + 1 if waiting == self._waiting else 0
        self._waiting = waiting
        if self._patience and self._waits * _POLL_MILLISECONDS / 1000 >= self._patience:
            raise ClientDisconnected(
                f"the client took nothing of a file for {self._patience:g} s (send_timeout)"
            )
