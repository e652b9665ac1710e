"""Which rows a confirmation looks at, and what they say of all: the likeliest ones, and some of the others by chance.

    p_extract -> "top" (taken for certain, weight 1) and "uniform" (drawn, each stands for several) -> shares of all

Weights are the inverse of the chance to be chosen (Horvitz and Thompson 1952), so weighted shares are unbiased however
well the likeliest were foretold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from scanner.objects import Float64, Int64
from scanner.prediction.reliability import share_interval

TOP, UNIFORM, ALL = "top", "uniform", "all"
TOP_SHARE = 0.5
"""Of the rows looked at, those that are the likeliest of all."""


@dataclass(frozen=True)
class Chosen:
    """Rows to look at; (c,) with `place` ascending."""

    place: Int64  # among the rows of the run
    stratum: list[str]  # top, uniform or all
    weight: Float64  # rows that each stands for
    population: int  # rows that they are chosen from


@dataclass(frozen=True)
class Rate:
    """The share of the rows for which something holds, estimated for all of them."""

    share: float
    low: float  # 90 % interval; the share itself where every row was looked at
    high: float
    rows: float  # that the share is of: those for which it was measured, weighted
    measured: int
    hits: int  # measured rows for which it holds

    @property
    def expected_rows(self) -> float:
        """Rows of all for which it holds."""
        return self.share * self.rows


def choose(p_extract: Float64, rank: Int64, rows: int | None, seed: int) -> Chosen:
    """Rows to look at; None: all of them, those without a p_extract too.

    p_extract (n,): NaN for rows that no stratum is drawn from. rank (n,): place of each row in content order, which
    breaks ties and carries the draw, so that the order of the input does not matter.
    """
    n = len(p_extract)
    if rows is None:
        return Chosen(np.arange(n), [ALL] * n, np.ones(n), n)
    known = np.flatnonzero(~np.isnan(p_extract))
    if rows >= len(known):
        return Chosen(known, [ALL] * len(known), np.ones(len(known)), len(known))
    ranked = known[np.lexsort((rank[known], -p_extract[known]))]
    top, others = np.split(ranked, [math.ceil(TOP_SHARE * rows)])
    chance = np.random.default_rng(seed).permutation(n)[rank]  # a random number for each row, by its content
    drawn = others[np.argsort(chance[others])][: rows - len(top)]
    place = np.concatenate((top, drawn))
    weight = np.concatenate((np.ones(len(top)), np.full(len(drawn), len(others) / max(1, len(drawn)))))
    order = np.argsort(place)
    names = [TOP] * len(top) + [UNIFORM] * len(drawn)
    return Chosen(place[order], [names[i] for i in order.tolist()], weight[order], len(known))


def rate(table: pl.DataFrame, column: str) -> Rate | None:
    """The share of rows for which `column` holds; None where it was measured for none.

    table: stratum, weight and the column, null where it was not measured: such rows, and those they stand for, are left
    out. Rows taken for certain add no doubt. That of the drawn ones is Wilson's interval for a sample without
    replacement: m of M rows tell as much as m (M - 1) / (M - m) of infinitely many.
    """
    known = table.filter(pl.col(column).is_not_null())
    drawn = pl.col("stratum") == UNIFORM
    sure, some = known.filter(~drawn), known.filter(drawn)
    if not len(known):
        return None
    certain, hits, m = int(sure[column].sum()), int(some[column].sum()), len(some)
    stand_for = float(some["weight"].sum())
    share = low = high = hits / m if m else 0.0
    if m and stand_for > m + 0.5:
        worth = m * (stand_for - 1) / (stand_for - m)
        low, high = share_interval(share * worth, worth)
        low, high = max(low, hits / stand_for), min(high, 1 - (m - hits) / stand_for)
    rows = len(sure) + stand_for
    share, low, high = ((certain + stand_for * part) / rows for part in (share, low, high))
    return Rate(share, low, high, rows, len(known), certain + hits)
