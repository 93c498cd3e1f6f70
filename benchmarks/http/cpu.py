"""Processor time of a server and of all its children, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


def seconds_used(pid: int) -> float:
    """Return the user and system seconds of a process and its living descendants.

    Children that ended count as soon as their parent has waited for them (proc(5): cutime,
    cstime). The resolution is one tick, usually 10 ms: runs must last seconds.
    """
    parents: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "stat").read_text("utf-8", errors="replace")
        except OSError:
            continue  # it ended meanwhile
        # The second field is the name in parentheses, and may contain anything.
        fields = text.rpartition(")")[2].split()
        process = int(folder.name)
        parents.setdefault(int(fields[1]), []).append(process)
        ticks[process] = sum(int(number) for number in fields[11:15])
    todo, total = [pid], 0
    while todo:
        process = todo.pop()
        total += ticks.get(process, 0)
        todo += parents.get(process, ())
    return total * _TICK
