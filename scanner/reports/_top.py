"""Where the top 1 % of the rows sits: which traits the rows with the most expected memorized tokens share."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from scanner.evidence import PRIVATE

NEAR = 0.05
"""Near copies together worth this much of a copy count (they are named in the reasons from here on)."""
PARTS = 3
"""Sources and scripts that are named."""


def where(rows: pl.DataFrame, prediction: pl.DataFrame, spans: pl.DataFrame) -> dict[str, Any]:
    """{"rows": k, "traits": [{"name", "phrase", "top_share", "all_share"}]} of the top 1 % by expected tokens.

    Ties go to the smaller row_id. Rows without a supervised answer are left out; {} where none has one, or
    where copies were not counted.
    """
    joined = prediction.select(
        "row_id", pl.col("expected_tokens").cast(pl.Float64).fill_null(math.nan), pl.col("taxon").cast(pl.String)
    ).filter(pl.col("expected_tokens").is_not_nan()).join(rows, on="row_id")  # fmt: skip
    if not len(joined) or "copies_exact" not in joined.columns:
        return {}
    joined = joined.sort(["expected_tokens", "row_id"], descending=[True, False])
    count = max(1, math.ceil(len(joined) / 100))
    top = joined.head(count)
    private = spans.filter(PRIVATE)["row_id"].unique()
    copies, near = pl.col("copies_exact"), pl.lit(0.0)
    if "copies.near_mass" in joined.columns:
        near = pl.col("copies.near_mass").fill_nan(0).fill_null(0)
    traits: list[tuple[str, str, pl.Expr]] = [
        ("more than five exact copies", "have more than five exact copies", copies > 5),
        ("two to five exact copies", "have two to five exact copies", copies.is_between(2, 5)),
        ("near copies only", "have near copies and no exact one", (copies == 1) & (near >= NEAR)),
        ("no copy of any kind", "have no copy of any kind", (copies == 1) & (near < NEAR)),
        ("text that continues itself", "hold text that continues itself", pl.col("taxon") == "reconstruct"),
        ("private data or a secret", "hold private data or a secret", pl.col("row_id").is_in(private.implode())),
        *_parts(joined, top, "source", "from {}", "come from {}"),
        *_parts(joined, top, "script.answer", "script {}", "are answered in {} script"),
    ]
    found = [
        {
            "name": name,
            "phrase": phrase,
            "top_share": float(top.select(trait.mean()).item() or 0.0),
            "all_share": float(joined.select(trait.mean()).item() or 0.0),
        }
        for name, phrase, trait in traits
    ]
    return {"rows": count, "traits": [t for t in found if t["top_share"] or t["all_share"]]}


def _parts(
    joined: pl.DataFrame, top: pl.DataFrame, column: str, name: str, phrase: str
) -> list[tuple[str, str, pl.Expr]]:
    """One trait per value of a column that has several, the commonest of the top rows first."""
    if column not in joined.columns or joined[column].n_unique() < 2:
        return []
    counts = top.group_by(pl.col(column).cast(pl.String).alias("part")).len()
    named = counts.sort(["len", "part"], descending=[True, False])["part"].head(PARTS).to_list()
    return [(name.format(part), phrase.format(part), pl.col(column).cast(pl.String) == part) for part in named]
