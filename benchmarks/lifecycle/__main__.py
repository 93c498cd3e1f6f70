"""From start to the first answer, and an idle stop, inside a process:
`python -m benchmarks.lifecycle [--rounds N] [--check]`.

All servers take turns, each in a process of its own that stays: so what is measured is what the
second and every further test of a run pays, without the imports. Medians are compared, because
the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from .. import common
from .candidates import CANDIDATES

_PEERS: Final = Path(__file__).with_name("peers.txt")
# Odd, so that the median is one of the measurements.
_ROUNDS: Final = 31

_ANSWER_GOAL_MS: Final = 10.0
_STOP_GOAL_MS: Final = 5.0


@dataclass
class Candidate:
    """A server, and what was measured of it, in milliseconds."""

    name: str
    process: subprocess.Popen[str]
    answers: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)

    def turn(self, *, counts: bool) -> None:
        """Have it start, answer and stop once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise common.BenchmarkError(f"{self.name} ended with {self.process.wait()}")
        if counts:
            answer, stop = (float(word) * 1000 for word in line.split())
            self.answers.append(answer)
            self.stops.append(stop)


def _python() -> str:
    """The interpreter of the peers' environment; made on first use."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = common.ENVIRONMENTS / f"lifecycle-{version}"
    python = folder / "bin" / "python"
    made_from = folder / "peers.txt"
    if made_from.is_file() and made_from.read_text("utf-8") == _PEERS.read_text("utf-8"):
        return str(python)
    print(f"making {folder} (once)", file=sys.stderr)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([*pip, "--requirement", str(_PEERS)], check=True)
    except subprocess.CalledProcessError as error:
        raise common.BenchmarkError(f"the peers could not be installed into {folder}") from error
    made_from.write_text(_PEERS.read_text("utf-8"), "utf-8")
    return str(python)


@contextlib.contextmanager
def _started(name: str, python: str) -> Iterator[Candidate]:
    process = subprocess.Popen(
        [python, "-m", "benchmarks.lifecycle.candidates", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=common.ROOT,
    )
    try:
        yield Candidate(name, process)
    finally:
        # The end of its input is its end; one that hangs is not waited for.
        with contextlib.suppress(BrokenPipeError):
            process.communicate(timeout=common.STOP_TIMEOUT)
        process.kill()


def _report(candidates: Sequence[Candidate]) -> bool:
    print("| server | to the first answer, ms | slowest | idle stop, ms | slowest |")
    print("|---|---:|---:|---:|---:|")
    for each in candidates:
        figures = (
            statistics.median(each.answers), max(each.answers),
            statistics.median(each.stops), max(each.stops),
        )  # fmt: skip
        print(f"| {each.name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    print("\n| goal | below | measured | verdict |\n|---|---:|---:|---|")
    reached = True
    for each in candidates:
        if not each.name.startswith("aserve"):
            continue
        for text, values, bound in (
            ("to the first answer", each.answers, _ANSWER_GOAL_MS),
            ("idle stop", each.stops, _STOP_GOAL_MS),
        ):
            value = statistics.median(values)
            reached &= value < bound
            verdict = "reached" if value < bound else "SHORT"
            print(f"| {each.name} {text}, ms | {bound:g} | {value:.2f} | {verdict} |")
    return reached


def _run(options: argparse.Namespace) -> int:
    python = _python()
    with contextlib.ExitStack() as stack:
        candidates = [stack.enter_context(_started(name, python)) for name in CANDIDATES]
        # The first round imports what the server needs.
        for number in range(options.rounds + 1):
            for each in candidates:
                each.turn(counts=number > 0)
    about = {**common.machine(), "rounds": options.rounds}
    print(", ".join(f"{name} {value}" for name, value in about.items()), "\n")
    reached = _report(candidates)
    common.RESULTS.mkdir(exist_ok=True)
    path = common.RESULTS / f"lifecycle-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    measured = {each.name: {"answers": each.answers, "stops": each.stops} for each in candidates}
    path.write_text(json.dumps({"about": about, "ms": measured}, indent=1) + "\n", "utf-8")
    print(f"\nsaved: {path.relative_to(common.ROOT)}")
    return 1 if options.check and not reached else 0


def main() -> int:
    """Run and return the exit status: 1 for a missed goal under `--check`, 2 for a bad start."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lifecycle", description="Servers that tests start and stop."
    )
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"turns each ({_ROUNDS})")
    parser.add_argument("--check", action="store_true", help="fail on a goal that is missed")
    try:
        return _run(parser.parse_args())
    except common.BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
