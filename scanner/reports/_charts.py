"""Charts as inline SVG: few marks, direct labels, colours by class so that the page's dark mode reaches them.

Every function takes plain numbers and returns markup with an aria-label that says in words what the chart shows; all
text is escaped. Coordinates are SVG user units, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from scanner.reports import _words as words

WIDTH, HEIGHT = 380.0, 242.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 14.0, 26.0, 46.0

RIBBON_CUTS = (0.01, 0.1)
"""Shares of the rows at which the ribbon is parted."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """A scale from values to coordinates."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log10(max(v, 1e-12)) for v in (value, low, high))
        part = (value - low) / (high - low) if high > low else 0.0
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)


def _x(low: float, high: float, log: bool = False) -> Axis:
    return Axis(low, high, LEFT, WIDTH - RIGHT, log)


def _y(low: float, high: float, log: bool = False) -> Axis:
    return Axis(low, high, HEIGHT - BOTTOM, TOP, log)


def _text(x: float, y: float, text: str, anchor: str = "middle", style: str = "t") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, style, text)


def _line(points: Points, style: str) -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline points="{}" class="{}"/>').format(path, style)


def _dot(x: float, y: float, style: str, radius: float = 2.6) -> Markup:
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"/>').format(x, y, radius, style)


def _frame(label: str, parts: Sequence[Markup], width: float = WIDTH, height: float = HEIGHT) -> Markup:
    head = Markup('<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {:g} {:g}">').format(label, width, height)
    return head + Markup("").join(parts) + Markup("</svg>")


