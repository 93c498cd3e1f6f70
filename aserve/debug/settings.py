"""What a debugger is told by who puts it around an app."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import native
from ..options import DEBUG_PIN_VARIABLE
from ..sealed import Sealed

__all__ = ["PREFIX", "DebugSettings", "pin_of_environment"]

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

    pin: str | Sealed | None = None
    allowed_hosts: tuple[str, ...] = ()
    eval_from_network: bool = False
    editor: str | None = None
    root: str | None = None
    run_secret: bytes | Sealed | None = None
    generation: str = ""
    typed: str = ""

    def __post_init__(self) -> None:
        # They are reached from the app's variables.
        if isinstance(self.pin, str):
            object.__setattr__(self, "pin", Sealed(self.pin) if self.pin else None)
        if isinstance(self.run_secret, bytes):
            object.__setattr__(self, "run_secret", Sealed(self.run_secret.hex()))

    @property
    def configured_pin(self) -> Sealed | None:
        """The PIN that somebody has set; None to make one."""
        return Sealed.of(self.pin) if self.pin is not None else pin_of_environment()

    @property
    def directory(self) -> str:
        """The directory of the project, or where this process is."""
        return self.root or str(Path.cwd())


_found: list[Sealed] = []
_finding: Final = native.threading.Lock()


def pin_of_environment() -> Sealed | None:
    """The PIN of `ASERVE_DEBUG_PIN`, which is taken out of the environment; None if there is none.

    From then on this process remembers it, and so do those that it forks. Any thread.
    """
    with _finding:
        if text := os.environ.pop(DEBUG_PIN_VARIABLE, ""):
            _found[:] = [Sealed(text)]
        return _found[0] if _found else None
