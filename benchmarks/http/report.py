"""Prints the results and keeps them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .. import common
from .goals import Measure, Verdict
from .run import Row
from .scenarios import Scenario

_REFERENCE = "aserve"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table(scenario: Scenario, rows: Sequence[Row]) -> str:
    """Return one scenario as a Markdown table, the fastest server first."""
    reference = next((row for row in rows if row.server == _REFERENCE), None)
    lines = [
        f"### {scenario.title}",
        "",
        f"| server | req/s | CPU us | switches | p50 ms | p99 ms | {_REFERENCE} is | failures |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: row.rate, reverse=True):
        ratio = f"{reference.rate / row.rate:.2f} x" if reference else "-"
        cells = (
            row.server,
            _number(row.rate),
            _number(row.cpu),
            f"{row.switches:.2f}",
            f"{row.p50 * 1000:.2f}",
            f"{row.p99 * 1000:.2f}",
            ratio,
            str(row.failures) if row.failures else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _goal(verdict: Verdict) -> str:
    goal = verdict.goal
    if not goal.rival:
        return f"<= {goal.bound:g} {goal.measure.value}"
    sign = ">=" if goal.measure is Measure.RATE else "<="
    place = f" in {goal.rival_scenario}" if goal.rival_scenario else ""
    return f"{sign} {goal.bound:g} {goal.measure.value} {goal.rival}{place}"


def _word(verdict: Verdict) -> str:
    if verdict.reached:
        return "reached"
    return "SHORT" if verdict.failed else "short, within tolerance"


def verdicts_table(verdicts: Sequence[Verdict]) -> str:
    """Return the goals and what was reached as a Markdown table."""
    lines = ["### Goals", "", "| scenario | goal | measured | verdict |"]
    lines.append("|---|---|---:|---|")
    for verdict in verdicts:
        goal = verdict.goal
        measured = f"{verdict.value:.2f}"
        if verdict.rival not in ("", goal.rival, goal.rival.partition(" ")[0]):
            measured += f" ({verdict.rival})"
        cells = (goal.scenario, _goal(verdict), measured, _word(verdict))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def save(
    rows: Mapping[tuple[str, str], Row], verdicts: Sequence[Verdict], about: Mapping[str, object]
) -> Path:
    """Write everything as JSON into `benchmarks/results/` and return the file."""
    common.RESULTS.mkdir(exist_ok=True)
    path = common.RESULTS / f"http-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    content = {
        "about": dict(about),
        "rows": [dataclasses.asdict(row) for row in rows.values()],
        "goals": [
            {
                "scenario": verdict.goal.scenario,
                "goal": _goal(verdict),
                "value": verdict.value,
                "score": verdict.score,
                "reached": verdict.reached,
            }
            for verdict in verdicts
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return path
