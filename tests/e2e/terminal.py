"""A server in the foreground of a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import sys
import termios
from pathlib import Path

from .conftest import environment

__all__ = ["Terminal"]


class Terminal:
    """A server whose terminal is a real one, of which it is in the foreground."""

    def __init__(self, folder: Path, *words: str, **variables: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:  # only what is safe behind a fork
            os.chdir(folder)
            command = [sys.executable, "-m", "aserve", *words]
            os.execvpe(command[0], command, environment(TERM="xterm", NO_COLOR="1", **variables))
        self.output = ""

    def wait_for(self, text: str) -> None:
        """Blocks on the terminal, never on a clock."""
        while text not in self.output:
            self.output += os.read(self.master, 65_536).decode()

    def type(self, text: str) -> None:
        """As a person does, with what was shown before already read."""
        self.output = ""
        os.write(self.master, text.encode())

    @property
    def port(self) -> int:
        """Waits for the banner."""
        self.wait_for("to stop")
        found = re.search(r"Local +\w+://[^:]+:(\d+)", self.output)
        assert found is not None, self.output
        return int(found[1])

    def is_as_usual(self) -> bool:
        """Whether lines are edited and what is typed is seen."""
        local = termios.tcgetattr(self.master)[3]
        return bool(local & termios.ICANON and local & termios.ECHO)

    def wait(self) -> int:
        """Until its end; returns the exit status."""
        with contextlib.suppress(OSError):  # the end of the terminal
            self.wait_for("no such text")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """The window is closed."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def end(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.close()
