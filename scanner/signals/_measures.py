"""What follows from measured similarities and the sizes of the sets they were measured on."""

from __future__ import annotations

import numpy as np

from scanner.objects import Int64

CONTAINED_SHINGLES = 12
"""Distinct shingles from which on a row or an answer can count as contained; shorter ones stand in anything."""


def answer_containments(size: Int64, a: Int64, b: Int64, jaccard: np.ndarray) -> np.ndarray:
    """(p, 2) float32: share of a's answer found in b's and of b's in a's; NaN for an answer without shingles.

    size (n,): distinct shingles of the answers · a, b (p,): places in it · jaccard (p,): of the answers. From
    J = shared / (|a| + |b| - shared) follows shared = J (|a| + |b|) / (1 + J), a whole number.
    """
    both = (size[a] + size[b]).astype(np.float64)
    jaccard = np.nan_to_num(jaccard.astype(np.float64))
    shared = np.rint(jaccard * both / (1 + jaccard))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([shared / size[a], shared / size[b]], axis=1).astype(np.float32)
