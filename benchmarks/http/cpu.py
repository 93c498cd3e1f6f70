"""What a server and all its children have used, as Linux counts it."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
_SWITCHES: Final = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)


class Used(NamedTuple):
    """Up to now.

    Args:
        seconds: User and system time. One tick is usually 10 ms: runs must last seconds.
        switches: How often a thread was taken from its processor, by its own will or not.
    """

    seconds: float
    switches: int


def used(pid: int) -> Used:
    """Return what a process and its living descendants have used.

    Time of children that ended counts as soon as their parent has waited for them (proc(5):
    cutime, cstime); switches of threads that ended do not.
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
    todo, total, switches = [pid], 0, 0
    while todo:
        process = todo.pop()
        total += ticks.get(process, 0)
        switches += _switches(process)
        todo += parents.get(process, ())
    return Used(total * _TICK, switches)


def _switches(pid: int) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                text = (task / "status").read_text("utf-8", errors="replace")
                total += sum(int(number) for number in _SWITCHES.findall(text))
    return total
