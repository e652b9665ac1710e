"""The same answer to different prompts: a label where it is short, boilerplate where it is long.

answers.rows     rows that give this very answer (up to case and spacing), the row included
answers.prompts  distinct prompts they give it to, near copies counted once; 1 where nothing is shared
answers.group    number of the answer among those that several rows give; null where no other row gives it
answers.prompt   number of the row's prompt among them, 0 for the one that most rows have

Rows without prompt text or without an answer share nothing.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import Shared


def features(answers: Shared) -> pl.DataFrame:
    """One row per row read; columns as named above."""
    return pl.DataFrame(
        {
            "answers.rows": answers.rows.astype(np.int32),
            "answers.prompts": answers.ways.astype(np.int32),
            "answers.group": pl.Series(answers.group).replace(-1, None),
            "answers.prompt": answers.way.astype(np.int32),
        }
    )
