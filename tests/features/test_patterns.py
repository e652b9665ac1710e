"""The patterns family: counts and severity per row, in the rows' own order."""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner import rulebook
from scanner.features import patterns


def test_counts_and_severity_per_row() -> None:
    frame = pl.DataFrame(
        {
            "row_id": [0, 3, 3, 9],
            "segment": [0, 0, 1, 0],
            "text": ["nothing", "jane@roe-mail.net", "GB82 WEST 1234 5698 7654 32", "postgres://a:t7Rk9vQx2m@h/d"],
        },
        schema_overrides={"segment": pl.Int32},
    )
    scale = rulebook.bands()
    found = rulebook.load().find([frame])
    table = patterns.features(found, np.array([9, 0, 3]), np.array([0, 2, 0], np.int32))
    assert table.to_dict(as_series=False) == {
        "patterns.private": [0, 0, 2],
        "patterns.secret": [1, 0, 0],
        "patterns.names": [0, 2, 0],
        "patterns.severity": [scale.severity["high"], scale.severity["ordinary"], scale.severity["high"]],
    }
    assert table.dtypes == [pl.Int32, pl.Int32, pl.Float32, pl.Int32]


def test_no_finding_at_all() -> None:
    found = rulebook.load().find([])
    table = patterns.features(found, np.array([0, 1]), None)
    assert table["patterns.names"].to_list() == [None, None]  # not looked for is not none
    assert table["patterns.severity"].to_list() == [1.0, 1.0]
    assert len(patterns.features(found, np.array([], dtype=np.int64), None)) == 0
