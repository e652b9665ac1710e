"""Identical prompts with different answers: the model can be sure of at most one of them.

conflicts.answers  distinct answers (up to case and spacing, near copies counted once where clusters are given) that
                   rows with this very prompt and context have
conflicts.rows     rows with this very prompt and context, the row included; 1 for rows in no conflict
conflicts.share    share of those rows that have this row's answer; 1 where nothing conflicts
conflicts.group    number of the prompt among those that several rows have; null where no other row has it
conflicts.answer   number of the row's answer among the prompt's answers, 0 for the one that most rows give

The prompt of a conversation is all that the user and tools say in it, before the first answer and between answers; what
follows the same first question is told by features.turns. Rows without prompt text or without an answer are in no
conflict (1 answer, share 1): "the same empty prompt" is not a question that was asked twice.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import Shared


def features(prompts: Shared) -> pl.DataFrame:
    """One row per row read; columns as named above."""
    return pl.DataFrame(
        {
            "conflicts.answers": prompts.ways.astype(np.int32),
            "conflicts.rows": prompts.rows.astype(np.int32),
            "conflicts.share": prompts.share.astype(np.float32),
            "conflicts.group": pl.Series(prompts.group).replace(-1, None),
            "conflicts.answer": prompts.way.astype(np.int32),
        }
    )
