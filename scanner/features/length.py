"""How long each row is, uncut and in the scan's own tokens (words, CJK characters, punctuation marks) always.

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
