"""`python -m aserve` and the command `aserve`; the work is in `aserve.cli`."""

from __future__ import annotations

import gc
import signal
import sys
import time


def main() -> None:
    """Run the command line and exit with its status."""
    # Before the imports: "ready in N ms" counts them.
    started_at = time.perf_counter()
    # A start makes next to no garbage, and looking for it takes a tenth of the time. The
    # server switches it on again when it is ready.
    gc.disable()
    signal.signal(signal.SIGTERM, _end)
    from .cli import main as run_command_line

    status = run_command_line(started_at=started_at)
    # From here on nothing is left to be stopped.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0 if _was_ended else status)


_was_ended = False


def _end(*_: object) -> None:
    """SIGTERM before the server is ready, e.g. while the app is imported, also as PID 1 (B20)."""
    global _was_ended
    _was_ended = True
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
