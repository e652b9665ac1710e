"""From signatures to verified pairs: band keys, candidate pairs, exact Jaccard and containment.

Candidates come from sorted arrays of packed (band key, row) words, so there is no dictionary per row: memory is 8
bytes per row and band at a time. Verification works on the shingle sets themselves.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from scanner.kernels._jit import I64, I64R, INT, U32_2D, U64, U64_2D, U64R, VOID, kernel
from scanner.kernels.hashing import combine, fmix64

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


@njit(nogil=True)
def _shared(sets, a, a_end, b, b_end):
    shared = 0
    while a < a_end and b < b_end:
        if sets[a] == sets[b]:
            shared += 1
            a += 1
            b += 1
        elif sets[a] < sets[b]:
            a += 1
        else:
            b += 1
    return shared


@njit(nogil=True)
def _union_next(sets, p, p_end, q, q_end):
    """The smallest value at the heads of two sorted runs, and the runs advanced past it; ok is False at the end."""
    if p < p_end and (q >= q_end or sets[p] <= sets[q]):
        value = sets[p]
        if q < q_end and sets[q] == value:
            q += 1
        return True, value, p + 1, q
    if q < q_end:
        return True, sets[q], p, q + 1
    return False, np.uint64(0), p, q


@njit(nogil=True)
def _whole_row(sets, bounds, a, b):
    """Sizes of both rows' shingle sets (prompt and answer together) and of their intersection."""
    ap, aq, a_end = bounds[2 * a], bounds[2 * a + 1], bounds[2 * a + 2]
    a_mid = aq
    bp, bq, b_end = bounds[2 * b], bounds[2 * b + 1], bounds[2 * b + 2]
    b_mid = bq
    in_a, in_b, in_both = 0, 0, 0
    a_ok, a_value, ap, aq = _union_next(sets, ap, a_mid, aq, a_end)
    b_ok, b_value, bp, bq = _union_next(sets, bp, b_mid, bq, b_end)
    while a_ok or b_ok:
        take_a = a_ok and (not b_ok or a_value <= b_value)
        take_b = b_ok and (not a_ok or b_value <= a_value)
        if take_a:
            in_a += 1
        if take_b:
            in_b += 1
        if take_a and take_b:
            in_both += 1
        if take_a:
            a_ok, a_value, ap, aq = _union_next(sets, ap, a_mid, aq, a_end)
        if take_b:
            b_ok, b_value, bp, bq = _union_next(sets, bp, b_mid, bq, b_end)
    return in_a, in_b, in_both


@njit(nogil=True)
def _jaccard(size_a, size_b, shared):
    union = size_a + size_b - shared
    return np.float32(shared / union) if union else np.float32(np.nan)


@kernel(VOID(U64R, U64R, I64R, F32_2D))
def verify(pairs, sets, bounds, out):
    """Exact similarity of each candidate pair on its shingle sets.

    pairs (p,): a << 32 | b, places in `bounds` · sets, bounds (2 n + 1,): see minhash.shingle_sets · out (p, 5):
    Jaccard of the whole rows, share of a in b, share of b in a, Jaccard of the prompts, Jaccard of the answers; NaN
    where both sides are empty.
    """
    for i in range(len(pairs)):
        a = np.int64(pairs[i] >> np.uint64(32))
        b = np.int64(pairs[i] & np.uint64(0xFFFFFFFF))
        in_a, in_b, shared = _whole_row(sets, bounds, a, b)
        out[i, 0] = _jaccard(in_a, in_b, shared)
        out[i, 1] = np.float32(shared / in_a) if in_a else np.float32(np.nan)
        out[i, 2] = np.float32(shared / in_b) if in_b else np.float32(np.nan)
        for part in range(2):
            a0, a1 = bounds[2 * a + part], bounds[2 * a + part + 1]
            b0, b1 = bounds[2 * b + part], bounds[2 * b + part + 1]
            both = _shared(sets, a0, a1, b0, b1)
            out[i, 3 + part] = _jaccard(a1 - a0, b1 - b0, both)


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
