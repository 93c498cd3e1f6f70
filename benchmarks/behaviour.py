"""What a rate does not show: `python -m benchmarks.behaviour [--check] [--seconds N]`.

How aserve behaves with slow applications, slow and silent clients, and clients that leave; what
it holds in memory; and how often a small request makes threads change. Only aserve is measured,
except where the goal is a comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import common
from .http import wrk
from .http.apps import SLEEP
from .http.scenarios import Scenario
from .http.servers import rivals_python

_APPS: Final = "benchmarks.http.apps"
_THREADS: Final = 40  # the default of `--threads`
_REQUEST: Final = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured against what.

    Args:
        text: What it is.
        value: The figure; None when it could not be measured here.
        bound: The goal.
        at_most: Whether the goal is an upper bound.
    """

    text: str
    value: float | None
    bound: float
    at_most: bool = True

    @property
    def verdict(self) -> str:
        """reached, SHORT, or why there is none."""
        if self.value is None:
            return "not measured"
        reached = self.value <= self.bound if self.at_most else self.value >= self.bound
        return "reached" if reached else "SHORT"


@dataclass(frozen=True, slots=True)
class _Server:
    pid: int
    port: int
    log: Path

    def memory(self) -> float:
        """Resident memory in MiB."""
        text = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(found[1]) / 1024 if found else 0.0

    def switches(self) -> int:
        """Voluntary context switches of all threads so far."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                text = (task / "status").read_text("utf-8")
                found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)
                total += int(found[1]) if found else 0
        return total

    def connect(self, path: bytes = b"") -> socket.socket:
        """A connection; with a path, one on which a first answer was read."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        if path:
            sock.sendall(_REQUEST % path)
            sock.recv(65_536)
        return sock


@contextlib.contextmanager
def _serving(command: list[str], **environment: str) -> Iterator[_Server]:
    port = common.free_port()
    with tempfile.NamedTemporaryFile() as log:
        filled = [word.format(port=port) for word in command]
        variables = {"PYTHONPATH": str(common.ROOT), **environment}
        with common.child(filled, variables, log.file) as process:
            common.wait_for_answer(process, port)
            yield _Server(process.pid, port, Path(log.name))


def _aserve(python: str, app: str) -> list[str]:
    return [
        python, "-m", "aserve", "--host", "127.0.0.1", "--port", "{port}", "--no-access-log",
        f"{_APPS}:{app}",
    ]  # fmt: skip


def _load(server: _Server, seconds: float, connections: int = 32) -> wrk.Load:
    return wrk.run(Scenario("", "", connections=connections), server.port, seconds)


def _slow_application(python: str, seconds: float) -> list[Finding]:
    with _serving(_aserve(python, "slow")) as server:
        _load(server, 1, 256)
        time.sleep(1)  # what that left in the queue
        load = _load(server, max(seconds, 3), 256)
    most = _THREADS / SLEEP
    text = "app that sleeps 50 ms, 256 connections: share of threads / 0.05 s"
    return [Finding(text, load.rate / most, 0.95, at_most=False)]


