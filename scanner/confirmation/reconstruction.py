"""What the base completes too is no memory of the fine-tuning (arXiv 2407.17817): the same measure before tuning."""

from __future__ import annotations

from typing import Any

import polars as pl

from scanner.confirmation._said import Row, Sampler, over_answers
from scanner.objects import EXTRACTED

NEEDS = ("tuned", "base")
COLUMNS = {
    "base_n_pre": (pl.Int32, "n_pre of the model before tuning: the most over the row's answers"),
    "extracted_beyond_base": (pl.Boolean, "extracted, and not by the base too; null where every answer is shorter"),
}
SCORES: dict[str, int] = {}


def measure(row: Row, sampler: Sampler) -> dict[str, Any]:
    """The columns above."""
    before = over_answers(row, lambda answer: answer.base_n_pre)
    if before is None:
        return {"base_n_pre": None, "extracted_beyond_base": None}
    short = len(row.longest.words) < EXTRACTED
    now = max(answer.n_pre for answer in row.answers) >= EXTRACTED
    return {"base_n_pre": int(before), "extracted_beyond_base": None if short else now and before < EXTRACTED}
