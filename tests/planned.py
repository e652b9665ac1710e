"""Findings made by hand, and what a plan says of its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from corpora import pair, places_of

from scanner.objects import Clusters
from scanner.planning import Findings

PAIRS = {
    "row_a": pl.Int64, "row_b": pl.Int64, "signal": pl.String, "relation": pl.String, "similarity": pl.Float32,
}  # fmt: skip
SPANS = {
    "row_id": pl.Int64, "segment": pl.Int32, "start": pl.Int32, "end": pl.Int32, "rule_id": pl.String,
    "kind": pl.String, "score": pl.Float32,
}  # fmt: skip


def findings(n=6, *, ids=None, keep=None, pairs=(), spans=(), bands=None, answers=None, texts=None, differs="",
             answer_alike=1.0, words=0.0):  # fmt: skip
    """Findings of n rows; keep: position of the row kept for each."""
    ids = list(range(n)) if ids is None else ids
    rows = places_of([pair("q", t) for t in (texts or map(str, range(n)))], ids)
    if texts is None:  # content order is row order, unless a test brings texts of its own
        rows = replace(rows, digest=np.arange(2 * n, dtype=np.uint64).reshape(n, 2))
    keep = np.arange(n) if keep is None else np.array(keep)
    clusters = Clusters(np.full(n, -1), np.bincount(keep, minlength=n)[keep], keep)
    answers = answers or [1] * n
    return Findings(
        rows,
        clusters,
        pl.DataFrame(list(pairs), schema=PAIRS, orient="row").with_columns(
            differs=pl.lit(differs),
            answer_similarity=pl.lit(answer_alike),
            same_context=pl.lit(True),
            payload_similarity=pl.lit(None, pl.Float32),
            words_similarity=pl.lit(words),
            containment_ab=pl.lit(0.4),
            containment_ba=pl.lit(1.0),  # of the later row, mostly
        ),
        pl.DataFrame([(*span, 1.0) for span in spans], schema=SPANS, orient="row"),
        pl.DataFrame({"row_id": ids, "band": bands or ["none"] * n, "reasons": ["seen often"] * n}),
        pl.DataFrame(
            {"row_id": ids, "conflicts.answers": answers, "conflicts.share": [1 / a for a in answers]},
            schema_overrides={"conflicts.answers": pl.Int32, "conflicts.share": pl.Float32},
        ),
    )


def actions(plan):
    return plan["action"].to_list()


def by_row(plan, row_id):
    return plan.filter(pl.col("row_id") == row_id).row(0, named=True)


MAIL = ("private/email", "private")
