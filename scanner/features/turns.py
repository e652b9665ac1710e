"""What single turns of a row have in common with other rows.

turns.opening_rows     rows that open with the same first question (first user turn), the row included
turns.opening_group    number of that question among those that several rows open with; null for the others
turns.opening_answers  different first answers that rows with this first question and the same context give
turns.repeated         user and assistant turns of at least LONG_TURN tokens that stand word for word in another row too

Equal means up to case and spacing. Rows that ask nothing open like no other (1 row, 1 answer).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import LONG_TURN, Int64, Shared, Turns
from scanner.ordering import stable_order


def features(turns: Turns, openings: Shared) -> pl.DataFrame:
    """One row per row read; columns as named above."""
    return pl.DataFrame(
        {
            "turns.opening_rows": openings.rows.astype(np.int32),
            "turns.opening_group": pl.Series(openings.group).replace(-1, None),
            "turns.opening_answers": openings.ways.astype(np.int32),
            "turns.repeated": repeated(turns, len(openings.rows)).astype(np.int32),
        }
    )


def repeated(turns: Turns, rows: int) -> Int64:
    """(n,) long turns of each row that another row holds on the same side."""
    long = np.flatnonzero(turns.tokens >= LONG_TURN)
    if not len(long):
        return np.zeros(rows, np.int64)
    key = turns.hash[long] * np.uint64(2) + turns.is_answer[long].astype(np.uint64)
    order = stable_order(key[:, None])
    key, row = key[order], turns.row[long][order]
    start = np.concatenate(([0], np.flatnonzero(key[1:] != key[:-1]) + 1))
    # rows of equal turns stand in ascending order: more than one row where the first is not the last
    last = np.append(start[1:], len(key)) - 1
    several = np.repeat(row[start] != row[last], np.diff(np.append(start, len(key))))
    return np.bincount(row[several], minlength=rows)
