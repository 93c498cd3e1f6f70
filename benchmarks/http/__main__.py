"""The command `python -m benchmarks.http`; see `--help` and benchmarks/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from .. import common
from . import picture, report, servers, wrk
from .goals import Verdict, judge
from .run import Plan, Row, measure
from .scenarios import SCENARIOS, Scenario
from .servers import SERVERS, Server

# Medians of five turns; two seconds outlast the 10 ms ticks of CPU accounting.
_ROUNDS, _SECONDS = 5, 2.0
# For a look, not for a claim: the hello world of goal number one in about a minute.
_QUICK_ROUNDS, _QUICK_SECONDS = 3, 1.0
_QUICK_SCENARIOS = ("hello-c32",)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.http",
        description="Compare aserve with other servers, turn by turn in one run.",
    )
    scenarios = ", ".join(scenario.name for scenario in SCENARIOS)
    names = ", ".join(server.name for server in SERVERS)
    parser.add_argument(
        "--scenario", action="append", metavar="NAME", help=f"one of {scenarios}; may be repeated"
    )
    parser.add_argument(
        "--server", action="append", metavar="NAME", help=f"one of {names}; may be repeated"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"turns each ({_ROUNDS})")
    parser.add_argument("--seconds", type=float, metavar="S", help=f"of a turn ({_SECONDS:g})")
    parser.add_argument("--quick", action="store_true", help="hello only, three short turns")
    parser.add_argument("--check", action="store_true", help="fail on a goal that is missed")
    parser.add_argument("--python", default=sys.executable, help="the interpreter with aserve")
    return parser


def _pick(kind: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            raise common.BenchmarkError(f"--{kind}: {name!r} is not one of {', '.join(known)}")


def _choose(options: argparse.Namespace) -> tuple[list[Scenario], list[Server]]:
    wanted = options.scenario or (_QUICK_SCENARIOS if options.quick else None)
    _pick("scenario", wanted or (), [scenario.name for scenario in SCENARIOS])
    _pick("server", options.server or (), [server.name for server in SERVERS])
    return (
        [scenario for scenario in SCENARIOS if not wanted or scenario.name in wanted],
        [server for server in SERVERS if not options.server or server.name in options.server],
    )


def _problems(
    rows: Mapping[tuple[str, str], Row], verdicts: Sequence[Verdict], scenarios: Sequence[str]
) -> list[str]:
    """Return why `--check` has to fail: a missed goal, and also a row that proves nothing."""
    missed = [
        f"{verdict.goal.scenario}: {verdict.value:.2f} {verdict.goal.measure.value} "
        f"{verdict.goal.rival}, the goal is {verdict.goal.bound:g}"
        for verdict in verdicts
        if verdict.failed
    ]
    absent = [
        f"{scenario}: aserve was not measured"
        for scenario in scenarios
        if (scenario, "aserve") not in rows
    ]
    broken = [
        f"{row.scenario}: {row.failures} requests to {row.server} failed"
        for row in rows.values()
        if row.failures and row.server.startswith("aserve")
    ]
    return missed + absent + broken


def _run(options: argparse.Namespace) -> int:
    scenarios, chosen = _choose(options)
    wrk.find()
    plan = Plan(
        aserve_python=options.python,
        rivals_python=servers.rivals_python(),
        rounds=options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS),
        seconds=options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS),
    )
    about = {
        **common.machine(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "rivals": servers.rival_versions(),
    }
    print(", ".join(f"{name} {value}" for name, value in about.items() if name != "rivals"), "\n")
    rows: dict[tuple[str, str], Row] = {}
    for scenario in scenarios:
        measured = measure(scenario, chosen, plan)
        rows |= {(row.scenario, row.server): row for row in measured}
        print(report.table(scenario, measured), flush=True)
    verdicts = judge(rows)
    if verdicts:
        print(report.verdicts_table(verdicts))
    saved = report.save(rows, verdicts, about)
    print(f"saved: {saved.relative_to(common.ROOT)}")
    if picture.draw(rows, saved.with_suffix(".svg")):
        print(f"saved: {saved.with_suffix('.svg').relative_to(common.ROOT)}")
    problems = _problems(rows, verdicts, [scenario.name for scenario in scenarios])
    if not options.check or not problems:
        return 0
    print("\n".join(f"check: {problem}" for problem in problems), file=sys.stderr)
    return 1


def main() -> int:
    """Run and return the exit status: 1 for a failed `--check`, 2 when nothing could be run."""
    try:
        return _run(_parser().parse_args())
    except common.BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
