"""The pictures of the prediction: skew by epoch, what if, calibration, and where the top 1 % of the rows sits.

Every figure says its finding in its title; every number in a picture stands in a table of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from scanner.reports import _words as words
from scanner.reports._measured import rehearsals
from scanner.reports._plot import Plot, Scale, between, decades, doublings, upper_decade
from scanner.reports._shapes import bar, framed, line, round_ticks, said, short
from scanner.store import RunFolder

FLOOR = 0.1
"""Expected rows below this are drawn on the axis: fewer than one row in ten trainings."""
ALIKE = 1.05
"""Times as many rows below which twice the epochs make no difference worth a number."""
REHEARSALS = 3
"""Rehearsals that are drawn; the rest are counted."""
PLANNED = "as planned"
PROBABILITIES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Figure:
    """A picture with its finding."""

    title: str
    told: str
    picture: Markup


@dataclass(frozen=True)
class Curves:
    """Figures by where they stand in the report; () where there is nothing to draw."""

    skew: tuple[Figure, ...]  # predicted, then measured beside predicted
    what_if: tuple[Figure, ...]  # one per variant of the plan
    calibration: tuple[Figure, ...]
    top: tuple[Figure, ...]
    more_rehearsals: int  # that are not drawn


def gather(run: RunFolder, scan: dict[str, Any], what_if: Sequence[dict[str, Any]]) -> Curves:
    """Every picture that the run's tables and rehearsals have something for."""
    summary, at = scan["summary"], scan["summary"]["prediction"]["extracted_tokens"]
    planned = (scan["settings"].get("plan") or {}).get("epochs")
    table = run.read_table("skew").to_dicts() if run.has_table("skew") else []
    rehearsed = rehearsals(run)
    found: list[Figure | None] = [skew(table, planned, summary["prediction"]["rows_measured"], at)]
    reliable: list[Figure | None] = []
    evaluation = ((scan.get("notes") or {}).get("prediction") or {}).get("evaluation") or {}
    for test in (evaluation, evaluation.get("ahead") or {}):
        on, error = str(test.get("on") or "the rows of the calibration"), test.get("calibration_error")
        reliable.append(calibration(test.get("bins") or (), on, at, error, test.get("calibration_error_by_chance")))
    for one in rehearsed[:REHEARSALS]:
        found.append(beside(one.predicted, one.measured, one.name, at))
        reliable.append(calibration(one.bins, f"the rehearsal {one.name}", at) if one.bins else None)
    for confirmed in summary.get("confirmed") or []:
        on = f"the model {confirmed['called']}, by what was predicted when it was confirmed"
        reliable.append(calibration(confirmed["beside"].get("bins") or (), on, at))
    return Curves(
        skew=_there(found),
        what_if=_there(what_if_panels(what_if, planned, at)) if summary["prediction"]["rows_measured"] else (),
        calibration=_there(reliable),
        top=_there([top(summary["skew"].get("where") or {})] if summary["skew"]["rows"] >= words.HUNDRED else []),
        more_rehearsals=max(0, len(rehearsed) - REHEARSALS),
    )


def _there(figures: Sequence[Figure | None]) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)


def _by_epoch(table: Sequence[dict[str, Any]], value: str) -> dict[float, list[tuple[float, float]]]:
    """[(n, rows)] of each number of epochs, both ascending."""
    curves: dict[float, list[tuple[float, float]]] = {}
    for entry in table:
        curves.setdefault(float(entry["epochs"]), []).append((float(entry["tokens"]), float(entry[value])))
    return {epochs: sorted(curves[epochs]) for epochs in sorted(curves)}


def _styles(epochs: Sequence[float], planned: float | None) -> dict[float, str]:
    """The plan's own curve stands out, longer ones are warm, shorter ones pale."""
    below = [e for e in epochs if planned is not None and e < planned]
    shades = {e: f"less-{min(3, len(below) - i)}" for i, e in enumerate(below)}
    return {e: shades.get(e, "main" if e == planned else "fourth") for e in epochs}


