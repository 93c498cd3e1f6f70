"""Raise, capture, and look at what was captured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from aserve.debug.capture import Captured, capture
from aserve.debug.model import Frame, Problem


def caught(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def frames_of(problem: Problem) -> list[Frame]:
    return [place for place in problem.places if isinstance(place, Frame)]


def take(function: Callable[[], object], root: Path) -> Captured:
    """What is captured, from the first frame below the caller's file on."""
    test = sys._getframe(1).f_code.co_filename
    captured = capture(caught(function), root=str(root), skip=(__file__, test))
    for frame in frames_of(captured.problem):
        if frame.id is not None:
            assert captured.frames[frame.id].f_code.co_filename == frame.file
    return captured


def last(captured: Captured) -> Frame:
    return frames_of(captured.problem)[-1]


def marked(frame: Frame) -> str:
    """The text of the mark, where it is in one line."""
    assert frame.mark is not None
    assert frame.mark.line == frame.mark.end_line
    line = next(line.text for line in frame.source if line.number == frame.mark.line)
    return line[frame.mark.column : frame.mark.end_column]
