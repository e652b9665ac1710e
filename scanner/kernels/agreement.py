"""How many columns of two signatures agree: the MinHash estimate of their Jaccard similarity."""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import I32, U64R, VOID, kernel

U32_2DR = types.Array(types.uint32, 2, "C", readonly=True)


@kernel(VOID(U32_2DR, U32_2DR, U64R, I32))
def agreement(here, there, pairs, out):
    """Equal columns of each pair of signatures.

    here (n, p), there (m, p) · pairs (c,): a << 32 | b, row a of `here` and row b of `there` · out (c,).
    """
    low = np.uint64(0xFFFFFFFF)
    for i in range(len(pairs)):
        a = np.int64(pairs[i] >> np.uint64(32))
        b = np.int64(pairs[i] & low)
        equal = 0
        for j in range(here.shape[1]):
            equal += here[a, j] == there[b, j]
        out[i] = equal
