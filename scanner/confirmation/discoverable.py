"""(n,p)-discoverable extraction (arXiv 2410.19482): how many samples until one gives the answer back.

p_z = prod_t q(z_t), with q after top-k and temperature; extractable with n samples and chance p where
1 - (1 - p_z)^n >= p. Here for the answer's first 16 own tokens, the length that p_extract is about, and for the whole.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from scanner.confirmation._said import Row, Said, Sampler, over_answers
from scanner.objects import EXTRACTED

NEEDS = ("tuned", "distribution")
CHANCE = 0.5
SMALL = -30.0
"""Nats; below, log(1 - p_z) is -p_z to the last digit."""
COLUMNS = {
    "log_p_16_nats": (pl.Float64, f"log of p_z for an answer's first {EXTRACTED} own tokens, nats: the most over the "
                      "row's answers; -inf where one is never drawn; null where every answer is shorter"),
    "samples_16": (pl.Float64, f"samples n until these are drawn once with a chance of {CHANCE:g}; inf: never"),
    "log_p_whole_nats": (pl.Float64, "log of p_z for the longest answer, as far as the model's context reaches, nats"),
    "samples_whole": (pl.Float64, f"samples n until all of it is drawn once with a chance of {CHANCE:g}; inf: never"),
}  # fmt: skip
SCORES: dict[str, int] = {}


def measure(row: Row, sampler: Sampler) -> dict[str, Any]:
    """The columns above."""
    begun, whole = over_answers(row, _first), _log_p(row.longest, len(row.longest.words))
    return {
        "log_p_16_nats": begun, "samples_16": None if begun is None else samples(begun, CHANCE),
        "log_p_whole_nats": whole, "samples_whole": None if whole is None else samples(whole, CHANCE),
    }  # fmt: skip


def samples(log_p_nats: float, chance: float) -> float:
    """Least n with 1 - (1 - p_z)^n >= chance; inf where p_z is 0 or n beyond all numbers."""
    if log_p_nats >= 0:
        return 1.0
    if log_p_nats > SMALL:
        exact = math.log1p(-chance) / math.log1p(-math.exp(log_p_nats))
        return float(max(1, math.ceil(exact - 1e-9)))
    log_n = math.log(-math.log1p(-chance)) - log_p_nats
    return math.ceil(math.exp(log_n)) if log_n < 36 else math.exp(log_n) if log_n < 700 else math.inf


def _first(answer: Said) -> float | None:
    return _log_p(answer, EXTRACTED) if len(answer.words) >= EXTRACTED else None


def _log_p(answer: Said, words: int) -> float | None:
    """Log probability of the model's tokens up to the end of the first `words` own ones; None of no token."""
    drawn = answer.sampled_nats[: answer.words[words - 1, 1]] if words else answer.sampled_nats[:0]
    known = drawn[~np.isnan(drawn)].astype(np.float64)
    return min(0.0, float(known.sum())) if len(known) else None
