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

_STANDARD: Final = "aserve"
_UVLOOP: Final = "aserve-uvloop"
# Stands for the fastest family whose engine is written in Python.
_PYTHON: Final = "best Python-written"


class Measure(Enum):
    """What a goal compares."""

    RATE = "x the rate of"
    CPU = "x the CPU per request of"
    P50 = "ms median"


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table.

    Args:
        scenario: Where it is measured.
        subject: The configuration of aserve that has to reach it.
        rival: The family to compare with; the fastest of its configurations counts. Empty for
            an absolute goal.
        bound: At least for a rate, at most for CPU and milliseconds.
        measure: What is compared.
        rival_scenario: Where the rival is measured, if elsewhere.
    """

    scenario: str
    subject: str
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


def _hello(scenario: str) -> tuple[Goal, ...]:
    return (
        Goal(scenario, _STANDARD, "werkzeug", 15),
        Goal(scenario, _STANDARD, "gunicorn", 10),
        Goal(scenario, _STANDARD, "waitress", 6),
        Goal(scenario, _STANDARD, "granian", 1.0),
        Goal(scenario, _STANDARD, "granian", 0.75, Measure.CPU),
        Goal(scenario, _UVLOOP, "granian", 1.2),
        Goal(scenario, _UVLOOP, "granian", 0.75, Measure.CPU),
    )


GOALS: Final = (
    *_hello("hello-c32"),
    *_hello("browser"),
    Goal("hello-c256", _STANDARD, "granian", 0.9),
    Goal("hello-c256", _UVLOOP, "granian", 1.3),
    Goal("hello-c1", _STANDARD, "granian", 0.8),
    Goal("hello-c1", _STANDARD, "waitress", 2.5),
    # Nagle's algorithm and delayed acknowledgements together would show as 40 ms.
    Goal("hello-c1", _STANDARD, "", 0.5, Measure.P50),
    Goal("flask", _STANDARD, "granian", 1.0),
    Goal("flask", _STANDARD, "waitress", 1.7),
    Goal("flask", _STANDARD, "werkzeug", 4),
    Goal("new-connection", _STANDARD, "granian", 0.9),
    Goal("new-connection", _STANDARD, "waitress", 2),
    Goal("tls", _STANDARD, "granian", 1.0),
    Goal("tls", _STANDARD, _PYTHON, 4),
    Goal("tls-connection", _STANDARD, "granian", 1.0),
    Goal("tls-connection", _STANDARD, _PYTHON, 4),
    Goal("log", _STANDARD, _STANDARD, 0.6, rival_scenario="hello-c32"),
    Goal("log", _STANDARD, "granian", 2),
    Goal("stream", _STANDARD, "gunicorn", 1.5),
    Goal("echo", _STANDARD, "granian", 0.8),
    Goal("echo", _STANDARD, _PYTHON, 1.0),
    Goal("upload", _STANDARD, "granian", 0.8),
    Goal("upload", _STANDARD, _PYTHON, 1.0),
    Goal("file", _STANDARD, "gunicorn", 1.0),
    Goal("file", _STANDARD, "granian", 1.5),
)

_BY_NAME: Final = {server.name: server for server in SERVERS}


def _matches(goal: Goal, server: str) -> bool:
    if goal.rival == _PYTHON:
        return _BY_NAME[server].in_python and _BY_NAME[server].family != "aserve"
    if goal.rival == _STANDARD:
        return server == goal.subject
    return _BY_NAME[server].family == goal.rival


def _judge(goal: Goal, subject: Row, rivals: list[Row]) -> Verdict | None:
    if goal.measure is Measure.P50:
        value = subject.p50 * 1000
        return Verdict(goal, "", value, goal.bound / value)
    if not rivals:
        return None
    if goal.measure is Measure.CPU:
        rival = min(rivals, key=lambda row: row.cpu)
        value = subject.cpu / rival.cpu
        return Verdict(goal, rival.server, value, goal.bound / value)
    rival = max(rivals, key=lambda row: row.rate)
    value = subject.rate / rival.rate
    return Verdict(goal, rival.server, value, value / goal.bound)


def judge(rows: Mapping[tuple[str, str], Row]) -> list[Verdict]:
    """Compare with every goal whose servers and scenarios were measured.

    Args:
        rows: The results by scenario and server.
    """
    verdicts = []
    for goal in GOALS:
        subject = rows.get((goal.scenario, goal.subject))
        place = goal.rival_scenario or goal.scenario
        rivals = [
            row
            for (scenario, server), row in rows.items()
            if scenario == place and _matches(goal, server)
        ]
        if subject and (verdict := _judge(goal, subject, rivals)):
            verdicts.append(verdict)
    return verdicts
