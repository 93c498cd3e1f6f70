"""Draw a state machine from its table as SVG, with nothing but the standard library.

The drawing is laid out like a circuit. States are boxes, one below the other. From the right
edge of a box one line leaves for each of its events, with the event's name above the line.
Each state that is entered has a vertical lane of its own; lines join its lane at a dot, and the
lane ends in an arrow at the state's box. Nothing overlaps, whatever the table says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import Final

__all__ = ["Machine", "draw", "sentences"]

# Pixels. A row holds one line of text at the size in figures.css.
_ROW: Final = 24
_GAP: Final = 18
_BOX: Final = 112
# One letter of the label's font at most; a label must fit above its line.
_LETTER: Final = 6.8
_LANE: Final = 26
_MARGIN: Final = 12
# Colours of the lanes, in turn; figures.css gives them a light and a dark form.
_COLOURS: Final = 6


@dataclass(frozen=True)
class Machine:
    """A table of transitions.

    Args:
        states: Every state, in the order in which they are drawn.
        transitions: (state, event) -> next state.
        start: The state in which it begins.
    """

    states: tuple[str, ...]
    transitions: Mapping[tuple[str, str], str]
    start: str

    @classmethod
    def of(cls, table: Mapping[tuple[Enum, str], Enum]) -> Machine:
        """A table whose states are the members of one enumeration; the first one is the start."""
        members = type(next(iter(table))[0])
        moves = {(state.name, event): target.name for (state, event), target in table.items()}
        names = tuple(member.name for member in members)
        return cls(names, moves, names[0])

    def leaving(self, state: str) -> list[tuple[str, str]]:
        """The events of a state and where they lead."""
        return [(event, to) for (name, event), to in self.transitions.items() if name == state]

    def entered(self) -> list[str]:
        """The states that some event leads to."""
        targets = set(self.transitions.values())
        return [state for state in self.states if state in targets]


def sentences(machine: Machine) -> Iterable[str]:
    """The same in words, for whoever cannot see the drawing."""
    for (state, event), target in machine.transitions.items():
        yield f"{state}, on {event}, becomes {target}."


def draw(machine: Machine, title: str) -> str:
    """The machine as an `<svg>` element whose look is in figures.css.

    Args:
        machine: What to draw.
        title: Its name, for screen readers.
    """
    boxes, height = _place_boxes(machine)
    longest = max(len(event) for _, event in machine.transitions)
    first_lane = _MARGIN + _BOX + longest * _LETTER + 2 * _LANE
    # The state that is entered lowest has the innermost lane: fewest crossings in what we draw.
    lanes = {
        state: first_lane + number * _LANE
        for number, state in enumerate(reversed(machine.entered()))
    }
    width = first_lane + (len(lanes) - 1) * _LANE + _MARGIN
    parts = [_lane(machine, boxes, state, x) for state, x in lanes.items()]
    parts += [
        _exits(machine, box, {to: (lanes[to], _colour(machine, to)) for to in lanes})
        for box in boxes.values()
    ]
    parts += [_box(box, is_start=box.state == machine.start) for box in boxes.values()]
    description = escape(" ".join(sentences(machine)))
    return (
        f'<svg class="state-figure" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="max-width: {width:.0f}px" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title><desc>{description}</desc>{''.join(parts)}</svg>"
    )


@dataclass(frozen=True)
class _Placed:
    state: str
    top: float
    rows: int

    @property
    def entry(self) -> float:
        """Where its lane comes in: the first row."""
        return self.top + _ROW / 2

    def exit(self, number: int) -> float:
        return self.top + _ROW * (number + 1.5)


def _place_boxes(machine: Machine) -> tuple[dict[str, _Placed], float]:
    boxes: dict[str, _Placed] = {}
    top = float(_MARGIN)
    for state in machine.states:
        rows = len(machine.leaving(state)) + 1
        boxes[state] = _Placed(state, top, rows)
        top += rows * _ROW + _GAP
    return boxes, top - _GAP + _MARGIN


def _colour(machine: Machine, state: str) -> int:
    return machine.states.index(state) % _COLOURS


def _lane(machine: Machine, boxes: Mapping[str, _Placed], state: str, x: float) -> str:
    """The vertical line of a state that is entered, and its arrow."""
    ends = [
        box.exit(number)
        for box in boxes.values()
        for number, (_, to) in enumerate(machine.leaving(box.state))
        if to == state
    ]
    entry = boxes[state].entry
    low, high = min(*ends, entry), max(*ends, entry)
    edge = _MARGIN + _BOX
    return (
        f'<g class="lane-{_colour(machine, state)}">'
        f'<path d="M{x:.1f} {low:.1f}V{high:.1f}M{x:.1f} {entry:.1f}H{edge + 8}"/>'
        f'<path class="head" d="M{edge + 1} {entry:.1f}l9 -4.5v9z"/></g>'
    )


def _exits(machine: Machine, box: _Placed, lanes: Mapping[str, tuple[float, int]]) -> str:
    parts = []
    for number, (event, to) in enumerate(machine.leaving(box.state)):
        x, colour = lanes[to]
        y = box.exit(number)
        parts.append(
            f'<g class="lane-{colour}"><path d="M{_MARGIN + _BOX} {y:.1f}H{x:.1f}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/></g>'
            f'<text x="{_MARGIN + _BOX + 14}" y="{y - 5:.1f}">{escape(event)}</text>'
        )
    return "".join(parts)


def _box(box: _Placed, *, is_start: bool) -> str:
    css = "state start" if is_start else "state"
    return (
        f'<rect class="{css}" x="{_MARGIN}" y="{box.top:.1f}" width="{_BOX}" '
        f'height="{box.rows * _ROW}" rx="6"/>'
        f'<text class="name" x="{_MARGIN + _BOX / 2}" '
        f'y="{box.top + box.rows * _ROW / 2 + 4.5:.1f}">{escape(box.state)}</text>'
    )
