"""How many sets hold a shingle, roughly and quickly: counts in buckets by a part of its hash, never too small."""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import B1R, I64, I64R, INT, U8, U8R, U64R, VOID, kernel

MANY = 255
"""Counts stop here."""


@kernel(VOID(U64R, INT, U8))
def tally(shingles, shift, counts):
    """Count every shingle of sets laid end to end in its bucket: counts (2 ** (64 - shift),), zeros."""
    for i in range(len(shingles)):
        at = np.int64(shingles[i] >> np.uint64(shift))
        if counts[at] < MANY:
            counts[at] += np.uint8(1)


@kernel(VOID(U64R, I64R, INT, U8R, I64))
def held_twice(shingles, bounds, shift, counts, found):
    """found (m,): how many shingles of each set, shingles[bounds[i]:bounds[i + 1]], fall into a bucket with others."""
    for i in range(len(found)):
        found[i] = 0
        for j in range(bounds[i], bounds[i + 1]):
            found[i] += counts[np.int64(shingles[j] >> np.uint64(shift))] > 1


@kernel(INT(U64R, INT, B1R, I64))
def places(shingles, shift, wanted, out):
    """Places of the shingles that fall into a wanted bucket; returns how many, writing as many as fit."""
    made = 0
    for i in range(len(shingles)):
        if wanted[np.int64(shingles[i] >> np.uint64(shift))]:
            if made < len(out):
                out[made] = i
            made += 1
    return made
