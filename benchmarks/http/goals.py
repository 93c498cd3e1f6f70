"""What aserve has to reach, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from .run import Row
from .servers import SERVERS

# Two runs on a busy machine differ by less than this.
TOLERANCE: Final = 0.10

_ASERVE: Final = "aserve"
# Its configuration by default; "granian" is the better one of its two.
_GRANIAN: Final = "granian by default"
# Stands for the fastest family whose engine is written in Python.
_PYTHON: Final = "best Python-written"


class Measure(Enum):
    """What a goal compares."""

    RATE = "x the rate of"
    CPU = "x the CPU per request of"
    P99 = "x the p99 of"
    P50 = "ms median"
    SWITCHES = "changes of threads per request"


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table.

    Args:
        scenario: Where it is measured.
        rival: The family to compare with; the best of its configurations counts. Empty for
            an absolute goal.
        bound: At least for a rate, at most for everything else.
        measure: What is compared.
        rival_scenario: Where the rival is measured, if elsewhere.
    """

    scenario: str
    rival: str
    bound: float
    measure: Measure = Measure.RATE
    rival_scenario: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what was reached.

    Args:
        goal: The goal.
        rival: The configuration that it was compared with.
        value: In the goal's measure.
        score: 1.0 is the goal itself, more is better.
    """

    goal: Goal
    rival: str
    value: float
    score: float

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.score >= 1

    @property
    def failed(self) -> bool:
        """Whether `--check` has to fail: short beyond the tolerance."""
        return self.score < 1 - TOLERANCE


GOALS: Final = (
    Goal("hello-c1", _GRANIAN, 0.9),
    Goal("hello-c1", _GRANIAN, 1.1, Measure.CPU),
    Goal("hello-c1", "waitress", 1.5),
    # Nagle's algorithm and delayed acknowledgements together would show as 40 ms.
    Goal("hello-c1", "", 0.1, Measure.P50),
    Goal("hello-c32", _GRANIAN, 1.05),
    Goal("hello-c32", _GRANIAN, 0.7, Measure.CPU),
    Goal("hello-c32", "granian", 0.75),
    Goal("hello-c32", "waitress", 6),
    Goal("hello-c32", "werkzeug", 15),
    Goal("hello-c32", "", 0.3, Measure.SWITCHES),
    Goal("hello-c256", _GRANIAN, 1.1),
    Goal("hello-c256", _GRANIAN, 0.75, Measure.CPU),
    Goal("browser", _GRANIAN, 1.1),
    Goal("browser", _GRANIAN, 0.6, Measure.CPU),
    Goal("new-connection", _GRANIAN, 0.9),
    Goal("new-connection", _GRANIAN, 1.1, Measure.CPU),
    Goal("new-connection", "waitress", 3),
    Goal("flask", _GRANIAN, 1.3),
    Goal("flask", _GRANIAN, 0.7, Measure.CPU),
    Goal("flask", _GRANIAN, 1.0, Measure.P99),
    Goal("log", _GRANIAN, 1.5),
    Goal("log", _ASERVE, 0.75, rival_scenario="hello-c32"),
    Goal("echo", _GRANIAN, 0.7),
    Goal("echo", _GRANIAN, 1.0, Measure.CPU),
    Goal("echo", _PYTHON, 3),
    Goal("upload", _GRANIAN, 1.0),
    Goal("upload", _GRANIAN, 0.8, Measure.CPU),
    Goal("upload", _PYTHON, 5),
    Goal("upload", "", 6, Measure.SWITCHES),
    Goal("upload-4m", _GRANIAN, 0.4),
    Goal("stream", _GRANIAN, 2.0),
    Goal("file", "gunicorn", 0.9),
    Goal("tls", _GRANIAN, 0.8),
    Goal("tls", _PYTHON, 5),
    Goal("tls-connection", _GRANIAN, 0.6),
    Goal("tls-connection", _PYTHON, 3),
)

_BY_NAME: Final = {server.name: server for server in SERVERS}


def _matches(goal: Goal, server: str) -> bool:
    if goal.rival == _PYTHON:
        return _BY_NAME[server].in_python and _BY_NAME[server].family != "aserve"
    if goal.rival == _GRANIAN:
        return server == "granian"
    return _BY_NAME[server].family == goal.rival


def _figure(row: Row, measure: Measure) -> float:
    match measure:
        case Measure.RATE:
            return row.rate
        case Measure.CPU:
            return row.cpu
        case Measure.P99:
            return row.p99
        case Measure.P50:
            return row.p50 * 1000
        case Measure.SWITCHES:
            return row.switches


def _judge(goal: Goal, subject: Row, rivals: list[Row]) -> Verdict | None:
    value = _figure(subject, goal.measure)
    name = ""
    if goal.rival:
        if not rivals:
            return None
        best = max if goal.measure is Measure.RATE else min
        rival = best(rivals, key=lambda row: _figure(row, goal.measure))
        value, name = value / _figure(rival, goal.measure), rival.server
    is_rate = goal.measure is Measure.RATE
    return Verdict(goal, name, value, value / goal.bound if is_rate else goal.bound / value)


def judge(rows: Mapping[tuple[str, str], Row]) -> list[Verdict]:
    """Compare with every goal whose servers and scenarios were measured.

    Args:
        rows: The results by scenario and server.
    """
    verdicts = []
    for goal in GOALS:
        subject = rows.get((goal.scenario, _ASERVE))
        place = goal.rival_scenario or goal.scenario
        rivals = [
            row
            for (scenario, server), row in rows.items()
            if scenario == place and _matches(goal, server)
        ]
        if subject and (verdict := _judge(goal, subject, rivals)):
            verdicts.append(verdict)
    return verdicts
