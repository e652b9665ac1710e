"""What a plan is made from."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from scanner import keeping
from scanner.objects import Clusters, Rows


@dataclass(frozen=True)
class Findings:
    """What the plan is made from; (n,) over rows."""

    rows: Rows
    clusters: Clusters
    pairs: pl.DataFrame  # pairs.parquet
    spans: pl.DataFrame  # spans.parquet
    prediction: pl.DataFrame  # prediction.parquet, in row order
    table: pl.DataFrame  # rows.parquet, in row order, for its features
    preferred: keeping.Preference | None = None  # the order in which rows stay
    copied: pl.DataFrame | None = None  # (row_id, source, item): rows that an earlier run holds as they are
    matches: pl.DataFrame | None = None  # matches.parquet, with earlier runs and with evaluation items
    unread: pl.DataFrame | None = None  # unread.parquet
