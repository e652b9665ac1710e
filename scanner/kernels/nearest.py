"""Candidates to nearest neighbours among whole-number vectors: exact integer inner products decide.

Vectors are int16 of length about 2,048 (see kernels/embed.py), so that an inner product fits 32 bits and neighbours do
not depend on threads, blocks or the order of candidates.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import I32R, I64R, INT, U64, VOID, helper, kernel

_I16_2D = types.Array(types.int16, 2, "C", readonly=True)
_I32_2D = types.Array(types.int32, 2, "C")
_I32_2D_READ = types.Array(types.int32, 2, "C", readonly=True)
_I64_2D_READ = types.Array(types.int64, 2, "C", readonly=True)
_F64R = types.Array(types.float64, 1, "C", readonly=True)


@helper
def _insert(score, rank, row, dot, scores, ranks, rows, dots):
    """Put a candidate into a list sorted by falling score, then rising rank, if it is better than the last."""
    at = len(scores) - 1
    if score < scores[at] or (score == scores[at] and rank >= ranks[at]):
        return
    while at > 0 and (score > scores[at - 1] or (score == scores[at - 1] and rank < ranks[at - 1])):
        scores[at] = scores[at - 1]
        ranks[at] = ranks[at - 1]
        rows[at] = rows[at - 1]
        dots[at] = dots[at - 1]
        at -= 1
    scores[at] = score
    ranks[at] = rank
    rows[at] = row
    dots[at] = dot


@kernel(VOID(_I16_2D, _F64R, I64R, I32R, I32R, _I64_2D_READ, INT, _I32_2D, _I32_2D))
def rank_candidates(vectors, inverse, rank, queries, members, candidates, begin, row_out, dot_out):
    """The k nearest of each query's candidates, by inner product over the candidate's length, then by rank.

    vectors (n, d) · inverse (n,): 1 / length of each row · rank (n,): place in content order · queries (q,): rows ·
    candidates (b, c): places in `members` for queries[begin:begin + b], -1 for none · row_out, dot_out (q, k): nearest
    rows, the query itself left out, and their inner products; row_out comes filled with -1.
    """
    k = row_out.shape[1]
    scores = np.empty(k)
    ranks = np.empty(k, np.int64)
    for i in range(candidates.shape[0]):
        scores[:] = -np.inf
        ranks[:] = np.int64(1) << 62
        vector = vectors[queries[begin + i]]
        for c in range(candidates.shape[1]):
            if candidates[i, c] < 0:
                continue
            row = members[candidates[i, c]]
            if row == queries[begin + i]:
                continue
            other = vectors[row]
            dot = np.int32(0)
            for j in range(len(vector)):
                dot += np.int32(vector[j]) * np.int32(other[j])
            _insert(dot * inverse[row], rank[row], row, dot, scores, ranks, row_out[begin + i], dot_out[begin + i])


@kernel(VOID(_I32_2D_READ, _I32_2D_READ, I32R, I64R, I32R, I64R, _F64R, I64R, INT, INT, _I32_2D, _I32_2D))
def expand(near, dots, rows, group, group_rows, group_at, inverse, rank, begin, end, row_out, dot_out):
    """From the nearest groups of equal vectors to the nearest rows, for rows[begin:end].

    near, dots (g, k): nearest groups of each group, -1 for none, without itself · group (n,): of each row ·
    group_rows[group_at[g]:group_at[g + 1]]: rows of a group by rising rank · row_out, dot_out (n, k), as `nearest`.
    """
    k = row_out.shape[1]
    scores = np.empty(k)
    ranks = np.empty(k, np.int64)
    for i in range(begin, end):
        row = rows[i]
        own = group[row]
        scores[:] = -np.inf
        ranks[:] = np.int64(1) << 62
        for place in range(-1, k):
            if place < 0:
                other = own
                # subtle: within a group the inner product is the squared length
                dot = np.int32(np.rint(1.0 / (inverse[row] * inverse[row])))
            else:
                other = np.int64(near[own, place])
                if other < 0:
                    break
                dot = dots[own, place]
            for m in range(group_at[other], min(group_at[other + 1], group_at[other] + k + 1)):
                found = group_rows[m]
                if found != row:
                    _insert(dot * inverse[found], rank[found], found, dot, scores, ranks, row_out[row], dot_out[row])


@kernel(VOID(_I16_2D, I32R, U64))
def vector_hashes(vectors, rows, out):
    """(m,) 64-bit hash of each chosen vector."""
    for i in range(len(rows)):
        vector = vectors[rows[i]]
        h = np.uint64(0x243F6A8885A308D3)
        for j in range(len(vector)):
            h = (h ^ np.uint64(vector[j] + 32768)) * np.uint64(0x9FB21C651E98DF25)
            h ^= h >> np.uint64(32)
        out[i] = h
