"""What private or secret spans the rules found in a row.

patterns.private   spans of kind private (spans)
patterns.secret    spans of kind secret (spans)
patterns.names     names of its fields that hold private values or secrets; null: not looked for
patterns.severity  the largest severity among them; that of ordinary text where there is none (rules/bands.toml)
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner import rulebook
from scanner.objects import Int32, Int64


def features(findings: pl.DataFrame, row_id: Int64, names: Int32 | None) -> pl.DataFrame:
    """One row per row read, in the order of `row_id` (n,); columns as named above.

    findings: as `Rulebook.find` gives them (at least row_id, kind, severity). names: (n,) as Rows.private_names.
    """
    per_row = findings.group_by("row_id").agg(
        (pl.col("kind") == "private").sum().cast(pl.Int32).alias("patterns.private"),
        (pl.col("kind") == "secret").sum().cast(pl.Int32).alias("patterns.secret"),
        pl.col("severity").max().cast(pl.Float32).alias("patterns.severity"),
    )
    rows = pl.DataFrame({"row_id": np.asarray(row_id, np.int64)})
    named = pl.Series("patterns.names", [None] * len(rows) if names is None else names, pl.Int32)
    return (
        rows.join(per_row, on="row_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("patterns.private", "patterns.secret").fill_null(0),
            pl.col("patterns.severity").fill_null(rulebook.bands().severity["ordinary"]),
        )
        .drop("row_id")
        .with_columns(named)
    )
