"""Sending a file from the kernel's cache to a socket, in the worker thread.

In the worker and not on the loop, because reading from a disk blocks.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Final

from ..errors import ClientDisconnected

__all__ = ["AVAILABLE", "send"]

AVAILABLE: Final = hasattr(os, "sendfile") and hasattr(select, "poll")

# How long a stalled client is waited for before a look at whether the connection was cut.
_POLL_MILLISECONDS: Final = 200

# One call moves at most this much, so that a cut is noticed in between; a guess.
_SLICE: Final = 8 * 1024 * 1024


def send(
    to_descriptor: int, from_descriptor: int, offset: int, size: int, is_cut: Callable[[], bool]
) -> int:
    """Send `size` bytes of a file; blocks until the kernel has taken them.

    Args:
        to_descriptor: A non-blocking socket; closed here, in every case.
        from_descriptor: The file; its position is neither used nor changed.
        offset: Where to start, in bytes.
        size: How many bytes.
        is_cut: Says whether the connection was given up meanwhile.

    Returns:
        The bytes sent: fewer than `size` only when the file turned out to be shorter.

    Raises:
        ClientDisconnected: The client left, or the connection was cut.
    """
    try:
        poll = select.poll()
        poll.register(to_descriptor, select.POLLOUT)
        end = offset + size
        position = offset
        while position < end:
            if is_cut():
                raise ClientDisconnected("the connection was cut while a file was sent")
            try:
                sent = os.sendfile(
                    to_descriptor, from_descriptor, position, min(end - position, _SLICE)
                )
            except BlockingIOError:
                poll.poll(_POLL_MILLISECONDS)
                continue
            except ConnectionError as error:
                raise ClientDisconnected("the client left while a file was sent") from error
            if sent == 0:
                break
            position += sent
        return position - offset
    finally:
        os.close(to_descriptor)
