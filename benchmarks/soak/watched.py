"""A server of the soak, and what Linux tells of its process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import common

__all__ = ["State", "Watched", "serving"]

# The command as a program with uvloop's loop would run it.
_ON_UVLOOP: Final = common.ROOT / "tests" / "e2e" / "on_uvloop.py"

# Behind the pool's 10 s until an idle thread leaves, and the 5 s for which a server listens to
# somebody whom it has refused.
_BACK_SECONDS: Final = 25.0

# A drain waits for 5 s at most, unless the machine does.
_STOP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class State:
    """What a process holds.

    Args:
        descriptors: What is open, without the names that change.
        threads: How many there are.
        memory: Resident, in MiB.
    """

    descriptors: tuple[str, ...]
    threads: int
    memory: float


class Watched:
    """A running server.

    Args:
        name: "http" or "https".
        process: Its process.
        port: Its port on 127.0.0.1.
        log: Where its output goes.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.before = self.state()
        self._log = log

    def state(self) -> State:
        """What it holds now."""
        folder = Path(f"/proc/{self.process.pid}")
        found = []
        for link in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.append(re.sub(r"\d+", "N", str(link.readlink())))
        text = (folder / "status").read_text("utf-8")
        figures = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", text, re.MULTILINE))
        memory = int(figures["VmRSS"]) / 1024
        return State(tuple(sorted(found)), int(figures["Threads"]), memory)

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = (
            Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def come_to_rest(self, *, threads: bool) -> list[str]:
        """Wait until it holds no more than before; returns what it still has.

        Args:
            threads: Wait for idle threads, too.
        """
        deadline = time.monotonic() + _BACK_SECONDS
        while (left := self._left(threads)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def _left(self, threads: bool) -> list[str]:
        now, left = self.state(), []
        if len(now.descriptors) != len(self.before.descriptors):
            more = list(now.descriptors)
            for one in self.before.descriptors:
                if one in more:
                    more.remove(one)
            left.append(
                f"{len(now.descriptors)} descriptors instead of {len(self.before.descriptors)}"
                f", among them {more[:5]}"
            )
        if threads and now.threads > self.before.threads:
            left.append(f"{now.threads} threads instead of {self.before.threads}")
        return left

    def end(self) -> list[str]:
        """Stop it as a shell does; returns what is wrong with its end, or with what it has said."""
        wrong = []
        if (status := self.process.poll()) is not None:
            wrong.append(f"had ended with status {status}")
        else:
            self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                wrong.append(f"still there {_STOP_SECONDS:g} s after SIGTERM")
            else:
                if status:
                    wrong.append(f"ended with status {status}")
        said = self._log.read_text("utf-8", errors="replace")
        for mark in ("Traceback", "Exception", "failed outside", "never retrieved", "Warning:"):
            if mark in said:
                place = said.index(mark)
                wrong.append(f"said {mark!r}: ...{said[max(0, place - 300) : place + 1500]}")
                break
        return wrong


@contextlib.contextmanager
def serving(name: str, *, uvloop: bool = False) -> Iterator[Watched]:
    """Run a server with the soak's app.

    Args:
        name: "http" or "https".
        uvloop: Have it live on the loop of a program that embeds it.
    """
    port = common.free_port()
    program = [str(_ON_UVLOOP)] if uvloop else ["-m", "aserve"]
    command = [
        sys.executable, *program, "--host", "127.0.0.1", "--port", str(port), "--no-reload",
        "--no-access-log", *(["--ssl", "adhoc"] if name == "https" else []),
        "benchmarks.soak.app:app",
    ]  # fmt: skip
    with tempfile.NamedTemporaryFile() as log:
        variables = {"PYTHONPATH": str(common.ROOT), "PYTHONWARNINGS": "default"}
        with common.child(command, variables, log.file) as process:
            _wait_for_ready(process, Path(log.name))
            yield Watched(name, process, port, Path(log.name))


def _wait_for_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """By its banner: an answer would leave a thread, which the end is compared with."""
    deadline = time.monotonic() + common.START_TIMEOUT
    while b"ready in" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise common.BenchmarkError(f"the server did not start: {log.read_text('utf-8')}")
        time.sleep(0.02)
