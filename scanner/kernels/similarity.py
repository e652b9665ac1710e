"""From signatures to verified pairs: band keys, candidate pairs, exact Jaccard and containment.

Candidates come from sorted arrays of packed (band key, row) words, so there is no dictionary per row: memory is 8
bytes per row and band at a time. Verification works on the shingle sets themselves.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import I64, I64R, INT, U32_2D, U64, U64_2D, U64R, VOID, helper, kernel
from scanner.kernels.hashing import combine, fmix64
from scanner.kernels.minhash import IN_BOTH, IN_PROMPT

_ONE = np.uint64(1)
F32_2D = types.Array(types.float32, 2, "C")


@kernel(INT(U32_2D, I64R, INT, INT, INT, U64_2D))
def pack_bands(signature, place, rows_per_band, row_bits, first_band, packed):
    """Keys of some bands of the rows that take part, one word per band and row; returns how many rows take part.

    signature (n, p) · place (n,): what stands for a row in the low `row_bits` bits, -1 for rows that take no part ·
    packed (k, m): line i is band first_band + i; its words have a hash of the band's columns in their high bits.
    """
    mask = (np.uint64(1) << np.uint64(row_bits)) - np.uint64(1)
    at = 0
    for r in range(signature.shape[0]):
        if place[r] < 0:
            continue
        for i in range(packed.shape[0]):
            h = np.uint64(first_band + i + 1)
            j = (first_band + i) * rows_per_band
            end = j + rows_per_band
            while j + 1 < end:
                h = combine(h, np.uint64(signature[r, j]) | np.uint64(signature[r, j + 1]) << np.uint64(32))
                j += 2
            if j < end:
                h = combine(h, np.uint64(signature[r, j]))
            packed[i, at] = (fmix64(h) & ~mask) | np.uint64(place[r])
        at += 1
    return at


@kernel(INT(U64R, INT, INT, U64, I64))
def pairs_of_band(packed, row_bits, window, out, cut):
    """Candidate pairs of one sorted band; returns how many there are, writing as many as `out` has room for.

    Rows of a bucket are in ascending order. Each is paired with the next `window` rows and with the bucket's first;
    buckets larger than window + 1 lose pairs this way: cut[0] counts such buckets, cut[1] the pairs left out.
    A pair is packed as a << 32 | b with a < b.
    """
    mask = (np.uint64(1) << np.uint64(row_bits)) - np.uint64(1)
    n = len(packed)
    made = 0
    start = 0
    while start < n:
        end = start + 1
        key = packed[start] & ~mask
        while end < n and (packed[end] & ~mask) == key:
            end += 1
        size = end - start
        if size > window + 1:
            cut[0] += 1
            cut[1] += size * (size - 1) // 2 - (size - 1) * window + window * (window - 1) // 2
        for i in range(start, end):
            a = packed[i] & mask
            stop = min(end, i + 1 + window)
            for j in range(i + 1, stop):
                if made < len(out):
                    out[made] = a << np.uint64(32) | (packed[j] & mask)
                made += 1
            if i - start > window:
                if made < len(out):
                    out[made] = (packed[start] & mask) << np.uint64(32) | a
                made += 1
                cut[1] -= 1
        start = end
    return made


@helper
def _shared(sets, a, a_end, b, b_end):
    """How many words two ascending runs share, and how many of these stand in both prompts and in both answers."""
    shared = np.uint64(0)
    prompts = np.uint64(0)
    answers = np.uint64(0)
    i, i_end, j, j_end = np.uint64(a), np.uint64(a_end), np.uint64(b), np.uint64(b_end)
    while i < i_end and j < j_end:
        x = sets[i]
        y = sets[j]
        left = x | IN_BOTH
        right = y | IN_BOTH
        same = np.uint64(left == right)
        both = x & y & (np.uint64(0) - same)
        shared += same
        prompts += both & IN_PROMPT
        answers += both >> _ONE & _ONE
        # no branch: which run comes next is a coin toss, and the processor would guess wrong half of the time
        i += np.uint64(left <= right)
        j += np.uint64(right <= left)
    return np.int64(shared), np.int64(prompts), np.int64(answers)


@helper
def _jaccard(size_a, size_b, shared):
    union = size_a + size_b - shared
    return np.float32(shared / union) if union else np.float32(np.nan)


@kernel(VOID(U64R, U64R, I64R, I64R, F32_2D))
def verify(pairs, sets, bounds, sizes, out):
    """Exact similarity of each candidate pair on its shingle sets.

    pairs (p,): a << 32 | b, places in `bounds` · sets, bounds (n + 1,), sizes (2 n,): see minhash.shingle_sets ·
    out (p, 5): Jaccard of the whole rows, share of a in b, share of b in a, Jaccard of the prompts, Jaccard of the
    answers; NaN where both sides are empty.
    """
    for i in range(len(pairs)):
        a = np.int64(pairs[i] >> np.uint64(32))
        b = np.int64(pairs[i] & np.uint64(0xFFFFFFFF))
        in_a = bounds[a + 1] - bounds[a]
        in_b = bounds[b + 1] - bounds[b]
        shared, prompts, answers = _shared(sets, bounds[a], bounds[a + 1], bounds[b], bounds[b + 1])
        out[i, 0] = _jaccard(in_a, in_b, shared)
        out[i, 1] = np.float32(shared / in_a) if in_a else np.float32(np.nan)
        out[i, 2] = np.float32(shared / in_b) if in_b else np.float32(np.nan)
        out[i, 3] = _jaccard(sizes[2 * a], sizes[2 * b], prompts)
        out[i, 4] = _jaccard(sizes[2 * a + 1], sizes[2 * b + 1], answers)


@kernel(VOID(I64R, I64R, I64))
def connect(left, right, root):
    """Union-find: root (n,) becomes the smallest member of each row's connected component."""
    for i in range(len(root)):
        root[i] = i
    for i in range(len(left)):
        a = left[i]
        b = right[i]
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        if a < b:
            root[b] = a
        elif b < a:
            root[a] = b
    for i in range(len(root)):
        a = i
        while root[a] != a:
            a = root[a]
        root[i] = a
