"""One profile of Hypothesis for the random walks."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "aserve",
    deadline=None,  # a loaded machine is not a bug
    max_examples=int(os.environ.get("EXAMPLES", "200")),  # more for a night of soaking
    # In CI the same examples each time: a change is judged by itself, not by luck.
    derandomize=bool(os.environ.get("CI")),
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("aserve")
