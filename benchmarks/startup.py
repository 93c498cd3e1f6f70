"""How long a start takes: `python -m benchmarks.startup [--check] [--rounds N] [--python PATH]`.

All candidates take turns in one run, and medians are compared, because the machine's speed
drifts. `import aserve` is compared with a bare interpreter, `aserve app:app` until its first
answer with `python -m http.server` and with waitress.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from . import common
from .http.servers import rivals_python

# Odd, so that the median is one of the measurements.
_ROUNDS: Final = 11
# Small beside a start of 80 ms, and long enough to leave the processor to the server.
_PAUSE: Final = 0.001
_APP: Final = "benchmarks.http.apps:hello"
_ENVIRONMENT: Final = {"PYTHONPATH": str(common.ROOT)}

_IMPORT_GOAL_MS: Final = 60.0
_ANSWER_GOAL: Final = 2.0


@dataclass(frozen=True, slots=True)
class Goal:
    """What was measured against what; reached below the bound."""

    text: str
    value: float
    bound: float

    @property
    def reached(self) -> bool:
        """Whether the value is below the bound."""
        return self.value < self.bound


def _time_program(python: str, program: str) -> float:
    started = time.perf_counter()
    subprocess.run([python, "-c", program], check=True, cwd=common.ROOT)
    return time.perf_counter() - started


def _time_server(arguments: Sequence[str]) -> float:
    port = common.free_port()
    command = [argument.format(port=port) for argument in arguments]
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        with common.child(command, _ENVIRONMENT, log) as process:
            try:
                common.wait_for_answer(process, port, pause=_PAUSE)
            except common.BenchmarkError as error:
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines() or [""]
                raise common.BenchmarkError(f"{' '.join(command)}: {error}: {lines[-1]}") from None
            return time.perf_counter() - started


def _candidates(python: str) -> dict[str, Callable[[], float]]:
    serve = {
        "http.server": [python, "-m", "http.server", "--bind", "127.0.0.1", "{port}"],
        "aserve app:app": [
            python, "-m", "aserve", "--host", "127.0.0.1", "--port", "{port}", _APP,
        ],
        "waitress": [rivals_python(), "-m", "waitress", "--listen", "127.0.0.1:{port}", _APP],
    }  # fmt: skip
    candidates: dict[str, Callable[[], float]] = {
        "python": lambda: _time_program(python, "pass"),
        "import aserve": lambda: _time_program(python, "import aserve"),
    }
    for name, arguments in serve.items():
        candidates[name] = lambda arguments=arguments: _time_server(arguments)  # type: ignore[misc]
    return candidates


def _goals(median: Mapping[str, float]) -> list[Goal]:
    more = (median["import aserve"] - median["python"]) * 1000
    ratio = median["aserve app:app"] / median["http.server"]
    return [
        Goal("`import aserve`, ms more than bare Python", more, _IMPORT_GOAL_MS),
        Goal("`aserve app:app` to first answer, x http.server", ratio, _ANSWER_GOAL),
    ]


def _report(times: Mapping[str, list[float]], goals: Sequence[Goal]) -> None:
    print("| start | median ms | fastest ms | slowest ms |\n|---|---:|---:|---:|")
    for name, values in times.items():
        figures = (statistics.median(values), min(values), max(values))
        print(f"| {name} | {' | '.join(f'{value * 1000:.0f}' for value in figures)} |")
    print("\n| goal | below | measured | verdict |\n|---|---:|---:|---|")
    for goal in goals:
        verdict = "reached" if goal.reached else "SHORT"
        print(f"| {goal.text} | {goal.bound:g} | {goal.value:.2f} | {verdict} |")


def _run(options: argparse.Namespace) -> int:
    candidates = _candidates(options.python)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    # The first round fills the caches of the file system and of compiled modules.
    for number in range(options.rounds + 1):
        for name, measure in candidates.items():
            seconds = measure()
            if number:
                times[name].append(seconds)
    goals = _goals({name: statistics.median(values) for name, values in times.items()})
    about = {**common.machine(), "rounds": options.rounds}
    print(", ".join(f"{name} {value}" for name, value in about.items()), "\n")
    _report(times, goals)
    common.RESULTS.mkdir(exist_ok=True)
    path = common.RESULTS / f"startup-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps({"about": about, "seconds": times}, indent=1) + "\n", "utf-8")
    print(f"\nsaved: {path.relative_to(common.ROOT)}")
    return 1 if options.check and not all(goal.reached for goal in goals) else 0


def main() -> int:
    """Run and return the exit status: 1 for a missed goal under `--check`, 2 for a bad start."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description="How long a start takes."
    )
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"turns each ({_ROUNDS})")
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
