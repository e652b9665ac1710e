"""How much of each row is made of passages that stand elsewhere too (see signals/span.py for what counts).

spans.repeated_share  share of the row's tokens in repeated spans of any kind
spans.leaked_share    share of the row's tokens in passages that a few rows share (kind leakage)
spans.longest_tokens  tokens of its longest repeated span, 0 where it has none

NaN for rows without tokens, and for all rows where no passages were looked for.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import Fingerprints, Int64


def features(fingerprints: Fingerprints, covered: Int64, leaked: Int64, longest: Int64) -> pl.DataFrame:
    """One row per row read; columns as named above. The arrays (n,) count tokens."""
    tokens = np.where(fingerprints.tokens > 0, fingerprints.tokens, np.nan)
    return pl.DataFrame(
        {
            "spans.repeated_share": (covered / tokens).astype(np.float32),
            "spans.leaked_share": (leaked / tokens).astype(np.float32),
            "spans.longest_tokens": np.where(fingerprints.tokens > 0, longest, np.nan).astype(np.float32),
        }
    )


def not_measured(rows: int) -> pl.DataFrame:
    """The same columns, all NaN."""
    names = ("spans.repeated_share", "spans.leaked_share", "spans.longest_tokens")
    return pl.DataFrame({name: np.full(rows, np.nan, np.float32) for name in names})
