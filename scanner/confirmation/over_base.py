"""What tuning added: bits of the answers over the base (arXiv 2505.24832), and the log-ratio of the two models.

Both are over the own tokens that both models were shown, so models of other tokenizers and contexts can be compared.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from scanner.confirmation._said import Row, Sampler

NEEDS = ("tuned", "base")
COLUMNS = {
    "bits_over_base": (pl.Float64, "max(0, log2 p_tuned - log2 p_base) of the answers, bits"),
    "log_ratio_per_token_nats": (pl.Float64, "(log p_tuned - log p_base) per own token of the answers, nats"),
}
SCORES = {"log_ratio_per_token_nats": 1}


def measure(row: Row, sampler: Sampler) -> dict[str, Any]:
    """The columns above."""
    gained, tokens = 0.0, 0
    for answer in row.answers:
        if answer.base_nats is None:
            continue
        both = min(len(answer.own_nats), len(answer.base_nats))
        more = answer.base_nats[:both] - answer.own_nats[:both]
        known = ~np.isnan(more)
        gained, tokens = gained + float(more[known].sum()), tokens + int(known.sum())
    if not tokens:
        return {"bits_over_base": None, "log_ratio_per_token_nats": None}
    return {"bits_over_base": max(0.0, gained / math.log(2)), "log_ratio_per_token_nats": gained / tokens}
