"""What is still running, as lines that a person can act on."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Final

from .job import Running

__all__ = ["describe", "is_at_prompt", "user_position"]


def _working_directory() -> str:
    try:
        return os.getcwd() + os.sep
    except OSError:  # it was removed
        return os.sep


# Asked for once: a system call that may wait for a file server has no place on the loop.
_HERE: Final = _working_directory()
_STDLIB: Final = os.path.dirname(os.__file__) + os.sep
_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMO: Final = _PACKAGE + "demo.py"  # an app like any other


def describe(running: Running) -> str:
    """`GET /slow (5.2 s, views.py:12, aserve-worker-3)`."""
    place = user_position(running.thread_id)
    where = f"{place}, " if place else ""
    return f"{running.job} ({running.seconds:.1f} s, {where}{running.thread_name})"


def user_position(thread_id: int) -> str:
    """File and line in which a thread is, in the user's own code where there is any.

    Args:
        thread_id: The thread's `ident`.

    Returns:
        `FILE:LINE` with the path relative to the working directory if it lies beneath; an
        empty text when the thread is gone.
    """
    frame: FrameType | None = sys._current_frames().get(thread_id)
    innermost: FrameType | None = None
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE) or name == _DEMO:
            innermost = innermost or frame
            if not _is_library(name):
                return _place(frame)
        frame = frame.f_back
    return _place(innermost) if innermost is not None else ""


def is_at_prompt(thread_id: int) -> bool:
    """Whether a person is in it, with pdb or a debugger like it."""
    frame: FrameType | None = sys._current_frames().get(thread_id)
    while frame is not None:
        if frame.f_globals.get("__name__") == "bdb":  # all of them stand on it
            return True
        frame = frame.f_back
    return False


def _is_library(name: str) -> bool:
    return name.startswith(_STDLIB) or "site-packages" in name or "dist-packages" in name


def _place(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    return f"{name.removeprefix(_HERE)}:{frame.f_lineno}"
