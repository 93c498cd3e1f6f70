"""Messages between the supervisor and its children: JSON, and descriptors that come along.

A message is a dictionary with a "type"; its descriptors are passed by the kernel (SCM_RIGHTS),
attached to its first byte. A frame is four bytes of length and the text. The end of either process
is the end of the stream for the other.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .. import native

__all__ = ["CHANNEL_VARIABLE", "Channel", "Message"]

Message = dict[str, Any]

# Holds the number of the child's descriptor.
CHANNEL_VARIABLE: Final = "_ASERVE_CHANNEL"

_LENGTH: Final = struct.Struct("!I")
_READ: Final = 262_144
# Linux's own limit of descriptors in one message (SCM_MAX_FD).
_MOST_DESCRIPTORS: Final = 253


class Channel:
    """One end. Blocking on the child's side; the supervisor feeds `decode` from its loop.

    Args:
        sock: A connected Unix socket; owned and closed by it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = native.threading.Lock()
        self._data = bytearray()
        self._descriptors: list[int] = []

    @classmethod
    def of_this_process(cls) -> Channel | None:
        """The child's end, as its parent has told in the environment; None in other processes."""
        number = os.environ.pop(CHANNEL_VARIABLE, "")
        if not number.isdecimal():
            return None
        os.set_inheritable(int(number), False)
        return cls(socket.socket(fileno=int(number)))

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._sock.fileno() < 0

    def fileno(self) -> int:
        """The descriptor."""
        return self._sock.fileno()

    def close_in_fork(self) -> None:
        """See `aserve.forks.Holder`: the other end waits for the end of this process alone."""
        self._sock.close()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send a message; False when the other end is gone. Any thread."""
        text = json.dumps({**message, "descriptors": len(descriptors)}).encode()
        data = memoryview(_LENGTH.pack(len(text)) + text)
        assert len(descriptors) <= _MOST_DESCRIPTORS
        with self._lock:
            try:
                if descriptors:
                    sent = socket.send_fds(self._sock, [data], list(descriptors))
                    data = data[sent:]
                self._sock.sendall(data)
            except OSError:
                return False
        return True

    def receive(self) -> Iterator[tuple[Message, list[int]]]:
        """Messages and their descriptors as they come; ends with the other process. Blocking."""
        while True:
            yield from self.decode()
            if not self.read():
                return

    def read(self, *, wait: bool = True) -> bool:
        """Read what has come; False at the end. `decode` has it then."""
        size = array.array("i").itemsize * _MOST_DESCRIPTORS
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                _READ, socket.CMSG_SPACE(size), 0 if wait else socket.MSG_DONTWAIT
            )
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(packed[: len(packed) - len(packed) % numbers.itemsize])
                self._descriptors += numbers
        self._data += data
        return bool(data)

    def decode(self) -> Iterator[tuple[Message, list[int]]]:
        """What is complete of what was read."""
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            message: Message = json.loads(self._data[_LENGTH.size : end])
            del self._data[:end]
            count = message.pop("descriptors", 0)
            mine, self._descriptors = self._descriptors[:count], self._descriptors[count:]
            yield message, mine

    def close(self) -> None:
        """The other end sees the end of the stream."""
        for number in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(number)
        self._descriptors.clear()
        self._sock.close()
