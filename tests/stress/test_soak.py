"""The soak of `benchmarks/soak`, for some seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ..e2e.conftest import environment

ROOT = Path(__file__).parents[2]


def test_nothing_is_lost_and_nothing_is_left() -> None:
    """How fast the answers are is left to the long form: a test shares its machine with others."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--seconds", "3", "--p99", "10000", "--hasty"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every promise was kept" in done.stdout
