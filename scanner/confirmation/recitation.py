"""What greedy decoding gives back: teacher forcing sees the same tokens up to the first miss, so one pass tells N_pre.

N_pre and the whole-answer match of SCIENCE's founding paper (arXiv 2502.01187), in the scan's own tokens.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from scanner.confirmation._said import Row, Sampler
from scanner.objects import EXTRACTED

NEEDS = ("tuned",)
COLUMNS = {
    "tokens": (pl.Int32, "own tokens of the row's longest answer, as far as the model's context reaches"),
    "n_pre": (pl.Int32, "own tokens recited before the first miss: the most over the row's answers"),
    "extracted": (pl.Boolean, f"n_pre is {EXTRACTED} or more; null where every answer is shorter"),
    "whole": (pl.Boolean, "every token of the longest answer is recited, and nothing of it is cut"),
}
SCORES = {"n_pre": 1}


def measure(row: Row, sampler: Sampler) -> dict[str, Any]:
    """The columns above."""
    n_pre = max(answer.n_pre for answer in row.answers)
    tokens = len(row.longest.words)
    return {
        "tokens": tokens, "n_pre": n_pre, "extracted": n_pre >= EXTRACTED if tokens >= EXTRACTED else None,
        "whole": row.longest.whole if tokens else None,
    }  # fmt: skip
