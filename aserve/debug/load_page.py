"""Why an app cannot be loaded, as the reloader's page shows it.

Made in the process that could not load it, which has the exception; the supervisor, which loads no
code of the app and none of this package, puts it into its page.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..pages.markup import Content, fragment
from .capture import capture
from .model import Frame, Problem
from .problems import headline, render_outline, render_problem
from .text import markdown

__all__ = ["view_failure"]

_MACHINERY = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<frozen ")
# What stands around the code that failed.
_OWN = ("aserve", "importlib")


def view_failure(error: BaseException, root: str) -> dict[str, Any]:
    """The parts of the page.

    Args:
        error: What the app's code has raised, with its traceback.
        root: The directory of the project.

    Returns:
        "title"; "outline" and "body", HTML without variables; "markdown"; and "places": file and
        line of what an editor can open, whose index is the number of the frame in the HTML.
    """
    places: list[tuple[str, int]] = []
    problem = _without_variables(capture(error, skip=_OWN, root=root).problem, places)
    outline: Content = render_outline(problem)
    return {
        "title": headline(problem),
        "outline": str(fragment(outline)),
        "body": str(render_problem(problem)),
        "markdown": markdown(problem),
        "places": places,
    }


def _without_variables(problem: Problem, places: list[tuple[str, int]]) -> Problem:
    """The problem with frames that an editor can open, and nothing else can be asked of."""
    shown = []
    for place in problem.places:
        if isinstance(place, Frame):
            if place.file.startswith(_MACHINERY):
                continue  # a SyntaxError comes from what compiles
            number = None
            if place.can_open:
                number = len(places)
                places.append((place.file, place.line))
            place = replace(place, id=number, values=(), is_alive=False)
        shown.append(place)
    earlier = problem.earlier and _without_variables(problem.earlier, places)
    group = tuple(_without_variables(member, places) for member in problem.group)
    return replace(problem, places=tuple(shown), earlier=earlier, group=group)