def _tail_plot(curves: dict[float, list[tuple[float, float]]], legend: int) -> tuple[Plot, dict[float, str]]:
    """The frame of a tail: tokens against rows, both logarithmic; room above for `legend` lines."""
    # beyond where the last curve lies on the floor there is nothing to see
    longest = max([32.0, *(2 * n for points in curves.values() for n, rows in points if rows >= FLOOR)])
    longest = min(longest, max([32.0, *(n for points in curves.values() for n, _ in points)]))
    most = upper_decade(max(rows for points in curves.values() for _, rows in points))
    ticks = doublings(longest)
    return Plot(
        Scale(1, longest, "log"), Scale(FLOOR, most, "log"), height=262 + 13 * legend, top=26 + 13 * legend
    ), ticks


def _legend(plot: Plot, lines: Sequence[tuple[str, str]]) -> list[Markup]:
    """(class, words) above the plot, from the left."""
    parts: list[Markup] = []
    for i, (style, text) in enumerate(lines):
        down = 25 + 13 * i
        parts += [line([(plot.left, down - 4), (plot.left + 16, down - 4)], f"curve {style}")]
        parts.append(said(plot.left + 22, down, text, "start", "t"))
    return parts


def skew(table: Sequence[dict[str, Any]], planned: float | None, rows: int, at: int) -> Figure | None:
    """Expected rows with N_pre >= n against n, one curve per number of epochs; the top 1 % of the plan is marked."""
    curves = _by_epoch(table, "expected_rows")
    if not curves or not any(value > 0 for points in curves.values() for _, value in points):
        return None
    styles = _styles(list(curves), planned)
    plot, ticks = _tail_plot(curves, len(curves))
    counts = {epochs: dict(points).get(at) for epochs, points in curves.items()}
    parts = [
        plot.axes(ticks, decades(FLOOR, plot.y.high), "tokens recited before the first miss, n", "rows with N_pre ≥ n"),
        plot.upright(at), *_legend(plot, [
            (styles[e], f"{words.plural_g(e, 'epoch')}: "
                        f"{words.about_many(counts[e], 'row reaches', 'rows reach')} {at} tokens"
                        f"{' (planned)' if e == planned else ''}") for e in reversed(curves)
        ]),
    ]  # fmt: skip
    for epochs, points in curves.items():
        seen = [p for p in points if p[0] <= plot.x.high]
        parts += [plot.curve(seen, styles[epochs]), plot.dots([p for p in seen if p[1] >= FLOOR], styles[epochs])]
    first = rows / 100
    tokens = between(curves[planned], first) if planned in curves and first >= FLOOR else None
    if tokens:
        mark = f"1 % of the rows: {words.plural(round(tokens), 'token')} or more"
        parts += [plot.across(first), plot.dots([(tokens, first)], "fourth", 3.6)]
        parts.append(plot.label(plot.x.high, first, mark, "end", right=0, up=5))
    told = "; ".join(
        f"{words.plural_g(e, 'epoch')}: " + ", ".join(f"{rows:.3g} rows reach {n:g}" for n, rows in points)
        for e, points in curves.items()
    )
    return Figure(
        _skew_title(counts, planned, at),
        "Expected rows that are recited for at least n tokens, for shorter and longer training. Rows with an answer of "
        f"{at} tokens or more.",
        plot.drawn(f"Expected skew of memorized length by epochs. {told}", parts),
    )


def _skew_title(counts: dict[float, float | None], planned: float | None, at: int) -> str:
    now, later = counts.get(planned or 0.0), counts.get(2 * (planned or 0.0))
    if not now or not later:
        return f"How many rows reach {at} tokens, by epochs"
    if later < 0.5:
        return f"Hardly a row reaches {at} tokens, nor after twice the epochs"
    if now >= 0.05 and later < ALIKE * now:
        return f"After twice the epochs hardly more rows reach {at} tokens"
    much = (
        f"{words.number(later / now, 1 if later < 9.95 * now else 0).removesuffix('.0')} times as many rows"
        if now >= 0.05
        else f"{words.about_many(later, 'row')} instead of hardly one"
    )
    return f"After twice the epochs {much} reach {at} tokens"


