"""What a thread prints, caught; all other threads go on printing to where they did.

`sys.stdout`, `sys.stderr`, `sys.stdin` and `sys.breakpointhook` belong to the whole process, so
while a thread is caught they are proxies that look at the thread that uses them. A proxy that
somebody has kept goes on working afterwards, as what it stands for.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from .. import native

__all__ = ["Output", "caught"]

_NO_INPUT: Final = "there is no terminal here: nobody could answer"
_NO_BREAKPOINT: Final = "breakpoint() needs a terminal, and there is none here"


class Output(io.TextIOBase):
    """Collects text, up to `limit` characters; then it says that the rest was cut."""

    # For who asks; nothing is encoded.
    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, limit: int) -> None:
        self._text = io.StringIO()
        self._room = limit
        self._limit = limit
        self._is_cut = False

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str, /) -> int:
        """Keep as much of the text as there is room for; the caller learns nothing of the cut."""
        if not isinstance(text, str):
            raise TypeError(f"write() needs a str, not {type(text).__name__}")
        self._is_cut |= len(text) > self._room
        kept = text[: self._room]
        self._room -= len(kept)
        self._text.write(kept)
        return len(text)

    @property
    def buffer(self) -> io.RawIOBase:
        """For who writes bytes."""
        return _Bytes(self)

    @property
    def text(self) -> str:
        """What came so far."""
        note = f"\n... cut after {self._limit:,} characters\n" if self._is_cut else ""
        return self._text.getvalue() + note


class _Bytes(io.RawIOBase):
    def __init__(self, output: Output) -> None:
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        kept = bytes(data)
        self._output.write(kept.decode("utf-8", "backslashreplace"))
        return len(kept)


class _NoInput(io.TextIOBase):
    """A stdin that answers at once: who reads would wait for a terminal that nobody sees."""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> NoReturn:
        raise RuntimeError(_NO_INPUT)

    def readline(self, size: int = -1, /) -> NoReturn:  # type: ignore[override]
        raise RuntimeError(_NO_INPUT)

    def close(self) -> None:
        """Nothing: `exit()` closes stdin."""


class _Here(threading.local):
    """Where this thread prints; a stack, for code in a console may run another console."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []


_here: Final = _Here()
_no_input: Final = _NoInput()
_lock: Final = native.threading.Lock()
_caught = 0


class _Stream:
    """In place of a stream of `sys`."""

    def __init__(self, name: str, real: Any) -> None:
        self._name = name
        self.real = real

    def _target(self) -> Any:
        if not _here.outputs:
            return self.real
        return _no_input if self._name == "stdin" else _here.outputs[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)

    def write(self, text: str, /) -> Any:
        # print() skips a missing stdout, but it cannot see that the real one is missing.
        target = self._target()
        return None if target is None else target.write(text)

    def flush(self) -> None:
        target = self._target()
        if target is not None:
            target.flush()

    def __iter__(self) -> Iterator[str]:
        return iter(self._target())

    def __next__(self) -> str:
        return str(next(self._target()))

    def __repr__(self) -> str:
        return repr(self._target())


class _BreakpointHook:
    """In place of `sys.breakpointhook`."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __call__(self, *args: Any, **named: Any) -> Any:
        if _here.outputs:
            raise RuntimeError(_NO_BREAKPOINT)
        return self.real(*args, **named)


_STREAMS: Final = ("stdin", "stdout", "stderr")


def _install() -> None:
    """Put proxies where there are none: at the start, and where others put something since."""
    for name in _STREAMS:
        real = getattr(sys, name)
        if not isinstance(real, _Stream):
            setattr(sys, name, _Stream(name, real))
    if not isinstance(sys.breakpointhook, _BreakpointHook):
        sys.breakpointhook = _BreakpointHook(sys.breakpointhook)


def _remove() -> None:
    """Take out what is ours, also where others put it back; what is theirs stays."""
    for name in (*_STREAMS, "breakpointhook"):
        while isinstance(now := getattr(sys, name), (_Stream, _BreakpointHook)):
            setattr(sys, name, now.real)


@contextmanager
def caught(output: Output) -> Iterator[None]:
    """Send what this thread prints to `output`, and let it read nothing.

    What reads `sys.stdin`, as `input()` does, gets a RuntimeError, and so does `breakpoint()`.
    Any thread, any number at once.
    """
    global _caught
    with _lock:
        _caught += 1
        _install()
    _here.outputs.append(output)
    try:
        yield
    finally:
        _here.outputs.pop()
        with _lock:
            _caught -= 1
            if not _caught:
                _remove()
