"""One of two runs that are compared: its facts, and one line per row with what was predicted and planned for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from scanner import trust
from scanner.errors import RunError
from scanner.evidence import PRIVATE
from scanner.store import RunFolder, readable

ROWS = (
    "row_id", "source", "line", "content_hash", "layout", "turns", "prompt_chars", "response_chars", "cluster_id",
    "cluster_size", "copies_exact", "length.tokens", "length.supervised_tokens",
)  # fmt: skip
PREDICTED = ("p_extract", "p_whole", "expected_tokens", "exposures", "taxon", "risk", "band", "reasons")
PLANNED = ("action", "rule_id", "why")
ACTIONS = ("keep", "review", "redact", "drop")
"""From what leaves a row as it is to what removes it."""


@dataclass(frozen=True)
class Side:
    """A finished run, as the comparison sees it."""

    name: str  # A or B
    run: RunFolder
    scan: dict[str, Any]  # scan.json
    table: pl.DataFrame  # one line per row, ascending row_id: ROWS, PREDICTED, PLANNED, sensitive

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = self.scan.get("summary") or {}
        return found

    @property
    def is_outside(self) -> bool:
        """Whether the predicted number of rows lies outside what was validated."""
        return trust.is_outside(self.summary)

    @property
    def has_text(self) -> bool:
        return self.run.segments_path.exists()


def read(name: str, path: Path) -> Side:
    """A run folder as one side; RunError where it is none, is not finished or lacks columns, with what to do."""
    run = RunFolder.open_finished(path)
    rows, predicted, planned = (
        _columns(run, table, names)
        for table, names in (("rows", ROWS), ("prediction", ("row_id", *PREDICTED)), ("plan", ("row_id", *PLANNED)))
    )
    spans = _columns(run, "spans", ("row_id", "kind"))
    private = spans.filter(PRIVATE)["row_id"].unique()
    table = (
        rows.join(predicted, on="row_id", how="left", maintain_order="left")
        .join(planned, on="row_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("content_hash", "source", "layout", "action", "rule_id", "why", "band", "taxon").cast(pl.String),
            pl.col("p_extract", "p_whole", "expected_tokens", "exposures", "risk").cast(pl.Float64).fill_nan(None),
            sensitive=pl.col("row_id").is_in(private.implode()),
        )
    )
    return Side(name, run, run.read_json("scan.json"), table)


def _columns(run: RunFolder, table: str, names: tuple[str, ...]) -> pl.DataFrame:
    """Some columns of a table; RunError that names those which a run of an earlier version lacks."""
    path = run.path / f"{table}.parquet"
    if path.exists():
        with readable(path), path.open("rb") as file:
            there = pl.read_parquet_schema(file)
        lacking = [name for name in names if name not in there]
        if lacking:
            raise RunError(
                f"{run.path} was audited by an earlier version: its {path.name} lacks {', '.join(lacking)}; audit the "
                "data again with `scan DATASET --force`"
            )
    return run.read_table(table, list(names))
