"""Run the command line as a real process, and wait for what it prints."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import aserve

# Where the tested package is: site-packages, or the checkout.
LOCATION = Path(aserve.__file__).parents[1]
# What the console script does; `-P` keeps the current directory off the path, as there.
_SCRIPT = ("-P", "-c", "from aserve.__main__ import main; main()")

_PER_SHELL = ("NO_COLOR", "FORCE_COLOR", "DJANGO_SETTINGS_MODULE", "BROWSER")

# Seconds for a process that the test has left running; a stuck one has failed its test before.
_PATIENCE = 10


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _PER_SHELL and not name.startswith("ASERVE_")
    }
    paths = [str(LOCATION), *filter(None, [kept.get("PYTHONPATH")])]
    defaults = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **defaults, "TERM": "xterm", **extra}


class Running:
    """A process whose standard error is read as it comes.

    Args:
        process: The process; its stdout is not captured.
        descriptor: The end of its standard error to read from; closed by `close`.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.output = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern has appeared in the output.

        Blocks on the pipe, never on a clock; a process that ends first fails the test.
        """
        while True:
            found = re.search(pattern, self.output)
            if found:
                return found
            if not self._read():
                pytest.fail(f"ended before {pattern!r} appeared:\n{self.output}")

    @property
    def url(self) -> str:
        """The URL of the banner; waits for it."""
        url = self.wait_for(r"(http://\S+?:\d+)(?s:.*)Press Ctrl-C")[1]
        return re.sub(r"\x1b\[\d*m", "", url)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, read the rest, and return the exit status."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> int:
        """Read the rest and return the exit status."""
        while self._read():
            pass
        return self.process.wait()

    def close(self) -> None:
        """Make sure that nothing is left; in order if it can be, so that coverage is written."""
        self.process.terminate()
        try:
            self.process.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._descriptor)

    def _read(self) -> bool:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # Linux: the other end of a pseudo-terminal is gone
            return False
        # All of it: a read may end between the two characters.
        self.output = (self.output + data.decode()).replace("\r\n", "\n")
        return bool(data)


Start = Callable[..., Running]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `aserve` in the background: `start("app.py", "--port", "0")`."""
    with contextlib.ExitStack() as stack:

        def start_one(
            *words: str,
            cwd: Path = tmp_path,
            terminal: bool = False,
            fds: tuple[int, ...] = (),
            launcher: tuple[str, ...] = (),
            **environment: str,
        ) -> Running:
            ours, theirs = pty.openpty() if terminal else os.pipe()
            process = subprocess.Popen(
                [*launcher, sys.executable, *_SCRIPT, *words],
                cwd=cwd,
                env=_environment(environment),
                stdin=subprocess.DEVNULL,
                stderr=theirs,
                pass_fds=fds,
            )
            os.close(theirs)
            running = Running(process, ours)
            stack.callback(running.close)
            return running

        yield start_one


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `aserve` to its end: `run("--version").stdout`."""

    def run_one(
        *words: str, cwd: Path = tmp_path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *_SCRIPT, *words],
            cwd=cwd,
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run_one