def beside(
    predicted: Sequence[dict[str, Any]], measured: Sequence[dict[str, Any]], name: str, at: int
) -> Figure | None:
    """Measured rows with N_pre >= n as points beside the predicted curves, for the rows of a rehearsal."""
    seen = _by_epoch(measured, "rows")
    curves = {e: points for e, points in _by_epoch(predicted, "expected_rows").items() if e in seen}
    if not any(rows > 0 for points in (*curves.values(), *seen.values()) for _, rows in points):
        return None
    last = max(curves)
    styles = _styles(list(curves), last)
    plot, ticks = _tail_plot(curves | {0.0: [p for points in seen.values() for p in points]}, len(curves))
    parts = [
        plot.axes(ticks, decades(FLOOR, plot.y.high), "tokens recited before the first miss, n", "rows with N_pre ≥ n"),
        plot.upright(at), *_legend(plot, [
            (styles[e], f"{words.plural_g(e, 'epoch')}: {words.plural(dict(seen[e]).get(at, 0), 'row')} reached "
                        f"{at} tokens, {words.about(dict(curves[e]).get(at))} predicted") for e in reversed(curves)
        ]),
    ]  # fmt: skip
    for epochs, points in curves.items():
        parts += [plot.curve([p for p in points if p[0] <= plot.x.high], styles[epochs])]
        parts += [plot.dots([p for p in seen[epochs] if p[1]], styles[epochs], 3.4)]
    told = "; ".join(
        f"{words.plural_g(e, 'epoch')}: "
        + ", ".join(
            f"{words.plural(rows, 'row')} reached {n:g}, {dict(curves[e])[n]:.3g} predicted" for n, rows in seen[e]
        )
        for e in curves
    )
    true, expected = dict(seen[last]).get(at, 0), dict(curves[last]).get(at)
    return Figure(
        f"Measured: {words.plural(int(true), 'row')} recited for {at} tokens after {words.plural_g(last, 'epoch')}; "
        f"predicted: {words.about(expected)}",
        f"Rehearsal {name}. Lines: predicted for its rows; points: measured (none where no row got that far).",
        plot.drawn(f"Measured beside predicted memorized length. {told}", parts),
    )


def what_if_panels(rows: Sequence[dict[str, Any]], planned: float | None, at: int) -> list[Figure | None]:
    """Expected rows against epochs with the 90 % interval, one panel per variant of the plan, on one scale."""
    usable = [r for r in rows if r.get("epochs") is not None and r.get("expected_rows") is not None]
    by_variant: dict[str, list[dict[str, Any]]] = {}
    for r in sorted(usable, key=lambda r: r["epochs"]):
        by_variant.setdefault(str(r.get("variant") or PLANNED), []).append(r)
    if not by_variant:
        return []
    most = upper_decade(max(r.get("high") or r["expected_rows"] for r in usable), 1.0)
    longest = max(r["epochs"] for r in usable)
    base = by_variant.get(PLANNED)
    panels: list[Figure | None] = [
        _what_if(variant, lines, base if variant != PLANNED else None, planned, most, longest, at)
        for variant, lines in by_variant.items()
        if len(lines) > 1
    ]
    now = _at(base or [], planned)
    others = [lines[0] for lines in by_variant.values() if len(lines) == 1]
    return [*panels, options([now, *others] if now else others, at)]


