"""Nearest neighbours among whole-number vectors: exact integer inner products, all or list by list.

Vectors are int16 of length about 2,048 (see kernels/embed.py), so that an inner product fits 32 bits and compilers turn
the loop into multiply-add instructions on pairs of 16-bit numbers: on one core faster than a float32 matrix product,
and exact, so neighbours do not depend on threads, blocks or the order of lists.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from scanner.kernels._jit import I32, I32R, I64R, INT, U64, VOID, kernel

_I16_2D = types.Array(types.int16, 2, "C", readonly=True)
_I32_2D = types.Array(types.int32, 2, "C")
_I32_2D_READ = types.Array(types.int32, 2, "C", readonly=True)
_I64_2D = types.Array(types.int64, 2, "C")
_F64R = types.Array(types.float64, 1, "C", readonly=True)
_CHUNK = 128  # candidates that stay in the core's cache while many queries pass over them
_TOGETHER = 64  # queries that pass over a list together


@njit(nogil=True)
def _dots(vector, vectors, rows, begin, end, out):
    """out[i - begin] = inner product with vectors[rows[i]]."""
    for i in range(begin, end):
        other = vectors[rows[i]]
        total = np.int32(0)
        for j in range(len(vector)):
            total += np.int32(vector[j]) * np.int32(other[j])
        # subtle: numba widens the sum to 64 bits; stored into 32, LLVM narrows it and uses multiply-add (3x faster)
        out[i - begin] = total


@njit(nogil=True)
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


@njit(nogil=True)
def _compare(query, vectors, inverse, rank, members, begin, end, products, scores, ranks, rows, dots):
    """Offer members[begin:end], at most _CHUNK of them, to the list of the nearest rows of one query."""
    _dots(vectors[query], vectors, members, begin, end, products)
    worst = scores[-1]
    for m in range(begin, end):
        row = members[m]
        dot = products[m - begin]
        score = dot * inverse[row]
        if score >= worst and row != query:
            _insert(score, rank[row], row, dot, scores, ranks, rows, dots)
            worst = scores[-1]


@kernel(VOID(_I16_2D, _F64R, I64R, I32R, INT, INT, I32R, _I32_2D, _I32_2D))
def nearest_of_all(vectors, inverse, rank, queries, begin, end, members, row_out, dot_out):
    """The k nearest members of queries[begin:end], by inner product over the member's length; all are compared.

    vectors (n, d), inverse (n,): 1 / length, rank (n,): breaks ties, lowest first · queries, members: rows · row_out,
    dot_out (len(queries), k): rows nearest first and their inner products, left as they are where there are fewer
    than k. A row is not its own neighbour.
    """
    k = row_out.shape[1]
    products = np.empty(_CHUNK, np.int32)
    scores = np.full((end - begin, k), -np.inf)
    ranks = np.full((end - begin, k), np.int64(1) << 62)
    for chunk in range(0, len(members), _CHUNK):
        stop = min(chunk + _CHUNK, len(members))
        for q in range(begin, end):
            i = q - begin
            _compare(queries[q], vectors, inverse, rank, members, chunk, stop, products, scores[i], ranks[i],
                     row_out[q], dot_out[q])  # fmt: skip


@kernel(VOID(_I16_2D, _F64R, I64R, I32R, INT, INT, _I16_2D, INT, I32R, I64R, _I32_2D, _I32_2D))
def nearest_in_lists(
    vectors, inverse, rank, queries, begin, end, centroids, probes, members, member_at, row_out, dot_out
):
    """As `nearest_of_all`, but each query is compared only with the lists of its `probes` nearest centroids.

    List l holds members[member_at[l]:member_at[l + 1]]; of centroids equally near, the first count as nearer.
    Queries go through the lists in blocks: those that stand together should be near one another, so that a list is
    fetched from memory once for many of them.
    """
    k = row_out.shape[1]
    lists = len(centroids)
    every = np.arange(lists).astype(np.int32)
    near = np.empty(lists, np.int32)
    list_dots = np.empty(probes, np.int32)
    list_scores = np.empty(probes)
    list_ranks = np.empty(probes, np.int64)
    chosen = np.empty(probes, np.int32)
    wanted = np.empty((_TOGETHER, lists), np.bool_)
    products = np.empty(_CHUNK, np.int32)
    scores = np.empty((_TOGETHER, k))
    ranks = np.empty((_TOGETHER, k), np.int64)
    for block in range(begin, end, _TOGETHER):
        count = min(_TOGETHER, end - block)
        scores[:] = -np.inf
        ranks[:] = np.int64(1) << 62
        wanted[:] = False
        for i in range(count):
            _dots(vectors[queries[block + i]], centroids, every, 0, lists, near)
            list_scores[:] = -np.inf
            for each in range(lists):
                if near[each] > list_scores[-1]:
                    _insert(near[each], each, each, near[each], list_scores, list_ranks, chosen, list_dots)
            for each in chosen:
                wanted[i, each] = True
        for each in range(lists):
            for chunk in range(member_at[each], member_at[each + 1], _CHUNK):
                stop = min(chunk + _CHUNK, member_at[each + 1])
                for i in range(count):
                    if wanted[i, each]:
                        q = block + i
                        _compare(queries[q], vectors, inverse, rank, members, chunk, stop, products, scores[i],
                                 ranks[i], row_out[q], dot_out[q])  # fmt: skip


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


@kernel(VOID(_I16_2D, I32R, _I16_2D, INT, INT, I32))
def assign(vectors, rows, centroids, begin, end, out):
    """out[i] = the centroid with the largest inner product with row rows[i], the first of several; i in [begin, end)."""
    every = np.arange(len(centroids)).astype(np.int32)
    products = np.empty(len(centroids), np.int32)
    for i in range(begin, end):
        _dots(vectors[rows[i]], centroids, every, 0, len(centroids), products)
        best = 0
        for c in range(1, len(centroids)):
            if products[c] > products[best]:
                best = c
        out[i] = best


@kernel(VOID(_I16_2D, I32R, I32R, _I64_2D))
def add_up(vectors, rows, place, sums):
    """sums[place[i]] += vectors[rows[i]]."""
    for i in range(len(rows)):
        vector = vectors[rows[i]]
        total = sums[place[i]]
        for j in range(len(vector)):
            total[j] += vector[j]


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
