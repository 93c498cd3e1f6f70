"""How the supervisor words what has happened."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from typing import Final

from .channel import Message
from .snapshot import Change

__all__ = ["CLEAR_SCREEN", "HELP", "describe", "fate", "may_be_a_collision"]

HELP: Final = (
    "Keys: r reload, o open the browser, p show the PIN, c clear the screen, q quit, h this help"
)

# ECMA-48: the screen, what was scrolled out of it (xterm's extension), and home.
CLEAR_SCREEN: Final = "\x1b[2J\x1b[3J\x1b[H"


def describe(changes: Iterable[Change]) -> str:
    """Why there is a reload. Tools wait for this text, which is Werkzeug's (B99)."""
    listed = list(changes)
    if not listed:
        return "Asked to reload, reloading"
    path, kind = listed[0]
    more = f" and {len(listed) - 1} more" if len(listed) > 1 else ""
    return f"Detected change in {path!r}, reloading ({kind}{more})"


def may_be_a_collision(report: Message) -> bool:
    """Whether an app could not be loaded because something is taken: a port, a locked database."""
    return re.search(r"\[Errno \d+\]|locked|in use", str(report["summary"])) is not None


def fate(status: int) -> str:
    """How a process has ended, by its exit status; negative for a signal."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"was ended by {name}"
