"""Identical prompts with different answers: the model can be sure of at most one of them.

conflicts.answers  distinct answers (up to case and spacing, near copies counted once where clusters are given) that
                   rows with this very prompt and context have
conflicts.rows     rows with this very prompt and context, the row included; 1 for rows in no conflict
conflicts.share    share of those rows that have this row's answer; 1 where nothing conflicts

Rows without prompt text or without an answer are in no conflict (1 answer, share 1): "the same empty prompt" is not a
question that was asked twice.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import Clusters, Fingerprints

NEEDS = ("fingerprints", "clusters")


def features(fingerprints: Fingerprints, clusters: Clusters | None = None) -> pl.DataFrame:
    """One row per row read; columns as named above. With clusters, a row's answer is that of the row kept for it."""
    answer = fingerprints.answer if clusters is None else fingerprints.answer[clusters.keep]
    asked = (fingerprints.prompt_chars > 0) & (fingerprints.supervised_tokens > 0)
    rows = pl.DataFrame(
        {
            "asked": asked,
            "prompt": fingerprints.prompt,
            "context": fingerprints.context,
            "answer": answer,
        }
    )
    question = ["asked", "prompt", "context"]
    counted = rows.select(
        pl.col("answer").n_unique().over(question).alias("answers"),
        pl.len().over(question).alias("rows"),
        (pl.len().over([*question, "answer"]) / pl.len().over(question)).alias("share"),
    )
    return pl.DataFrame(
        {
            "conflicts.answers": np.where(asked, counted["answers"].to_numpy(), 1).astype(np.int32),
            "conflicts.rows": np.where(asked, counted["rows"].to_numpy(), 1).astype(np.int32),
            "conflicts.share": np.where(asked, counted["share"].to_numpy(), 1.0).astype(np.float32),
        }
    )
