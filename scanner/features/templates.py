"""How much of each row is template, text that its source repeats word for word around its slots (see templating).

templates.share         share of the row's tokens inside templates; 0 where its source has none, NaN without tokens
templates.prompt_share  likewise of its prompt's tokens
templates.answer_share  likewise of its answers' tokens
templates.id            the listed template (templates.parquet) that covers most of the row; null where none does
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import Fingerprints, Int32

NEEDS = ("templates",)


def features(prints: Fingerprints, fixed: Int32, tokens: Int32, covering: pl.DataFrame) -> pl.DataFrame:
    """One row per row read; columns as named above.

    fixed, tokens: (n, 3) template tokens and all tokens by part, system and tools, prompt, answer; (0, 3) where no
    source has a template · covering: position, template.
    """
    n = len(prints.tokens)
    if not len(fixed):
        parts = {"share": prints.tokens, "prompt_share": prints.prompt_chars, "answer_share": prints.supervised_tokens}
        shares = {name: np.where(of > 0, 0.0, np.nan) for name, of in parts.items()}
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            by_part = fixed / np.where(tokens > 0, tokens, np.nan)
            whole = tokens.sum(axis=1)
            share = fixed.sum(axis=1) / np.where(whole > 0, whole, np.nan)
        shares = {"share": share, "prompt_share": by_part[:, 1], "answer_share": by_part[:, 2]}
    number = np.full(n, -1, np.int32)
    number[covering["position"].to_numpy()] = covering["template"].to_numpy()
    return pl.DataFrame(
        {f"templates.{name}": value.astype(np.float32) for name, value in shares.items()}
        | {"templates.id": pl.Series(number).replace(-1, None)}
    )
