"""Two curves as one SVG: rate over connections, and processor time over body size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from .run import Row

__all__ = ["CURVES", "draw"]

_WIDTH, _HEIGHT, _MARGIN = 460, 300, 56
_COLOURS: Final = {
    "aserve": "#d9480f",
    "granian": "#1971c2",
    "granian-16": "#4dabf7",
    "waitress-16": "#2f9e44",
    "gunicorn-16": "#9c36b5",
    "werkzeug": "#868e96",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """One panel: which scenarios are its points, and what is read off them.

    Args:
        title: What stands above it.
        measure: A field of `Row`.
        points: Scenario and its place on the axis below, with its label.
    """

    title: str
    measure: str
    points: Sequence[tuple[str, float, str]]


CURVES: Final = (
    Curve(
        "requests per second, by connections",
        "rate",
        (
            ("hello-c1", 1, "1"),
            ("hello-c8", 8, "8"),
            ("hello-c32", 32, "32"),
            ("hello-c256", 256, "256"),
            ("hello-c1024", 1024, "1,024"),
        ),
    ),
    Curve(
        "CPU microseconds per request, by body",
        "cpu",
        (
            ("hello-c32", 1, "0"),
            ("upload-1k", 16, "1 KB"),
            ("upload-64k", 256, "64 KB"),
            ("upload", 1024, "1 MB"),
        ),
    ),
)


def draw(rows: Mapping[tuple[str, str], Row], path: Path) -> bool:
    """Write the picture; False when too little was measured for a curve.

    Args:
        rows: The results by scenario and server.
        path: Of the SVG file.
    """
    panels = [_panel(curve, rows) for curve in CURVES]
    if not all(panels):
        return False
    shifted = [
        f'<g transform="translate({number * _WIDTH} 0)">{panel}</g>'
        for number, panel in enumerate(panels)
    ]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * len(panels)} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(shifted)}</svg>\n",
        "utf-8",
    )
    return True


def _panel(curve: Curve, rows: Mapping[tuple[str, str], Row]) -> str:
    lines = {
        server: [
            (place, getattr(rows[scenario, server], curve.measure))
            for scenario, place, _ in curve.points
            if (scenario, server) in rows
        ]
        for server in _COLOURS
    }
    lines = {server: points for server, points in lines.items() if len(points) > 1}
    if not lines:
        return ""
    values = [value for points in lines.values() for _, value in points]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    last = curve.points[-1][1]

    def x(place: float) -> float:
        return _MARGIN + (_WIDTH - 2 * _MARGIN) * math.log(place) / math.log(last)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low)
        return _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * share

    parts = [f'<text x="{_MARGIN}" y="22" font-size="13">{escape(curve.title)}</text>']
    for _, place, label in curve.points:
        bottom = _HEIGHT - _MARGIN + 16
        parts.append(f'<text x="{x(place):.0f}" y="{bottom}" text-anchor="middle">{label}</text>')
    power = low
    while power <= high:
        parts.append(
            f'<path d="M{_MARGIN} {y(power):.0f}H{_WIDTH - _MARGIN}" stroke="#dee2e6"/>'
            f'<text x="{_MARGIN - 6}" y="{y(power) + 4:.0f}" text-anchor="end">{power:,.0f}</text>'
        )
        power *= 10
    for number, (server, points) in enumerate(lines.items()):
        colour = _COLOURS[server]
        path = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{_MARGIN + number % 4 * 95}" y="{_HEIGHT - 22 + number // 4 * 14}" '
            f'fill="{colour}">{server}</text>'
        )
    return "".join(parts)
