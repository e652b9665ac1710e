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
from scanner.reports._shapes import Points, bar, dot, framed, line, said, short

WIDTH, HEIGHT = 380.0, 242.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 14.0, 26.0, 46.0

RIBBON_CUTS = (0.01, 0.1)
"""Shares of the rows at which the ribbon is parted."""


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


def _axes(
    x: Axis, y: Axis, xs: Points, ys: Points, x_name: str, y_name: str, names: dict[float, str] | None = None
) -> list[Markup]:
    """Hairlines for y, ticks for x. xs, ys: (value, 0); names: how a tick is written, by value."""
    names = names or {}
    parts = []
    for value, _ in ys:
        at = y(value)
        parts.append(line([(LEFT, at), (WIDTH - RIGHT, at)], "grid"))
        parts.append(said(LEFT - 6, at + 3.5, names.get(value, short(value)), "end"))
    for value, _ in xs:
        at = x(value)
        parts.append(line([(at, HEIGHT - BOTTOM), (at, HEIGHT - BOTTOM + 4)], "axis"))
        parts.append(said(at, HEIGHT - BOTTOM + 16, names.get(value, short(value))))
    parts.append(line([(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], "axis"))
    parts.append(said((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_name, style="t name"))
    parts.append(said(0, 10, y_name, "start", "t name"))
    return parts


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
    parts.append(line([(x(extracted), TOP), (x(extracted), HEIGHT - BOTTOM)], "guide"))
    parts.append(said(x(extracted) + 4, TOP + 8, f"{extracted} tokens", "start", "t soft"))
    for row, (label, style, points) in enumerate(curves):
        parts.append(line([(x(n), y(rows)) for n, rows in points], f"curve {style}"))
        parts += [dot(x(n), y(rows), f"dot {style}") for n, rows in points]
        key = HEIGHT - BOTTOM - 8 - 13 * (len(curves) - 1 - row)
        parts += [dot(LEFT + 8, key - 3.5, f"dot {style}"), said(LEFT + 15, key, label, "start", f"t {style}")]
    told = "; ".join(
        f"{label}: " + ", ".join(f"{rows:g} rows reach {n:g}" for n, rows in points) for label, _, points in curves
    )
    return framed(f"Tail of memorized length. {told}", parts, WIDTH, HEIGHT)


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
        parts.append(line([(at, y(low)), (at, y(high))], "range"))
        parts.append(line([(at - 5, y(middle)), (at + 5, y(middle))], "middle"))
        parts.append(dot(at, y(dose["mean"]), "dot main", 3.4))
        parts.append(said(at, HEIGHT - BOTTOM + 13, name))
        parts.append(said(at, HEIGHT - BOTTOM + 24, words.number(dose["rows"]), style="t soft"))
        told.append(f"{name}: {words.plural(dose['rows'], 'row')}, mean {dose['mean']:.2f}")
    return framed("Probability of extraction by exposures. " + "; ".join(told), parts, WIDTH, HEIGHT)


def sizes(bins: Sequence[Sequence[int]]) -> Markup | None:
    """Clusters by size as horizontal bars; bins: [first size, last size, clusters, rows]."""
    bins = [b for b in bins if b[2]]
    if not bins:
        return None
    most = max(rows for *_, rows in bins)
    apart, left = 24.0, 76.0
    parts, told = [], []
    for i, (first, last, clusters, rows) in enumerate(bins):
        at = 10 + i * apart
        name = f"{first}" if first == last else f"{first}–{last}"
        long = max(1.5, (WIDTH - left - 150) * rows / most)
        parts.append(said(left - 8, at + 11, f"{name} rows", "end"))
        parts.append(bar(left, at, long))
        label = f"{words.plural(clusters, 'cluster')}, {words.plural(rows, 'row')}"
        parts.append(said(left + long + 6, at + 11, label, "start", "t soft"))
        told.append(f"size {name}: {label}")
    return framed("Clusters by size. " + "; ".join(told), parts, WIDTH, 14 + apart * len(bins))


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
    parts.append(line([(x(a), y(b)) for a, b in even], "guide"))
    parts.append(said(x(1), y(0.025), "all rows alike", "end", "t soft"))
    parts.append(line([(x(a), y(b)) for a, b in points], "curve main"))
    told = []
    for mark in (0.01, 0.1):
        if mark < points[0][0]:
            continue
        a, b = next((p for p in points if p[0] >= mark), points[-1])
        parts += [dot(x(a), y(b), "dot main", 3.4), said(x(a) - 6, y(b) - 6, f"{100 * b:.0f} %", "end", "t main")]
        told.append(f"{words.percent(a)} of rows carry {words.percent(b)}")
    return framed("Skew of memorization. " + "; ".join(told), parts, WIDTH, HEIGHT)


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
        parts.append(line([(x(threshold), TOP), (x(threshold), HEIGHT - BOTTOM)], "guide"))
        # a sketch never promises all pairs, so it is not rounded up to that
        share = "> 99.9 %" if 0.999 < found < 1 else f"{100 * found:.1f} %"
        parts.append(said(x(threshold) - 5, y(0.5), f"{share} at {threshold:g}", "end", "t main"))
        told = f"{share} of the pairs at {threshold:g} are found"
    parts.append(line([(x(a), y(b)) for a, b in points], "curve main"))
    return framed(f"Achieved recall of the near-duplicate search. {told}", parts, WIDTH, HEIGHT)


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
