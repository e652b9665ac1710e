"""How likely the answers are to the tuned model: the mean loss that training lowers."""

from __future__ import annotations

from typing import Any

import polars as pl

from scanner.confirmation._said import Row, Sampler

NEEDS = ("tuned",)
COLUMNS = {
    "loss_per_token_nats": (pl.Float64, "mean -log p of the model's tokens of the answers, nats per token"),
    "loss_nats": (pl.Float64, "their sum over all answers, nats"),
}
SCORES = {"loss_per_token_nats": -1}


def measure(row: Row, sampler: Sampler) -> dict[str, Any]:
    """The columns above."""
    nats = row.losses()
    return {"loss_per_token_nats": float(nats.mean()) if len(nats) else None,
            "loss_nats": float(nats.sum()) if len(nats) else None}  # fmt: skip
