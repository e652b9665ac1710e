"""Repeated passages in the summary and in one line."""

from __future__ import annotations

from typing import Any

import polars as pl

from scanner.repeats import kept

OF_INTEREST = ("leakage", "within")
"""Kinds whose rows are counted in the line of findings: boilerplate and echoes are mostly meant to be there."""


def summarised(spans: pl.DataFrame, plan: pl.DataFrame, notes: dict[str, Any], rows: int) -> dict[str, Any]:
    """Passages, rows and tokens by kind, over the rows that the plan keeps; see signals/span.py for the kinds."""
    said = notes.get("span") or {}
    found = kept(spans, plan)
    by_kind = found.group_by("what").agg(
        pl.col("passage").n_unique().alias("passages"),
        pl.col("row_id").n_unique().alias("rows"),
        pl.col("tokens").sum().alias("tokens"),
    )
    touched = found.filter(pl.col("what").is_in(OF_INTEREST))["row_id"].n_unique() if len(found) else 0
    return {
        "measured": bool(said.get("measured")),
        "tokens_at_least": said.get("tokens_at_least"),
        "boilerplate_from_rows": said.get("boilerplate_from_rows"),
        "rows": touched,
        "share": touched / rows if rows else None,
        "kinds": {what: {"passages": p, "rows": r, "tokens": t} for what, p, r, t in sorted(by_kind.iter_rows())},
    }


def in_words(found: dict[str, Any]) -> str:
    """Details for the line of findings."""
    if not found.get("measured"):
        return "not looked for"
    kinds = found["kinds"]

    def of(kind: str, what: str) -> int:
        return int((kinds.get(kind) or {}).get(what, 0))

    leaked = of("leakage", "passages")
    some = f"{leaked:,}" if leaked else "none"
    parts = [f"{some} of {found['tokens_at_least']} tokens or more in a few rows each"]
    for kind, one, many in (
        ("within", "row repeats itself", "rows repeat themselves"),
        ("echo", "row holds a text twice", "rows hold a text twice"),
        ("boilerplate", "row with boilerplate", "rows with boilerplate"),
    ):
        rows = of(kind, "rows")
        if rows:
            parts.append(f"{rows:,} {one if rows == 1 else many}")
    return "; ".join(parts)
