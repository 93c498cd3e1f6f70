"""Single keys for the supervisor, read from the terminal while no debugger needs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["Keys"]

try:
    import termios
except ImportError:  # pragma: no cover - Windows
    termios = None  # type: ignore[assignment]

_LOCAL_MODES: Final = 3  # the index in what tcgetattr returns
_CHARACTERS: Final = 6


class Keys:
    """Reads keys between `start` and `close`. Loop thread.

    Nothing is read in the background or while it is paused, and the terminal is as it was then:
    lines are edited, and what is typed is seen.

    Args:
        actions: Key -> what it does.
    """

    def __init__(self, actions: Mapping[str, Callable[[], object]]) -> None:
        self._actions = actions
        self._saved: list[Any] | None = None
        self._pauses = 0
        self._had_terminal = _is_terminal()

    def is_terminal_gone(self) -> bool:
        """Whether there was a terminal, and it was closed."""
        return self._had_terminal and not _is_terminal()

    @staticmethod
    def are_possible() -> bool:
        """Whether a person sits there."""
        if termios is None or sys.stdin is None or sys.stderr is None:
            return False
        with contextlib.suppress(OSError, ValueError):
            return sys.stdin.isatty() and sys.stderr.isatty()
        return False

    def start(self) -> None:
        """Begin, when it is possible."""
        if not self.are_possible():
            return
        self._descriptor = sys.stdin.fileno()
        with contextlib.suppress(termios.error):
            self._saved = termios.tcgetattr(self._descriptor)
            # Back in the foreground (`fg`), where the shell has set the terminal as it likes it.
            asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, self._apply)
            self._apply()

    def pause(self) -> None:
        """Somebody else reads from the terminal."""
        self._pauses += 1
        self._apply()

    def resume(self) -> None:
        """They have ended; perhaps by force, and then the terminal is as they left it."""
        self._pauses = max(0, self._pauses - 1)
        self._apply()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._saved is not None:
            self._pauses += 1
            self._apply()
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCONT)
            self._saved = None

    def _apply(self) -> None:
        if self._saved is None or not self._is_in_foreground():
            return
        loop = asyncio.get_running_loop()
        mode = list(self._saved)
        if not self._pauses:
            mode[_LOCAL_MODES] &= ~(termios.ICANON | termios.ECHO)
            mode[_CHARACTERS] = list(mode[_CHARACTERS])
            mode[_CHARACTERS][termios.VMIN] = 1
            mode[_CHARACTERS][termios.VTIME] = 0
            loop.add_reader(self._descriptor, self._read)
        else:
            loop.remove_reader(self._descriptor)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)

    def _is_in_foreground(self) -> bool:
        # Whoever touches the terminal from the background is stopped.
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False

    def _read(self) -> None:
        if not self._is_in_foreground():
            asyncio.get_running_loop().remove_reader(self._descriptor)
            return
        try:
            typed = os.read(self._descriptor, 64)
        except OSError:
            typed = b""
        if not typed:  # the terminal is closed
            asyncio.get_running_loop().remove_reader(self._descriptor)
            return
        for key in typed.decode("latin-1"):
            if (action := self._actions.get(key)) is not None:
                action()


def _is_terminal() -> bool:
    """Whether this process has a controlling terminal (termios(4)); a closed one is none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
