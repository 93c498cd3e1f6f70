"""Real servers under what goes wrong: in a short form here, in a long one with `STRESS=1`.

The long form has more of everything, and its bounds of time are the promised ones. In the short
form they leave room for a machine that has other work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..e2e.conftest import ON_LOOP, Start, starter

# Set by `nox -s stress`.
LONG = bool(os.environ.get("STRESS"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """See `tests.e2e.conftest`."""
    with starter(tmp_path) as function:
        yield function


@pytest.fixture(params=ON_LOOP)
def start_on_loop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """See `tests.e2e.conftest`."""
    with starter(tmp_path, ON_LOOP[request.param]) as function:
        yield function
