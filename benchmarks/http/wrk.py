"""Drives `wrk` and reads what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..common import BenchmarkError
from .scenarios import Scenario

_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the client.

    Args:
        rate: Answered requests per second.
        requests: How many were answered.
        p50: Median time of an answer, in seconds.
        p99: 99 of 100 answers took no longer, in seconds.
        failures: Socket errors, time-outs and answers that are neither 2xx nor 3xx.
    """

    rate: float
    requests: int
    p50: float
    p99: float
    failures: int


def find() -> str:
    """Return the path of wrk.

    Raises:
        BenchmarkError: It is not installed.
    """
    if path := shutil.which("wrk"):
        return path
    raise BenchmarkError("wrk is not installed; on Debian: apt-get install wrk")


def run(scenario: Scenario, port: int, seconds: float) -> Load:
    """Put the scenario's load on a server for some seconds.

    Raises:
        BenchmarkError: wrk failed, or no request at all was answered.
    """
    command = [find(), "--threads", "1", "--connections", str(scenario.connections)]
    # wrk takes whole seconds only.
    command += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["--script", str(_SCRIPT)]
    for name, value in scenario.headers:
        command += ["--header", f"{name}: {value}"]
    command += [
        f"{'https' if scenario.tls else 'http'}://127.0.0.1:{port}/",
        "--",
        scenario.method,
        str(scenario.body),
    ]
    own_session = not scenario.in_one_session
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, start_new_session=own_session
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode or line is None:
        raise BenchmarkError(f"wrk failed: {(done.stderr or done.stdout).strip()[-200:]}")
    result = json.loads(line.removeprefix("RESULT "))
    if not result["requests"]:
        raise BenchmarkError("no request was answered")
    return Load(
        rate=result["requests"] / result["seconds"],
        requests=result["requests"],
        p50=result["p50"],
        p99=result["p99"],
        failures=sum(result[name] for name in ("connect", "read", "write", "status", "timeout")),
    )