def _axes(
    x: Axis, y: Axis, xs: Points, ys: Points, x_name: str, y_name: str, names: dict[float, str] | None = None
) -> list[Markup]:
    """Hairlines for y, ticks for x. xs, ys: (value, 0); names: how a tick is written, by value."""
    names = names or {}
    parts = []
    for value, _ in ys:
        at = y(value)
        parts.append(_line([(LEFT, at), (WIDTH - RIGHT, at)], "grid"))
        parts.append(_text(LEFT - 6, at + 3.5, names.get(value, _tick(value)), "end"))
    for value, _ in xs:
        at = x(value)
        parts.append(_line([(at, HEIGHT - BOTTOM), (at, HEIGHT - BOTTOM + 4)], "axis"))
        parts.append(_text(at, HEIGHT - BOTTOM + 16, names.get(value, _tick(value))))
    parts.append(_line([(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], "axis"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_name, style="t name"))
    parts.append(_text(0, 10, y_name, "start", "t name"))
    return parts


def _tick(value: float) -> str:
    for cut, unit in ((1e6, "M"), (1e3, "k")):
        if value >= cut:
            return f"{value / cut:g}{unit}"
    return f"{value:g}"


def _nice(high: float) -> list[float]:
    """About four round ticks from 0 to at least `high`."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / 4
    unit = 10 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    return [step * i for i in range(math.ceil(high / step * 0.999) + 1)]


def tail(curves: Sequence[tuple[str, str, Points]], extracted: int) -> Markup | None:
    """How many rows reach at least n tokens; both axes logarithmic. curves: (label, class, [(n, rows)])."""
    curves = [(label, style, [p for p in points if p[1] > 0]) for label, style, points in curves]
    curves = [curve for curve in curves if curve[2]]
    if not curves:
        return None
    every = [p for _, _, points in curves for p in points]
    longest = max(32.0, max(n for n, _ in every))
    most = 10 ** math.ceil(math.log10(max(10.0, max(rows for _, rows in every))))
    least = 10 ** math.floor(math.log10(min(1.0, min(rows for _, rows in every))))
    x, y = _x(1, longest, True), _y(least, most, True)
    decades = [10.0**k for k in range(round(math.log10(least)), round(math.log10(most)) + 1)]
    ticks = [2.0**k for k in range(0, 16, 2 if longest > 64 else 1) if 2**k <= longest]
    parts = _axes(
        x,
        y,
        [(t, 0) for t in ticks],
        [(t, 0) for t in decades],
        "tokens recited before the first miss, n",
        "rows with N_pre ≥ n",
    )
    parts.append(_line([(x(extracted), TOP), (x(extracted), HEIGHT - BOTTOM)], "guide"))
    parts.append(_text(x(extracted) + 4, TOP + 8, f"{extracted} tokens", "start", "t soft"))
    for row, (label, style, points) in enumerate(curves):
        parts.append(_line([(x(n), y(rows)) for n, rows in points], f"curve {style}"))
        parts += [_dot(x(n), y(rows), f"dot {style}") for n, rows in points]
        key = HEIGHT - BOTTOM - 8 - 13 * (len(curves) - 1 - row)
        parts += [_dot(LEFT + 8, key - 3.5, f"dot {style}"), _text(LEFT + 15, key, label, "start", f"t {style}")]
    told = "; ".join(
        f"{label}: " + ", ".join(f"{rows:g} rows reach {n:g}" for n, rows in points) for label, _, points in curves
    )
    return _frame(f"Tail of memorized length. {told}", parts)


def doses(bins: Sequence[dict[str, Any]]) -> Markup | None:
    """p_extract by exposures: the middle 80 % of each bin as a line, its mean as a dot, its rows as a number."""
    if not bins:
        return None
    y = _y(0, 1)
    step = (WIDTH - LEFT - RIGHT) / len(bins)
    parts = _axes(
        _x(0, 1),
        y,
        [],
        [(t, 0) for t in (0, 0.25, 0.5, 0.75, 1)],
        "dose, in reference visits; below it the rows",
        "p_extract",
    )
    told = []
    for i, dose in enumerate(bins):
        at = LEFT + step * (i + 0.5)
        low, middle, high = dose["q"]
        name = f"{dose['from']:g}–{dose['to']:g}" if dose["to"] is not None else f"≥ {dose['from']:g}"
        parts.append(_line([(at, y(low)), (at, y(high))], "range"))
        parts.append(_line([(at - 5, y(middle)), (at + 5, y(middle))], "middle"))
        parts.append(_dot(at, y(dose["mean"]), "dot main", 3.4))
        parts.append(_text(at, HEIGHT - BOTTOM + 13, name))
        parts.append(_text(at, HEIGHT - BOTTOM + 24, words.number(dose["rows"]), style="t soft"))
        told.append(f"{name}: {dose['rows']} rows, mean {dose['mean']:.2f}")
    return _frame("Probability of extraction by exposures. " + "; ".join(told), parts)


def sizes(bins: Sequence[Sequence[int]]) -> Markup | None:
    """Clusters by size as horizontal bars; bins: [first size, last size, clusters, rows]."""
    bins = [b for b in bins if b[2]]
    if not bins:
        return None
    most = max(rows for *_, rows in bins)
    line, left = 24.0, 76.0
    parts, told = [], []
    for i, (first, last, clusters, rows) in enumerate(bins):
        at = 10 + i * line
        name = f"{first}" if first == last else f"{first}–{last}"
        long = max(1.5, (WIDTH - left - 150) * rows / most)
        parts.append(_text(left - 8, at + 11, f"{name} rows", "end"))
        parts.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="14" class="bar"/>').format(left, at, long)
        )
        label = f"{words.plural(clusters, 'cluster')}, {words.plural(rows, 'row')}"
        parts.append(_text(left + long + 6, at + 11, label, "start", "t soft"))
        told.append(f"size {name}: {label}")
    return _frame("Clusters by size. " + "; ".join(told), parts, WIDTH, 14 + line * len(bins))


def lorenz(points: Points) -> Markup | None:
    """Share of the expected memorized tokens carried by the first share of rows; x logarithmic."""
    points = [p for p in points if p[0] > 0]
    if len(points) < 2:
        return None
    least = 10 ** math.floor(math.log10(points[0][0]))
    x, y = _x(least, 1, True), _y(0, 1)
    decades = [10.0**k for k in range(round(math.log10(least)), 1)]
    names = {v: words.percent(v) if v >= 0.001 else f"{100 * v:g} %" for v in decades}
    names |= {v: f"{100 * v:.0f} %" for v in (0.0, 0.25, 0.5, 0.75, 1.0)}
    parts = _axes(
        x,
        y,
        [(t, 0) for t in decades],
        [(t / 4, 0) for t in range(5)],
        "share of rows, most memorized first",
        "share of memorized tokens",
        names,
    )
    even = [(least * (1 / least) ** (i / 40), least * (1 / least) ** (i / 40)) for i in range(41)]
    parts.append(_line([(x(a), y(b)) for a, b in even], "guide"))
    parts.append(_text(x(1), y(0.025), "all rows alike", "end", "t soft"))
    parts.append(_line([(x(a), y(b)) for a, b in points], "curve main"))
    told = []
    for mark in (0.01, 0.1):
        if mark < points[0][0]:
            continue
        a, b = next((p for p in points if p[0] >= mark), points[-1])
        parts += [_dot(x(a), y(b), "dot main", 3.4), _text(x(a) - 6, y(b) - 6, f"{100 * b:.0f} %", "end", "t main")]
        told.append(f"{words.percent(a)} of rows carry {words.percent(b)}")
    return _frame("Skew of memorization. " + "; ".join(told), parts)


def recall(points: Points, threshold: float | None) -> Markup | None:
    """Probability that a pair of this similarity became a candidate."""
    if len(points) < 2:
        return None
    x, y = _x(0, 1), _y(0, 1)
    quarters = [(t / 4, 0) for t in range(5)]
    parts = _axes(x, y, quarters, quarters, "Jaccard similarity of a pair", "probability to be found")
    told = ""
    if threshold is not None:
        _, found = min(points, key=lambda p: abs(p[0] - threshold))
        parts.append(_line([(x(threshold), TOP), (x(threshold), HEIGHT - BOTTOM)], "guide"))
        # a sketch never promises all pairs, so it is not rounded up to that
        share = "> 99.9 %" if 0.999 < found < 1 else f"{100 * found:.1f} %"
        parts.append(_text(x(threshold) - 5, y(0.5), f"{share} at {threshold:g}", "end", "t main"))
        told = f"{share} of the pairs at {threshold:g} are found"
    parts.append(_line([(x(a), y(b)) for a, b in points], "curve main"))
    return _frame(f"Achieved recall of the near-duplicate search. {told}", parts)


def ribbon(lorenz_points: Points) -> tuple[Markup, list[tuple[str, float, float]]] | None:
    """Rows above, memorized tokens below, joined: how few rows carry how much.

    Returns the picture, which is stretched to the page's width and so holds no text, and per part its class, its share
    of rows and its share of tokens.
    """
    points = [(a, b) for a, b in lorenz_points if a > 0]
    if len(points) < 2:
        return None
    marks = [next((p for p in points if p[0] >= cut), points[-1]) for cut in RIBBON_CUTS]
    edges = [(0.0, 0.0), *dict.fromkeys(mark for mark in marks if mark[0] < 1), (1.0, 1.0)]
    styles = ("first", "next", "rest")[-(len(edges) - 1) :]
    parts, legend = [], []
    for (a1, b1), (a2, b2), style in zip(edges, edges[1:], styles, strict=False):
        corners = [(a1, 0), (a2, 0), (a2, 14), (b2, 76), (b2, 96), (b1, 96), (b1, 76), (a1, 14)]
        path = " ".join(f"{1000 * x:.1f},{y}" for x, y in corners)
        parts.append(Markup('<polygon points="{}" class="{}"/>').format(path, style))
        legend.append((style, a2 - a1, b2 - b1))
    told = "; ".join(f"{words.percent(rows)} of rows carry {words.percent(tokens)}" for _, rows, tokens in legend)
    label = f"Rows above, expected memorized tokens below. {told}"
    head = Markup('<svg class="ribbon" role="img" aria-label="{}" viewBox="0 0 1000 96" preserveAspectRatio="none">')
    return head.format(label) + Markup("").join(parts) + Markup("</svg>"), legend


def meter(share: float | None, of: float) -> Markup:
    """A thin bar, `share` of `of`; decoration beside a number, hidden from screen readers."""
    long = 100 * min(1.0, share / of) if share and of else 0
    return Markup(
        '<svg class="meter" aria-hidden="true" viewBox="0 0 100 4" preserveAspectRatio="none">'
        '<rect width="100" height="4" class="track"/><rect width="{:.1f}" height="4" class="level"/></svg>'
    ).format(long)


__all__ = ["doses", "escape", "lorenz", "meter", "recall", "ribbon", "sizes", "tail"]
