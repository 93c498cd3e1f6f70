"""`python -m aserve` and the command `aserve`; the work is in `aserve.cli`."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .reload.child import Child


def main() -> None:
    """Run the command line and exit with its status."""
    # Before the imports: "ready in N ms" counts them.
    started_at = time.perf_counter()
    # A start makes next to no garbage, and looking for it takes a tenth of the time. The
    # server switches it on again when it is ready.
    gc.disable()
    signal.signal(signal.SIGTERM, _end)
    try:
        child = _start_ahead(sys.argv[1:])
        from .cli import main as run_command_line

        status = run_command_line(started_at=started_at, child=child)
    except KeyboardInterrupt:
        status = 130  # during the imports, which know no statuses yet
    # From here on nothing is left to be stopped.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0 if _was_ended else status)


def _start_ahead(words: list[str]) -> Child | None:
    """With the reloader another process serves: start it now, so that both get ready at once.

    A guess, because nothing is parsed yet; a process that is not needed ends by itself.
    """
    is_wanted = "--reload" in words or (sys.stderr is not None and sys.stderr.isatty())
    if not is_wanted or not _NEVER_RELOAD.isdisjoint(words) or os.name != "posix":
        return None
    from .reload.child import command, spawn

    return spawn(command())


# Words with which there is nothing to reload.
_NEVER_RELOAD = frozenset(
    (
        "--no-reload",
        "demo",
        "config",
        "callback",
        "trust",
        "untrust",
        "pin",
        "--help",
        "--help-all",
        "--version",
    )
)

_was_ended = False


def _end(*_: object) -> None:
    """SIGTERM before the server is ready, e.g. while the app is imported, also as PID 1 (B20)."""
    global _was_ended
    _was_ended = True
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
