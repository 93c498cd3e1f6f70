"""Servers in processes of their own, as people run them."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

import aserve

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Where the tested package is: site-packages, or the checkout.
LOCATION = Path(aserve.__file__).parents[1]
EXAMPLES = Path(__file__).parents[2] / "examples"
# Seconds; longer than anything here takes. Only a test that fails waits for it.
DEADLINE = 30
# What follows `python`, also for a server inside of a program with uvloop's loop.
COMMAND = ("-m", "aserve")
ON_LOOP = {"own": COMMAND, "uvloop": (str(Path(__file__).with_name("on_uvloop.py")),)}


def environment(**extra: str) -> dict[str, str]:
    """The environment without what changes an `aserve`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "FLASK_DEBUG", "DJANGO_SETTINGS_MODULE")
        and not name.startswith(("ASERVE_", "LISTEN_"))
    }
    paths = [str(LOCATION), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", **extra}


class Child:
    """A process whose standard error is gathered by a thread.

    Args:
        command: The words of the command.
        cwd: Its working directory.
        fds: Descriptors that it inherits.
        variables: Added to the environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        fds: Sequence[int] = (),
        variables: dict[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(**(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=fds,
        )
        self.errors = ""
        self._changed = threading.Condition()
        self._ended = False
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        """Until its end, or until nobody wants more: what it has started may outlive it."""
        assert self.process.stderr is not None
        descriptor = self.process.stderr.fileno()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            ready, _, _ = select.select([descriptor, self._wake[0]], [], [])
            data = os.read(descriptor, 65_536) if descriptor in ready else b""
            with self._changed:
                self.errors += decoder.decode(data)
                self._ended = not data
                self._changed.notify_all()
            if not data:
                return

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a pattern stands in its standard error."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or re.search(pattern, self.errors), timeout=DEADLINE
            )
            found = re.search(pattern, self.errors)
        if found is None:
            pytest.fail(f"{pattern!r} did not appear in:\n{self.errors}")
        return found

    @property
    def url(self) -> str:
        """The first URL of the banner; waits for it."""
        return self.wait_for(r" on (\w+://[^\s,]+), .*ready in")[1]

    @property
    def port(self) -> int:
        """The port of that URL."""
        return int(self.url.rpartition(":")[2])

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"It has not ended:\n{self.errors}")
        self._thread.join(DEADLINE)
        return status

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.send(number)
        return self.wait()

    def memory(self, name: str) -> int:
        """A figure of /proc/PID/status in bytes: `VmRSS` now, `VmHWM` the most so far."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None, text
        return int(found[1]) * 1024

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.write(self._wake[1], b"x")
        self._thread.join(DEADLINE)
        for descriptor in self._wake:
            os.close(descriptor)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Start(Protocol):
    """Starts a process that the test's end ends."""

    def __call__(
        self, *words: str, fds: Sequence[int] = (), raw: bool = False, **variables: str
    ) -> Child: ...


@contextlib.contextmanager
def starter(cwd: Path, command: Sequence[str] = COMMAND, **everywhere: str) -> Iterator[Start]:
    """A `Start` whose processes end with the block.

    Args:
        cwd: Their working directory.
        command: What follows `python`.
        everywhere: Variables that they have in common.
    """
    with contextlib.ExitStack() as stack:

        def start(
            *words: str, fds: Sequence[int] = (), raw: bool = False, **variables: str
        ) -> Child:
            line = words if raw else (sys.executable, *command, *words)
            child = Child(line, cwd, fds, {**everywhere, **variables})
            stack.callback(child.close)
            return child

        yield start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `python -m aserve` in an empty directory: `start("app.py", "--port", "0")`.

    With `raw=True` the words are the whole command.
    """
    with starter(tmp_path) as function:
        yield function


@pytest.fixture(params=ON_LOOP)
def start_on_loop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """`start`, on the command's own loop, and on the one of a program that embeds the server."""
    with starter(tmp_path, ON_LOOP[request.param]) as function:
        yield function


@pytest.fixture(scope="session")
def chromium() -> str:
    """The command of a real browser; a machine without one fails."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    pytest.fail("no Chromium on PATH: install the package `chromium`; .ci/run does it")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium, driven by Playwright, for the tests of one module."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def curl() -> str:
    """The command of curl; a machine without it fails."""
    path = shutil.which("curl")
    if path is None:
        pytest.fail("no curl on PATH: install the package `curl`; .ci/run does it")
    return path
