"""Run the fences of a page, one after the other, in a directory of their own.

What a reader has is there: `aserve`, `python` and `pytest` as commands, an empty directory, and
a terminal. Ports of the pages become free ports of this machine, so that two runs never meet.
"""

from __future__ import annotations

import importlib.metadata
import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import aserve

from .snippets import Fence, Step, matches, pattern_of, steps_of

__all__ = ["Playground"]

# Where the tested package is: site-packages, or the checkout.
_LOCATION: Final = Path(aserve.__file__).parents[1]
# Without an installation, e.g. with PYTHONPATH alone, pytest does not find it by itself.
_IS_REGISTERED: Final = bool(importlib.metadata.entry_points(group="pytest11", name="aserve"))
_PLUGIN: Final = "" if _IS_REGISTERED else "-p aserve.pytest_plugin"
_COMMANDS: Final = {
    # What the console script does; `-P` keeps the current directory off the path, as there.
    "aserve": "-P -c 'from aserve.__main__ import main; main()'",
    "python": "",
    "python3": "",
    # A page's tests run by themselves, with none of this project's settings, and with no other
    # plugins than the page speaks of.
    "pytest": f"-m pytest -c /dev/null --rootdir=. -p no:cacheprovider -p no:asyncio {_PLUGIN}",
}
_PER_SHELL: Final = ("NO_COLOR", "FORCE_COLOR", "DJANGO_SETTINGS_MODULE", "BROWSER", "FLASK_APP")
_PORTS: Final = re.compile(r"\b(?:8000|8001|9000)\b")
# Printed behind each command, with its exit status: no program prints this character.
_MARK: Final = "\x1e"
# Seconds without a character before a claim counts as wrong; a healthy server needs none of them.
_PATIENCE: Final = 20.0


