"""What a debugger is told by who puts it around an app."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["PREFIX", "DebugSettings"]

# What the pages ask for, below the place where the app is mounted.
PREFIX: Final = "/.aserve/debug/"


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSettings:
    """What else there is to say about a debugger.

    Args:
        pin: What the console asks for; "off" for nothing; None for `ASERVE_DEBUG_PIN`, and
            without that for nine digits that are made once per user and project.
        allowed_hosts: Names that are answered beside `localhost`, what is below it, and addresses.
        eval_from_network: Evaluate also for peers beyond loopback. Whoever knows the PIN can then
            do all that this user can.
        editor: A command, as in `ASERVE_EDITOR`, which is asked for None.
        root: The directory of the project; None for the current one.
        run_secret: Shared by the processes of a run; None to make one.
        generation: Which load of the app this is, the same in all its processes; empty to tell
            this process from all others.
        typed: What the person typed, for the page.
    """

    pin: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    eval_from_network: bool = False
    editor: str | None = None
    root: str | None = None
    run_secret: bytes | None = None
    generation: str = ""
    typed: str = ""

    @property
    def configured_pin(self) -> str | None:
        """The PIN that somebody has set; None to make one."""
        return self.pin or os.environ.get("ASERVE_DEBUG_PIN") or None

    @property
    def directory(self) -> str:
        """The directory of the project, or where this process is."""
        return self.root or str(Path.cwd())
