"""`python -m aserve` and the command `aserve`; the work is in `aserve.cli`."""

from __future__ import annotations

import gc
import sys
import time


def main() -> None:
    """Run the command line and exit with its status."""
    # Before the imports: "ready in N ms" counts them.
    started_at = time.perf_counter()
    # A start makes next to no garbage, and looking for it takes a tenth of the time. The
    # server switches it on again when it is ready.
    gc.disable()
    from .cli import main as run_command_line

    sys.exit(run_command_line(started_at=started_at))


if __name__ == "__main__":
    main()