def _fast_beside_slow(python: str, seconds: float) -> list[Finding]:
    def ask(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while not stop.is_set():
                sock.sendall(_REQUEST % b"/slow")
                sock.recv(65_536)

    stop = threading.Event()
    with _serving(_aserve(python, "mixed")) as server:
        clients = [threading.Thread(target=ask, args=(server.connect(),)) for _ in range(20)]
        for client in clients:
            client.start()
        _load(server, 1, 4)
        load = _load(server, seconds, 4)
        stop.set()
        for client in clients:
            client.join()
    return [Finding("fast route beside 20 requests that sleep: p99 in ms", load.p99 * 1e3, 5)]


def _dribbling(python: str, seconds: float) -> list[Finding]:
    """Turn by turn, because the machine drifts."""

    def dribble(socks: list[socket.socket]) -> None:
        head = (_REQUEST % b"/")[:-2] + b"X-Slow: " + b"x" * 10_000
        for position in range(len(head)):
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(head[position : position + 1])
            if stop.wait(0.02):
                return

    ratios = []
    with _serving(_aserve(python, "hello")) as server:
        _load(server, 1)
        for _ in range(3):
            undisturbed = _load(server, seconds)
            stop = threading.Event()
            socks = [server.connect() for _ in range(50)]
            thread = threading.Thread(target=dribble, args=(socks,))
            thread.start()
            disturbed = _load(server, seconds)
            stop.set()
            thread.join()
            for sock in socks:
                sock.close()
            ratios.append(disturbed.rate / undisturbed.rate)
    text = "50 clients that dribble their heads: share of the undisturbed rate"
    return [Finding(text, statistics.median(ratios), 0.85, at_most=False)]


def _idle_connections(python: str, _: float) -> list[Finding]:
    with _serving(_aserve(python, "hello")) as server, contextlib.ExitStack() as stack:
        _load(server, 1)
        before = server.memory()
        for _number in range(1000):
            stack.enter_context(server.connect(b"/"))
        growth = server.memory() - before
    return [Finding("1,000 idle keep-alive connections: growth in MiB", growth, 5)]


def _resets(python: str, _: float) -> list[Finding]:
    times = []
    with (
        tempfile.NamedTemporaryFile() as notes,
        _serving(_aserve(python, "endless"), BENCHMARK_FILE=notes.name) as server,
    ):
        noise = server.log.stat().st_size
        for number in range(20):
            sock = server.connect(b"/endless")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            left = time.monotonic()
            sock.close()
            while len(lines := Path(notes.name).read_text("utf-8").splitlines()) <= number:
                time.sleep(0.001)
                if time.monotonic() - left > 10:
                    raise common.BenchmarkError("close() was not called within 10 s")
            times.append((float(lines[number]) - left) * 1000)
        noise = server.log.stat().st_size - noise
    return [
        Finding("client resets in mid-stream: worst time to close() in ms", max(times), 50),
        Finding("bytes logged about 20 resets", noise, 0),
    ]


def _memory_at_rest(python: str, _: float) -> list[Finding]:
    with _serving(_aserve(python, "hello")) as server:
        ours = server.memory()
    peer = [rivals_python(), "-m", "benchmarks.http.launch", "werkzeug", f"{_APPS}:hello"]
    with _serving([*peer, "{port}"]) as server:
        theirs = server.memory()
    return [Finding("memory after the first answer, x werkzeug's", ours / theirs, 1.5)]


def _changes_of_threads(python: str, seconds: float) -> list[Finding]:
    with _serving(_aserve(python, "hello")) as server:
        _load(server, 1)
        before = server.switches()
        load = _load(server, seconds)
        switches = (server.switches() - before) / load.requests
        futexes = _count_futexes(server, seconds)
    return [
        Finding("voluntary context switches per hello request, 32 connections", switches, 0.5),
        Finding("futex calls per hello request, 32 connections", futexes, 0.5),
    ]


def _count_futexes(server: _Server, seconds: float) -> float | None:
    perf = shutil.which("perf")
    if perf is None:
        return None
    command = [perf, "stat", "-x", ",", "-e", "syscalls:sys_enter_futex", "-p", str(server.pid)]
    counter = subprocess.Popen(
        [*command, "--", "sleep", str(seconds + 3)], stderr=subprocess.PIPE, text=True
    )
    time.sleep(0.5)  # perf attaches
    load = _load(server, seconds)
    _, text = counter.communicate()
    count = text.partition(",")[0]
    return int(count) / load.requests if count.isdecimal() else None


_MEASURES: Final[tuple[Callable[[str, float], list[Finding]], ...]] = (
    _slow_application,
    _fast_beside_slow,
    _dribbling,
    _idle_connections,
    _resets,
    _memory_at_rest,
    _changes_of_threads,
)


def _run(options: argparse.Namespace) -> int:
    wrk.find()
    about = {**common.machine(), "seconds": options.seconds}
    print(", ".join(f"{name} {value}" for name, value in about.items()), "\n")
    print("| what | goal | measured | verdict |\n|---|---:|---:|---|")
    findings: list[Finding] = []
    for measure in _MEASURES:
        for finding in measure(options.python, options.seconds):
            findings.append(finding)
            sign = "<=" if finding.at_most else ">="
            value = "" if finding.value is None else f"{finding.value:.3g}"
            row = (finding.text, f"{sign} {finding.bound:g}", value, finding.verdict)
            print(f"| {' | '.join(row)} |", flush=True)
    common.RESULTS.mkdir(exist_ok=True)
    path = common.RESULTS / f"behaviour-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    values = {finding.text: finding.value for finding in findings}
    path.write_text(json.dumps({"about": about, "values": values}, indent=1) + "\n", "utf-8")
    print(f"\nsaved: {path.relative_to(common.ROOT)}")
    return int(options.check and any(finding.verdict == "SHORT" for finding in findings))


def main() -> int:
    """Run and return the exit status: 1 for a missed goal under `--check`, 2 for a bad start."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.behaviour", description="What a rate does not show."
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load (2)")
    parser.add_argument("--check", action="store_true", help="fail on a goal that is missed")
    parser.add_argument("--python", default=sys.executable, help="the interpreter with aserve")
    try:
        return _run(parser.parse_args())
    except common.BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