def options(lines: Sequence[dict[str, Any]], at: int) -> Figure | None:
    """Other ways to train for as many epochs: expected rows with the 90 % interval, one line for each."""
    if len(lines) < 2:
        return None
    low = 10 ** math.floor(math.log10(max(FLOOR, min(r.get("low") or r["expected_rows"] for r in lines))) + 1e-9)
    high = upper_decade(max(r.get("high") or r["expected_rows"] for r in lines), 10 * low)
    step, top = 22.0, 26.0
    plot = Plot(Scale(low, high, "log"), Scale(0, 1), 380, top + step * len(lines) + 46, left=140, right=80, top=top)
    ticks = decades(low, high)
    parts, told = [plot.axes(ticks, {}, f"rows with N_pre ≥ {at}", "")], []
    for i, r in enumerate(lines):
        y = 1 - (i + 0.5) / len(lines)
        style = "main" if i else "fourth"
        if _has_interval(r):
            parts.append(line([plot.at(r["low"], y), plot.at(r["high"], y)], "whisker"))
        parts.append(plot.dots([(r["expected_rows"], y)], style, 3.6))
        parts.append(plot.label(low, y, str(r["variant"]), "end", "t", right=-8, up=-3.5))
        beyond = max(r["expected_rows"], r["high"] if _has_interval(r) else 0.0)  # what is drawn of the line ends there
        parts.append(plot.label(beyond, y, words.about(r["expected_rows"]), right=7, up=-3.5))
        told.append(
            f"{r['variant']}: {r['expected_rows']:.3g} rows"
            + (f" ({r['low']:.3g} to {r['high']:.3g})" if _has_interval(r) else "")
        )
    first, best = lines[0], min(lines, key=lambda r: r["expected_rows"])
    title = "No other way to train would recite clearly fewer rows"
    is_shown = words.about(best["expected_rows"]) != words.about(first["expected_rows"])
    if is_shown and best["expected_rows"] < 0.8 * first["expected_rows"] and first["expected_rows"] >= FLOOR:
        title = (
            f"{best['variant'][:1].upper()}{best['variant'][1:]}: {words.about_many(best['expected_rows'], 'row')} "
            f"instead of {words.about(first['expected_rows'])}"
        )
    return Figure(
        title,
        f"For {words.plural_g(first['epochs'], 'epoch')}. Dot: expected rows; line: 90 % interval. The intervals share "
        "the doubt about the level of the base model.",
        plot.drawn(f"What if the plan were another: {'; '.join(told)}", parts),
    )


def _what_if(
    variant: str, lines: list[dict[str, Any]], base: list[dict[str, Any]] | None, planned: float | None, most: float,
    longest: float, at: int,
) -> Figure:  # fmt: skip
    plot = Plot(Scale(0, longest), Scale(FLOOR, most, "log"))
    ticks = {t: f"{t:g}" for t in round_ticks(longest) if t <= longest}
    parts = [plot.axes(ticks, decades(FLOOR, most), "epochs", f"rows with N_pre ≥ {at}")]
    banded = [(r["epochs"], r["low"], r["high"]) for r in lines if _has_interval(r)]
    if len(banded) > 1:
        parts.append(plot.band(banded))
    if planned is not None and planned <= longest:
        parts += [plot.upright(planned), plot.label(planned, FLOOR, "planned", up=5)]
    if base:
        parts.append(plot.curve(_points(base), "less-2"))
    parts += [plot.curve(_points(lines), "main"), plot.dots(_points(lines), "main")]
    now, before = _at(lines, planned), _at(base or [], planned)
    if now is not None and planned is not None:
        parts += [plot.dots([(planned, now["expected_rows"])], "fourth", 3.6)]
    told = ", ".join(
        f"{r['expected_rows']:.3g} rows at {r['epochs']:g}"
        + (f" ({r['low']:.3g} to {r['high']:.3g})" if _has_interval(r) else "")
        for r in lines
    )
    named = variant[:1].upper() + variant[1:]
    title = named
    if now is not None:
        title = f"{named}: {words.about_many(now['expected_rows'], 'row')} at {words.plural_g(now['epochs'], 'epoch')}"
        title += f" instead of {words.about(before['expected_rows'])}" if before else ""
    explained = [f"90 % interval {words.about(now['low'])} to {words.about(now['high'])}." if now and _has_interval(now)
                 else "No interval is known." if not banded else "Shaded: 90 % interval.",
                 "Pale: as planned." if base else ""]  # fmt: skip
    return Figure(title, " ".join(filter(None, explained)), plot.drawn(f"What if: {variant}. {told}", parts))


def _has_interval(r: dict[str, Any]) -> bool:
    return r.get("low") is not None and r.get("high") is not None


def _points(lines: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(r["epochs"], r["expected_rows"]) for r in lines]


def _at(lines: Sequence[dict[str, Any]], epochs: float | None) -> dict[str, Any] | None:
    return next((r for r in lines if epochs is not None and abs(r["epochs"] - epochs) < 1e-9), None)


