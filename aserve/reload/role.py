"""What this process is for the reloader, for who is asked from within the app."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["is_running_from_reloader", "serve_here"]

serve_here: Callable[..., Any] | None = None
"""In a process that runs a script again: serves its app, in the place of `run`."""


def is_running_from_reloader() -> bool:
    """Whether this code runs in a process that the reloader has started, and will replace.

    What should be done once, however often the app is loaded, belongs into the other one; what
    should be done in the process that serves, into this one. The name and the variable behind it
    are Werkzeug's (B81).
    """
    return os.environ.get("WERKZEUG_RUN_MAIN") == "true"
