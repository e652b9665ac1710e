"""Min-K% (arXiv 2310.16789) and Min-K%++ (arXiv 2404.02936): how likely the least likely tokens are.

Min-K%: mean log p of the 20 % of the tokens that are least likely. Min-K%++: the same of (log p - mu) / sigma, where mu
and sigma are mean and standard deviation of log p over the vocabulary at that place, under the model's own p.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from scanner.confirmation._said import LEAST_SPREAD, Row, Sampler
from scanner.objects import Float64

NEEDS = ("tuned", "distribution")
SHARE = 0.2
COLUMNS = {
    "min_k": (pl.Float64, f"mean log p of the {SHARE:.0%} least likely of the model's tokens of the answers, nats"),
    "min_k_plus": (
        pl.Float64,
        f"mean (log p - mu) / sigma of the {SHARE:.0%} lowest, standard deviations",
    ),
}
SCORES = {"min_k": 1, "min_k_plus": 1}


def measure(row: Row, sampler: Sampler) -> dict[str, Any]:
    """The columns above."""
    log_p, mean, spread = (
        np.concatenate([getattr(answer, name) for answer in row.answers]).astype(np.float64)
        for name in ("loss_nats", "mean_nats", "spread_nats")
    )
    known = ~np.isnan(log_p)
    if not known.any():
        return {"min_k": None, "min_k_plus": None}
    log_p, mean, spread = -log_p[known], mean[known], spread[known]
    return {"min_k": lowest(log_p, SHARE), "min_k_plus": lowest(standardised(log_p, mean, spread), SHARE)}


def lowest(values: Float64, share: float) -> float:
    """Mean of the lowest share of the values, of one at least."""
    count = max(1, math.ceil(share * len(values) - 1e-9))
    return float(np.sort(values)[:count].mean())


def standardised(log_p: Float64, mean: Float64, spread: Float64) -> Float64:
    """(log p - mu) / sigma; 0 where sigma is: there every token that can come is as likely."""
    some = spread > LEAST_SPREAD
    return np.where(some, (log_p - mean) / np.where(some, spread, 1.0), 0.0)