def calibration(
    bins: Sequence[dict[str, Any]], on: str, at: int, error: float | None = None, by_chance: float | None = None
) -> Figure | None:
    """Predicted probability against the share that came true, with 90 % intervals; both axes by the square root.

    error: expected calibration error where it was measured on the rows themselves, else it is that of the bins.
    """
    if not bins:
        return None
    plot = Plot(Scale(0, 1, "root"), Scale(0, 1, "root"))
    ticks = {p: f"{p:g}".replace("0.", ".") for p in PROBABILITIES}
    names = (f"predicted probability of N_pre ≥ {at}", f"share of rows with N_pre ≥ {at}")
    parts = [plot.axes(ticks, ticks, *names), line([plot.at(0, 0), plot.at(1, 1)], "guide")]
    free = -math.inf  # up to where a label reaches already
    for b in sorted(bins, key=lambda b: b["predicted"]):
        parts += [
            plot.whisker(b["predicted"], b["low"], b["high"]),
            plot.dots([(b["predicted"], b["observed"])], "main", 3.4),
        ]
        count, (at_x, _) = short(b["rows"]), plot.at(b["predicted"], b["high"])
        if at_x - 3.5 * len(count) > free:
            parts.append(plot.label(b["predicted"], b["high"], count, "middle", right=0, up=4))
            free = at_x + 3.5 * len(count)
    rows = sum(b["rows"] for b in bins)
    expected, true = (sum(b[key] * b["rows"] for b in bins) for key in ("predicted", "observed"))
    if error is None:
        error = sum(abs(b["predicted"] - b["observed"]) * b["rows"] for b in bins) / rows
    chance = "" if by_chance is None else f" ({by_chance:.3f} by chance alone)"
    told = "; ".join(
        f"predicted {b['predicted']:.3g}: {b['observed']:.3g} of {words.plural(b['rows'], 'row')} "
        f"({b['low']:.3g} to {b['high']:.3g})"
        for b in bins
    )
    return Figure(
        f"{words.number(true)} of {words.plural(rows, 'row')} recited, {words.about(expected)} predicted",
        f"On {on}: expected calibration error {error:.3f}{chance}. Points: share recited among rows of about equal "
        "predicted probability, with its 90 % interval and the number of rows; on the dotted line a prediction is "
        "right.",
        plot.drawn(f"Calibration on {on}. {told}", parts),
    )


def top(where: dict[str, Any]) -> Figure | None:
    """What the top 1 % of the rows are like: per trait the share of them, beside the share of all rows."""
    traits = where.get("traits") or []
    if not traits:
        return None
    left, step, width = 168.0, 26.0, 380.0
    room = width - left - 70
    parts, told = [], []
    for i, trait in enumerate(traits):
        y = 26 + i * step
        name = trait["name"] if len(trait["name"]) <= 28 else trait["name"][:27] + "…"
        parts += [said(left - 8, y + 11, name, "end"), bar(left, y, room * trait["top_share"])]
        at = left + room * trait["all_share"]
        parts.append(line([(at, y - 2), (at, y + 16)], "mark"))
        end = left + room * max(trait["top_share"], trait["all_share"])
        parts.append(said(end + 6, y + 11, words.percent(trait["top_share"]), "start", "t main"))
        told.append(f"{trait['name']}: {words.percent(trait['top_share'])} of the top rows, "
                    f"{words.percent(trait['all_share'])} of all rows")  # fmt: skip
    height = 26 + step * len(traits) + 4
    parts += [bar(left, 2, 14), said(left + 19, 13, f"of the top {where['rows']:,}", "start", "t name")]
    parts += [line([(left + 116, 0), (left + 116, 18)], "mark"), said(left + 122, 13, "of all", "start", "t name")]
    best = max(traits, key=lambda t: t["top_share"] - t["all_share"])
    title = f"The top 1 % of the rows ({where['rows']:,}) are much like the others"
    if best["top_share"] - best["all_share"] >= 0.05:
        also = "are" if best["phrase"].startswith("are ") else "do"
        title = (
            f"{'All' if best['top_share'] == 1 else words.percent(best['top_share'])} of the top 1 % of the rows "
            f"({where['rows']:,}) {best['phrase']}; {words.percent(best['all_share'])} of all rows {also}"
        )
    return Figure(
        title,
        "By expected memorized tokens. Bar: share of the top 1 % with this trait; mark: share of all rows. A row can "
        "have several.",
        framed(f"Where the top 1 % of the rows sits. {'; '.join(told)}", parts, width, height),
    )
