"""The frame of a chart: a box with two scales, hairlines, ticks and names; marks are given in values.

Scales are linear, logarithmic or by the square root (for probabilities, which crowd near 0). A logarithmic scale draws
what lies below its floor on the floor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from scanner.reports._shapes import Points, dot, framed, line, said, short


@dataclass(frozen=True)
class Scale:
    """From values to a share of the axis, 0 to 1; values outside are drawn at its ends."""

    low: float
    high: float
    kind: str = "linear"  # log, root

    def __call__(self, value: float) -> float:
        low, high, at = (self._bent(v) for v in (self.low, self.high, value))
        return min(1.0, max(0.0, (at - low) / (high - low))) if high > low else 0.0

    def _bent(self, value: float) -> float:
        if self.kind == "log":
            return math.log10(max(value, 1e-12))
        return math.sqrt(max(0.0, value)) if self.kind == "root" else value


@dataclass(frozen=True)
class Plot:
    """A chart under construction: every method returns markup in user units."""

    x: Scale
    y: Scale
    width: float = 380.0
    height: float = 250.0
    left: float = 42.0
    right: float = 14.0
    top: float = 26.0
    bottom: float = 46.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Coordinates of a point."""
        across = self.width - self.left - self.right
        down = self.height - self.top - self.bottom
        return self.left + self.x(x) * across, self.height - self.bottom - self.y(y) * down

    def curve(self, points: Points, style: str) -> Markup:
        """A line through points."""
        return line([self.at(*p) for p in points], f"curve {style}")

    def dots(self, points: Points, style: str, radius: float = 2.6) -> Markup:
        """A mark at every point."""
        return Markup("").join(dot(*self.at(*p), f"dot {style}", radius) for p in points)

    def band(self, points: Sequence[tuple[float, float, float]], style: str = "") -> Markup:
        """What lies between the low and the high of (x, low, high)."""
        around = [self.at(x, high) for x, _, high in points] + [self.at(x, low) for x, low, _ in points[::-1]]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in around)
        return Markup('<polygon points="{}" class="{}"/>').format(path, f"band {style}".strip())

    def across(self, y: float) -> Markup:
        """A dotted line at a height."""
        return line([self.at(self.x.low, y), self.at(self.x.high, y)], "guide")

    def upright(self, x: float) -> Markup:
        """A dotted line at a place."""
        return line([self.at(x, self.y.low), self.at(x, self.y.high)], "guide")

    def whisker(self, x: float, low: float, high: float) -> Markup:
        """An interval as a thin upright line."""
        return line([self.at(x, low), self.at(x, high)], "whisker")

    def label(self, x: float, y: float, text: str, anchor: str = "start", style: str = "t soft",
              right: float = 4.0, up: float = 0.0) -> Markup:  # fmt: skip
        """Words beside a point, moved by so many units."""
        a, b = self.at(x, y)
        return said(a + right, b - up, text, anchor, style)

    def drawn(self, label: str, parts: Sequence[Markup]) -> Markup:
        """The whole picture; label says in words what it shows."""
        return framed(label, parts, self.width, self.height)

    def axes(self, xs: dict[float, str], ys: dict[float, str], x_name: str, y_name: str) -> Markup:
        """Ticks (value -> how it is written) and the names of both axes with their units."""
        edge, foot = self.width - self.right, self.height - self.bottom
        parts = []
        for value, name in ys.items():
            _, at = self.at(self.x.low, value)
            parts += [line([(self.left, at), (edge, at)], "grid"), said(self.left - 6, at + 3.5, name, "end")]
        for value, name in xs.items():
            at, _ = self.at(value, self.y.low)
            parts += [line([(at, foot), (at, foot + 4)], "axis"), said(at, foot + 16, name)]
        parts.append(line([(self.left, foot), (edge, foot)], "axis"))
        parts.append(said((self.left + edge) / 2, self.height - 6, x_name, style="t name"))
        parts.append(said(0, 10, y_name, "start", "t name"))
        return Markup("").join(parts)


def decades(low: float, high: float) -> dict[float, str]:
    """Ticks at the powers of ten; the lowest one stands for all that lies below."""
    powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
    return {10.0**k: ("≤ " if i == 0 and k < 0 else "") + short(10.0**k) for i, k in enumerate(powers)}


def doublings(high: float) -> dict[float, str]:
    """Ticks at the powers of two from 1 to high, at every other one where there are many."""
    return {2.0**k: f"{2**k}" for k in range(0, 16, 2 if high > 64 else 1) if 2**k <= high}


def upper_decade(value: float, least: float = 10.0) -> float:
    """The power of ten at or above a value."""
    return float(10 ** math.ceil(math.log10(max(least, value)) - 1e-9))


def between(points: Points, y: float) -> float | None:
    """x at which a falling curve on two logarithmic scales crosses height y; None where it never does."""
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        if y1 >= y >= y2 > 0 and y1 > y2:
            part = (math.log(y1) - math.log(y)) / (math.log(y1) - math.log(y2))
            return float(math.exp(math.log(x1) + part * (math.log(x2) - math.log(x1))))
    return None
