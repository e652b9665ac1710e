"""What the confirmations of a run say, of the run and of single rows: read from RUN/confirmation."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import polars as pl

from scanner.store import RunFolder, readable

FOLDER = "confirmation"


@dataclass(frozen=True)
class Recall:
    """What one confirmation measured of one row."""

    model: str  # as `called` has it
    n_pre: int | None  # None: not measured
    tokens: int | None
    whole: bool | None
    base_n_pre: int | None
    reason: str
    otherwise: str = ""  # the plan that the model was trained under where the run is predicted for another, in words

    def short(self) -> str:
        """12 of 80 recited by tuned."""
        return f"{self.n_pre:,} of {self.tokens:,} recited by {self.model}" if self.n_pre is not None else ""

    def sentence(self) -> str:
        """In full."""
        model = f"{self.model}, trained otherwise ({self.otherwise})" if self.otherwise else self.model
        if self.n_pre is None:
            return f"Not confirmed on {model}: {self.reason}."
        whole = ", the whole longest answer" if self.whole else ""
        before = "" if self.base_n_pre is None else f"; the base recites {self.base_n_pre:,}"
        return (
            f"Confirmed on {model}: {self.n_pre:,} of {self.tokens:,} tokens "
            f"{'is' if self.n_pre == 1 else 'are'} recited before the first miss{whole}{before}."
        )


def finished(run: RunFolder) -> dict[str, dict[str, Any]]:
    """The facts of every finished confirmation by name."""
    found = {}
    for path in sorted((run.path / FOLDER).glob("*.json")):
        with readable(path):
            found[path.stem] = json.loads(path.read_text("utf-8"))
    return found


def called(name: str, facts: dict[str, Any]) -> str:
    """The model, and the confirmation where that has a name of its own."""
    model = str(facts["model"]["name"])
    return model if name == model else f"{model} ({name})"


def of_rows(run: RunFolder, row_ids: Collection[int]) -> dict[int, list[Recall]]:
    """What was measured of these rows, confirmation by confirmation; nothing of those that none looked at."""
    out: dict[int, list[Recall]] = {}
    columns = ["row_id", "n_pre", "tokens", "whole", "base_n_pre", "reason"]
    told = run.read_json("scan.json")["summary"].get("confirmed") or []
    otherwise = {one["name"]: one["plan"] for one in told if not one["is_of_plan"]}
    for name, facts in finished(run).items():
        table = run.read_table(f"{FOLDER}/{name}", columns).filter(pl.col("row_id").is_in(list(row_ids)))
        for row_id, n_pre, tokens, whole, before, reason in table.select(columns).iter_rows():
            one = Recall(called(name, facts), n_pre, tokens, whole, before, reason or "", otherwise.get(name, ""))
            out.setdefault(row_id, []).append(one)
    return out
