"""How long each row is, in tokens of the unit that scan.json names.

length.tokens             all segments
length.supervised_tokens  the segments the model learns
"""

from __future__ import annotations

import polars as pl

from scanner.objects import Fingerprints


def features(fingerprints: Fingerprints) -> pl.DataFrame:
    """One row per row read; columns as named above."""
    return pl.DataFrame(
        {"length.tokens": fingerprints.tokens, "length.supervised_tokens": fingerprints.supervised_tokens}
    )
