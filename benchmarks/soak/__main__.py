"""Run the soak; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .. import common
from .kinds import KINDS
from .watched import Watched, serving

# What a program that leaks passes within minutes, and one that does not never comes near.
_GROWTH: Final = 16.0  # MiB
_P99: Final = 50.0  # ms

# The first part of the time, at most: everything is loaded, every kind of client has been there,
# and the allocator has what it wants to keep.
_WARM_UP: Final = 30.0  # seconds
_WARM_UP_SHARE: Final = 0.3

# A visit that has begun goes on to its end: a slow one, and one whose answer never comes.
_LAST_VISITS: Final = 60.0  # seconds


def _start(kind: str, servers: Sequence[Watched], seconds: float, seed: int) -> Any:
    ports = [word for one in servers for word in (f"--{one.name}", str(one.port))]
    return subprocess.Popen(
        [
            sys.executable, "-m", "benchmarks.soak.client", kind, *ports,
            "--seconds", str(seconds), "--seed", str(seed),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=common.ROOT,
        text=True,
    )  # fmt: skip


@contextlib.contextmanager
def _clients(
    servers: Sequence[Watched], seconds: float, seed: int
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each kind; none of them outlives the block."""
    processes = {kind: _start(kind, servers, seconds, seed) for kind in KINDS}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def _watch_memory(servers: Sequence[Watched], seconds: float) -> dict[str, tuple[float, float]]:
    """Memory behind the warm-up, and the most from there to the end of the load, in MiB."""
    time.sleep(min(_WARM_UP, _WARM_UP_SHARE * seconds))
    end = time.monotonic() + seconds - min(_WARM_UP, _WARM_UP_SHARE * seconds)
    warm = {one.name: one.state().memory for one in servers}
    most = dict(warm)
    while time.monotonic() < end and all(one.process.poll() is None for one in servers):
        time.sleep(min(0.5, max(0.0, end - time.monotonic())))
        for one in servers:
            most[one.name] = max(most[one.name], one.state().memory)
    return {name: (memory, most[name]) for name, memory in warm.items()}


def _quantile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000


def _report_clients(processes: dict[str, subprocess.Popen[str]], p99_bound: float) -> Iterator[str]:
    """Print a row for each kind; yields what was broken."""
    print("| clients | visits | timed answers | p50 ms | p99 ms | worst ms | broken |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind, process in processes.items():
        try:
            text, _ = process.communicate(timeout=_LAST_VISITS)
        except subprocess.TimeoutExpired:
            yield f"{kind}: clients still wait {_LAST_VISITS:g} s after the end"
            continue
        if process.returncode:
            yield f"{kind}: the clients failed with status {process.returncode}"
            continue
        found = json.loads(text)
        times = found["latencies"]
        row = [kind, f"{found['visits']:,}", f"{len(times):,}" if times else ""]
        row += [f"{_quantile(times, share):.1f}" if times else "" for share in (0.5, 0.99, 1)]
        print(f"| {' | '.join(row)} | {found['broken'] or ''} |", flush=True)
        for line in found["lines"]:
            yield f"{kind}: {line}"
        if times and (p99 := _quantile(times, 0.99)) > p99_bound:
            yield f"{kind}: p99 is {p99:.1f} ms, more than {p99_bound:g}"
        if not found["visits"]:
            yield f"{kind}: no visit took place"


def _report_servers(
    servers: Sequence[Watched], memory: dict[str, tuple[float, float]], *, threads: bool
) -> Iterator[str]:
    """Print a row for each server; yields what was broken."""
    print("\n| server | CPU s | MiB, warm | most | at rest | growth | descriptors | threads |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for one in servers:
        if one.process.poll() is not None:
            continue  # `end` tells of it
        left, cpu = one.come_to_rest(threads=threads), one.cpu()
        now, (warm, most) = one.state(), memory[one.name]
        growth = max(most, now.memory) - warm
        row = (
            f"| {one.name} | {cpu:.1f} | {warm:.1f} | {most:.1f} | {now.memory:.1f} | {growth:.1f} "
        )
        row += f"| {len(one.before.descriptors)}, {len(now.descriptors)} "
        print(f"{row}| {one.before.threads}, {now.threads} |", flush=True)
        for line in left:
            yield f"{one.name}: at rest again, it has {line}"
        if growth > _GROWTH:
            yield f"{one.name}: memory grew by {growth:.1f} MiB, more than {_GROWTH:g}"


def _run(options: argparse.Namespace) -> int:
    seconds = options.seconds or options.minutes * 60
    seed = random.randrange(1_000_000_000) if options.seed is None else options.seed
    about = {**common.machine(), "seconds": f"{seconds:g}", "seed": seed}
    print(", ".join(f"{name} {value}" for name, value in about.items()), "\n", flush=True)
    broken: list[str] = []
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(serving(name, uvloop=options.uvloop)) for name in ("http", "https")
        ]
        with _clients(servers, seconds, seed) as processes:
            memory = _watch_memory(servers, seconds)
            broken += _report_clients(processes, options.p99)
        broken += _report_servers(servers, memory, threads=not options.hasty)
        for one in servers:
            broken += [f"{one.name}: {line}" for line in one.end()]
    print()
    for line in broken:
        print(f"BROKEN {line}")
    print(f"{len(broken)} promises broken" if broken else "every promise was kept")
    return int(bool(broken))


def main() -> int:
    """Run and return the exit status: 1 for a broken promise, 2 for a bad start."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="Good and bad clients against one server, for minutes.",
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (5)")
    parser.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--seed", type=int, help="of what the clients do; printed (random)")
    parser.add_argument("--p99", type=float, default=_P99, help=f"bound in ms ({_P99:g})")
    parser.add_argument("--uvloop", action="store_true", help="serve on a loop of uvloop's")
    parser.add_argument("--hasty", action="store_true", help="do not wait for idle threads")
    try:
        return _run(parser.parse_args())
    except common.BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
