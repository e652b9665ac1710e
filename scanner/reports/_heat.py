"""Memorized spans in the summary, in sentences and beside the riskiest rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from scanner.evidence import Evidence, shortened
from scanner.heat import FROM_START, Shade, kept, memorized, private_inside, shades
from scanner.store import RunFolder

LEVELS = ((0.9, "hot"), (0.5, "warm"), (0.0, "cold"))
"""Class of a shade by its heat."""


def summarised(spans: pl.DataFrame, notes: dict[str, Any]) -> dict[str, Any]:
    """Spans, rows and tokens; private values inside, and how many rows were looked at."""
    said = notes.get("memorized") or {}
    found, inside = memorized(spans), private_inside(spans)
    tokens = found["tokens"] if "tokens" in found.columns else pl.Series([], dtype=pl.Int64)
    return {
        "measured": bool(said),
        "rows_looked_at": said.get("rows_looked_at"),
        "rows_eligible": said.get("rows_eligible"),
        "tokens_at_least": said.get("tokens_at_least"),
        "chance_at_least": said.get("chance_at_least"),
        "spans": len(found),
        "rows": found["row_id"].n_unique() if len(found) else 0,
        "tokens": int(tokens.sum() or 0),
        "from_start": int((found["rule_id"].cast(pl.String) == FROM_START).sum()),
        "private_values": len(inside),
        "private_rows": inside["row_id"].n_unique() if len(inside) else 0,
    }


def sentences(summary: dict[str, Any]) -> list[str]:
    """What would come out word for word, and what is private in it; nothing where it was not measured."""
    seen = summary.get("memorized") or {}
    if not seen.get("measured"):
        return []
    of = f"of the {_counted(seen['rows_looked_at'], 'row')} looked at"
    if seen["rows_eligible"] > seen["rows_looked_at"]:
        looked = "riskiest" if seen["rows_looked_at"] == 1 else f"{seen['rows_looked_at']:,} riskiest"
        of = f"of the {looked} of {seen['rows_eligible']:,} rows at risk"
    if not seen["spans"]:
        return [f"Memorized spans: none of {seen['tokens_at_least']} tokens or more is predicted."]
    lines = [
        f"Memorized spans: {seen['spans']:,} in {_counted(seen['rows'], 'row')} ({of}), "
        f"{_counted(seen['tokens'], 'token')}; each is predicted to come out word for word with a chance of "
        f"{seen['chance_at_least']:g} or more, {seen['from_start']:,} of them from the answer's start."
    ]
    return [*exposed(summary), *lines]


def exposed(summary: dict[str, Any]) -> list[str]:
    """The private values that lie inside memorized spans: what to look at first. Empty where there are none."""
    seen = summary.get("memorized") or {}
    if not seen.get("private_values"):
        return []
    verb = "lies" if seen["private_values"] == 1 else "lie"
    return [
        f"{_counted(seen['private_values'], 'private value')} {verb} inside spans predicted to be memorized, in "
        f"{_counted(seen['private_rows'], 'row')}: look at these first."
    ]


def gather(run: RunFolder, row_ids: list[int], evidence: Evidence, limit: int = 280) -> dict[int, tuple[Shade, ...]]:
    """Shades of the longest answers, cut after `limit` characters; rows without heat are left out."""
    seen, found = kept(run, row_ids, evidence), {}
    for row_id in row_ids:
        shown, left = [], limit
        for shade in shades(seen, row_id, evidence.answer_segment(row_id)):
            if left <= 1:
                break
            shown.append(replace(shade, text=shortened(shade.text, left)))
            left -= len(shade.text)
        if shown:
            found[row_id] = tuple(shown)
    return found


def level(shade: Shade) -> str:
    """Class of a shade: hot, warm or cold."""
    return next(name for least, name in LEVELS if shade.p >= least)


def told(shade: Shade) -> str:
    """What the reader is told of a shade when asking."""
    inside = f"; inside a span memorized with chance {shade.score:.2f}" if shade.score else ""
    return f"chance per token {shade.p:.2f}{inside}"


def _counted(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"
