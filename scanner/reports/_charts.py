"""Charts as inline SVG: few marks, direct labels, colours by class so that the page's dark mode reaches them.

Every function takes plain numbers and returns markup with an aria-label that says in words what the chart shows; all
text is escaped. Coordinates are SVG user units, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from scanner.reports import _words as words
from scanner.reports._plot import Plot, Scale, decades, doublings, upper_decade
from scanner.reports._shapes import Points, bar, dot, framed, line, said

WIDTH = 380.0
QUARTERS = {t / 4: f"{t / 4:g}" for t in range(5)}

RIBBON_CUTS = (0.01, 0.1)
"""Shares of the rows at which the ribbon is parted."""


def tail(curves: Sequence[tuple[str, str, Points]], extracted: int) -> Markup | None:
    """How many rows reach at least n tokens; both axes logarithmic. curves: (label, class, [(n, rows)])."""
    curves = [(label, style, [p for p in points if p[1] > 0]) for label, style, points in curves]
    curves = [curve for curve in curves if curve[2]]
    if not curves:
        return None
    every = [p for _, _, points in curves for p in points]
    longest = max(32.0, max(n for n, _ in every))
    most = upper_decade(max(rows for _, rows in every))
    least = 10.0 ** math.floor(math.log10(min(1.0, min(rows for _, rows in every))))
    plot = Plot(Scale(1, longest, "log"), Scale(least, most, "log"))
    ticks = doublings(longest)
    parts = [
        plot.axes(ticks, decades(least, most), "tokens recited before the first miss, n", "rows with N_pre ≥ n"),
        plot.upright(extracted),
        plot.label(extracted, most, f"{extracted} tokens", up=-8),
    ]
    for row, (label, style, points) in enumerate(curves):
        parts += [plot.curve(points, style), plot.dots(points, style)]
        key = plot.height - plot.bottom - 8 - 13 * (len(curves) - 1 - row)
        parts += [
            dot(plot.left + 8, key - 3.5, f"dot {style}"),
            said(plot.left + 15, key, label, "start", f"t {style}"),
        ]
    told = "; ".join(
        f"{label}: " + ", ".join(f"{words.plural_g(rows, 'row reaches', 'rows reach')} {n:g}" for n, rows in points)
        for label, _, points in curves
    )
    return plot.drawn(f"Tail of memorized length. {told}", parts)


def doses(bins: Sequence[dict[str, Any]]) -> Markup | None:
    """p_extract by exposures: the middle 80 % of each bin as a line, its mean as a dot, its rows as a number."""
    if not bins:
        return None
    plot = Plot(Scale(0, len(bins)), Scale(0, 1))
    parts = [plot.axes({}, QUARTERS, "dose, in reference visits; below it the rows", "p_extract")]
    told = []
    for i, dose in enumerate(bins):
        place = i + 0.5
        low, middle, high = dose["q"]
        name = f"{dose['from']:g}–{dose['to']:g}" if dose["to"] is not None else f"≥ {dose['from']:g}"
        across, at = plot.at(place, middle)
        parts.append(line([plot.at(place, low), plot.at(place, high)], "range"))
        parts.append(line([(across - 5, at), (across + 5, at)], "middle"))
        parts.append(plot.dots([(place, dose["mean"])], "main", 3.4))
        parts.append(plot.label(place, 0, name, "middle", "t", right=0, up=-13))
        parts.append(plot.label(place, 0, words.number(dose["rows"]), "middle", right=0, up=-24))
        told.append(f"{name}: {words.plural(dose['rows'], 'row')}, mean {dose['mean']:.2f}")
    return plot.drawn("Probability of extraction by exposures. " + "; ".join(told), parts)


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
    least = 10.0 ** math.floor(math.log10(points[0][0]))
    plot = Plot(Scale(least, 1, "log"), Scale(0, 1))
    xs = {v: words.percent(v) if v >= 0.001 else f"{100 * v:g} %" for v in decades(least, 1)}
    ys = {v: f"{100 * v:.0f} %" for v in QUARTERS}
    even = [(least * (1 / least) ** (i / 40), least * (1 / least) ** (i / 40)) for i in range(41)]
    parts = [
        plot.axes(xs, ys, "share of rows, most memorized first", "share of memorized tokens"),
        line([plot.at(*p) for p in even], "guide"),
        plot.label(1, 0.025, "all rows alike", "end", right=0),
        plot.curve(points, "main"),
    ]
    told = []
    for mark in RIBBON_CUTS:
        if mark < points[0][0]:
            continue
        a, b = next((p for p in points if p[0] >= mark), points[-1])
        parts += [plot.dots([(a, b)], "main", 3.4), plot.label(a, b, f"{100 * b:.0f} %", "end", "t main", -6, 6)]
        told.append(f"{words.percent(a)} of rows carry {words.percent(b)}")
    return plot.drawn("Skew of memorization. " + "; ".join(told), parts)


def recall(points: Points, threshold: float | None) -> Markup | None:
    """Probability that a pair of this similarity became a candidate."""
    if len(points) < 2:
        return None
    plot = Plot(Scale(0, 1), Scale(0, 1))
    parts = [plot.axes(QUARTERS, QUARTERS, "Jaccard similarity of a pair", "probability to be found")]
    told = ""
    if threshold is not None:
        _, found = min(points, key=lambda p: abs(p[0] - threshold))
        # a sketch never promises all pairs, so it is not rounded up to that
        share = "> 99.9 %" if 0.999 < found < 1 else f"{100 * found:.1f} %"
        parts += [
            plot.upright(threshold),
            plot.label(threshold, 0.5, f"{share} at {threshold:g}", "end", "t main", right=-5),
        ]
        told = f"{share} of the pairs at {threshold:g} are found"
    parts.append(plot.curve(points, "main"))
    return plot.drawn(f"Achieved recall of the near-duplicate search. {told}", parts)


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
