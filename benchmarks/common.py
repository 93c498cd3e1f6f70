"""What every benchmark needs: free ports, child processes, and a line about the machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import platform
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).parents[1]
ENVIRONMENTS: Final = ROOT / "benchmarks" / ".envs"
RESULTS: Final = ROOT / "benchmarks" / "results"

# The slowest peer needs 0.3 s on an idle machine; the rest is patience with a busy one.
START_TIMEOUT: Final = 20.0
STOP_TIMEOUT: Final = 5.0


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message is one line for the user."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def machine() -> dict[str, str | int]:
    """Return what a reader needs to judge a figure: date, system, processors, Python."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.release()}",
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def answers(port: int, path: str = "/", *, tls: bool = False) -> bool:
    """Tell whether a GET on the port is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    if tls:
        # Nobody has signed the benchmark's certificate.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_for_answer(
    process: subprocess.Popen[bytes], port: int, *, pause: float = 0.02, tls: bool = False
) -> None:
    """Return when the server answers.

    Args:
        process: The server, which must not end meanwhile.
        port: Its port on 127.0.0.1.
        pause: Seconds between two tries.
        tls: Whether it speaks TLS.

    Raises:
        BenchmarkError: It ended, or did not answer within `START_TIMEOUT` seconds.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not answers(port, tls=tls):
        if process.poll() is not None:
            raise BenchmarkError(f"ended with status {process.returncode} before it answered")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"did not answer within {START_TIMEOUT:g} s")
        time.sleep(pause)


def _with_bytecode(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the switch that would have each start compile every module."""
    return {k: v for k, v in environment.items() if k != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def child(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: IO[bytes],
    *,
    session: bool = True,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own, and end the whole group on exit.

    Args:
        command: The program and its arguments; it runs in the root of the checkout.
        environment: Added to this process' environment.
        log: An open file for both of its output streams; the caller closes it.
        session: Whether the group has a session of its own, too.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=ROOT,
        env={**_with_bytecode(os.environ), **environment},
        start_new_session=session,
        process_group=None if session else 0,
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
