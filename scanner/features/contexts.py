"""What the other rows know of a row, as columns of rows.parquet; see `scanner.contextual` for each one's meaning."""

from __future__ import annotations

import polars as pl

from scanner.contextual import ContextSummary


def features(summary: ContextSummary) -> pl.DataFrame:
    """One row per row read, columns contexts.<name>; NaN where a row has no supervised token."""
    return pl.DataFrame(summary.columns())
