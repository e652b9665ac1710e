"""What the rehearsals of a run measured, beside what was predicted for their rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from scanner.store import RunFolder


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal measured, beside what was predicted for its rows."""

    name: str
    predicted: list[dict[str, Any]]  # epochs, tokens, expected_rows
    measured: list[dict[str, Any]]  # epochs, tokens, rows
    bins: list[dict[str, Any]]  # of predicted probability


def rehearsals(run: RunFolder) -> list[Rehearsal]:
    """The finished rehearsals of a run whose predictions lie beside their measurements, by name."""
    found = []
    for path in sorted((run.path / "rehearsal").glob("*/rehearsal.json")):
        predicted = (json.loads(path.read_text("utf-8")).get("prediction") or {}).get("skew")
        if predicted and (path.parent / "epochs.parquet").exists():
            bins = json.loads(path.read_text("utf-8"))["prediction"].get("bins") or []
            found.append(Rehearsal(path.parent.name, predicted, reached(path.parent, predicted), bins))
    return found


def reached(folder: Path, predicted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a rehearsal that were recited for at least n tokens, at the epochs and n of the prediction.

    Counted are members with an answer of at least 16 tokens, as in the prediction; of several answers the best one.
    """
    columns = ["row_id", "stratum", "epoch", "tokens", "n_pre"]
    table = pl.read_parquet(folder / "epochs.parquet", columns=columns, glob=False)
    rows = (
        table.filter(pl.col("stratum").cast(pl.String) == "member")
        .group_by("epoch", "row_id")
        .agg(pl.col("tokens").max(), pl.col("n_pre").max())
        .filter(pl.col("tokens") >= 16)
    )
    out = []
    for epoch, of_epoch in itertools.groupby(predicted, key=lambda p: p["epochs"]):
        now = rows.filter(pl.col("epoch") == epoch)
        if len(now):
            out += [
                {"epochs": epoch, "tokens": p["tokens"], "rows": int((now["n_pre"] >= p["tokens"]).sum())}
                for p in of_epoch
            ]
    return out
