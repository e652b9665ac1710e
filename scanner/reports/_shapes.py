"""The parts that all charts are drawn of, as SVG markup in user units, y downwards; all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

Points = Sequence[tuple[float, float]]


def said(x: float, y: float, text: str, anchor: str = "middle", style: str = "t") -> Markup:
    """Words at a place; anchor: which end of them stands there."""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, style, text)


def line(points: Points, style: str) -> Markup:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline points="{}" class="{}"/>').format(path, style)


def dot(x: float, y: float, style: str, radius: float = 2.6) -> Markup:
    """A dot around a point."""
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"/>').format(x, y, radius, style)


def bar(x: float, y: float, long: float) -> Markup:
    """A bar to the right of a place, seen even where it is next to nothing."""
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="14" class="bar"/>').format(
        x, y, max(0.0 if long <= 0 else 1.0, long)
    )


def framed(label: str, parts: Sequence[Markup], width: float, height: float) -> Markup:
    """A picture of these parts; label: what it shows, for who cannot see it."""
    head = Markup('<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {:g} {:g}">').format(label, width, height)
    return head + Markup("").join(parts) + Markup("</svg>")


def short(value: float) -> str:
    """1k, 2.5M, 0.1."""
    for cut, unit in ((1e6, "M"), (1e3, "k")):
        if value >= cut:
            return f"{value / cut:g}{unit}"
    return f"{value:g}"


def round_ticks(high: float) -> list[float]:
    """About four round ticks from 0 to at least `high`."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / 4
    unit = 10 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    return [step * i for i in range(math.ceil(high / step * 0.999) + 1)]