class Background:
    """A command that keeps running, in a terminal of its own."""

    def __init__(self, command: str, cwd: Path, environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.command = command
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=cwd,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._raw = b""
        self._output = ""
        self._used = 0  # how much of the output was waited for already

    def wait_for(self, expected: str) -> None:
        """Read until the expected lines have appeared; they are then used up."""
        pattern = re.compile("^" + pattern_of(expected), re.MULTILINE)
        while not (found := pattern.search(self._output, self._used)):
            told = f"\n{expected}\nIt printed:\n{self._output}"
            # Polled for, because a server that prints something else does not end by itself.
            if not select.select([self._ours], [], [], _PATIENCE)[0]:
                pytest.fail(f"`{self.command}` did not print{told}", pytrace=False)
            if not self._read():
                pytest.fail(f"`{self.command}` ended before it printed{told}", pytrace=False)
        self._used = found.end()

    def end(self, number: int | None = None) -> str:
        """Send it a signal, or wait for it; return what it prints until its end."""
        if number is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)
        while self._read():
            pass
        status = self.process.wait()
        assert status == 0, f"`{self.command}` ended with {status}:\n{self._output}"
        return self._output[self._used :]

    def close(self) -> None:
        """Make sure that nothing is left."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux: the other end of a pseudo-terminal is gone
            return False
        self._raw += data
        # The whole, because a read may end between the two characters of a line's end. The client
        # may choose either loopback address, and the pages show one of them.
        text = self._raw.decode(errors="replace").replace("\r\n", "\n")
        self._output = re.sub(r"^::1 \[", "127.0.0.1 [", text, flags=re.MULTILINE)
        return bool(data)


class Playground:
    """Runs fences.

    Args:
        directory: An empty directory; the page's files and commands live in it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "page"
        self.directory.mkdir()
        self._cwd_file = directory / "cwd"
        commands = directory / "bin"
        commands.mkdir()
        for name, words in _COMMANDS.items():
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
            script.chmod(0o755)
        # On a terminal curl shows no progress of an answer that it prints there; here it would.
        (directory / ".curlrc").write_text("no-progress-meter\n")
        # A user without certificates, who keeps things where everybody does.
        home = directory / "home"
        home.mkdir()
        self.environment = {
            **_environment(commands),
            "CURL_HOME": str(directory),
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / ".local" / "share"),
            "XDG_STATE_HOME": str(home / ".local" / "state"),
        }
        self._ports: dict[str, str] = {}
        self._background: list[Background] = []
        self._stdout = ""

    def run(self, fence: Fence) -> None:
        """Do what the fence says; fails the test when it turns out otherwise."""
        text = _PORTS.sub(self._port, fence.text)
        if fence.is_file:
            path = self.directory / fence.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        actions: dict[tuple[str, str], Callable[[Fence, str], None]] = {
            ("python", ""): self._run_script,
            ("console", ""): self._run_commands,
            ("console", "background"): self._start,
            ("text", "output"): self._check_output,
            ("text", "log"): self._check_log,
            ("text", "ended"): self._check_end,
        }
        action = actions.get((fence.language, fence.argument))
        assert action is not None, f"{fence}: {fence.language} {fence.argument}: what is that?"
        action(fence, text)

    def finish(self) -> None:
        """Stop what still runs, as a person would; it has to end well."""
        for background in self._background:
            background.end(signal.SIGTERM)

    def close(self) -> None:
        """Make sure that nothing is left, whatever happened."""
        for background in self._background:
            background.close()

    def _run_script(self, fence: Fence, text: str) -> None:
        # As many lines above it as in the page, so that tracebacks name the page's lines.
        script = self.directory / f".{fence.page.stem}.py"
        script.write_text("\n" * (fence.line - 1) + text, encoding="utf-8")
        done = subprocess.run(
            ["python", script.name],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        script.unlink()
        self._stdout = done.stdout
        assert done.returncode == 0, f"{fence}: exit status {done.returncode}\n{done.stderr}"

    def _check_output(self, fence: Fence, text: str) -> None:
        assert matches(text, self._stdout), f"{fence}: the script printed\n{self._stdout}"

    def _check_log(self, fence: Fence, text: str) -> None:
        self._background[-1].wait_for(text)

    def _check_end(self, fence: Fence, text: str) -> None:
        output = self._end_last()
        assert matches(text, output), f"{fence}: it printed\n{output}"

    def _end_last(self, number: int | None = None) -> str:
        output = self._background[-1].end(number)
        self._background.pop().close()
        return output

    def _start(self, fence: Fence, text: str) -> None:
        (step,) = steps_of(text)
        environment = self.environment
        if "8000" in fence.text and "8000" not in steps_of(fence.text)[0].command:
            # The default port: nobody asked for it, so it is not in the command.
            environment = {**environment, "ASERVE_PORT": self._ports["8000"]}
        background = Background(step.command, self.directory, environment)
        self._background.append(background)
        background.wait_for(step.expected)

    def _run_commands(self, fence: Fence, text: str) -> None:
        steps: list[Step] = []
        for step in steps_of(text):
            if step.command != "^C":
                steps.append(step)
                continue
            self._run_steps(fence, steps)
            steps = []
            output = self._end_last(signal.SIGINT)
            assert matches(step.expected or "...\n", output), f"{fence}: ^C printed\n{output}"
        self._run_steps(fence, steps)

    def _run_steps(self, fence: Fence, steps: list[Step]) -> None:
        if not steps:
            return
        lines = [f"trap 'pwd >{shlex.quote(str(self._cwd_file))}' EXIT"]
        for step in steps:
            # The status is printed and put back, for the next command may ask for it.
            lines += [
                _away_from_default_port(step.command),
                f"_status=$?; printf '{_MARK}%d\\n' $_status; (exit $_status)",
            ]
        done = subprocess.run(
            ["bash", "-c", "\n".join([*lines, "true"])],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.directory = Path(self._cwd_file.read_text().rstrip("\n"))
        found = re.findall(rf"(.*?){_MARK}(\d+)\n", done.stdout, re.DOTALL)
        assert len(found) == len(steps), f"{fence}: ended early:\n{done.stdout}"
        following = [*(step.command for step in steps[1:]), ""]
        for step, (output, status), after in zip(steps, found, following, strict=True):
            told = f"{fence}: `{step.command}` printed\n{output}\nand ended with {status}"
            # A page that shows a failure shows its exit status, too.
            assert status == "0" or after == "echo $?", told
            assert not step.expected or matches(step.expected, output), told

    def _port(self, match: re.Match[str]) -> str:
        if match[0] not in self._ports:
            self._ports[match[0]] = _free_port(set(self._ports.values()))
        return self._ports[match[0]]


def _environment(commands: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _PER_SHELL and not name.startswith(("ASERVE_", "PYTEST_"))
    }
    pythonpath = os.pathsep.join([str(_LOCATION), *filter(None, [kept.get("PYTHONPATH")])])
    return {
        **kept,
        "PATH": f"{commands}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": pythonpath,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        # What a page shows has no colours, and does not depend on this machine's settings.
        "NO_COLOR": "1",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }


def _away_from_default_port(command: str) -> str:
    """A free port for what would serve on the default one, which may be busy here."""
    is_serving = re.match(r"aserve(?:$| (?!config|-))", command) is not None
    return f"ASERVE_PORT=0 {command}" if is_serving else command


def _free_port(taken: set[str]) -> str:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = str(probe.getsockname()[1])
        if port not in taken:
            return port
