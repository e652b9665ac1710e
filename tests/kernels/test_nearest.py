"""The search kernels against slow twins."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.kernels import nearest as kernels


@pytest.fixture(scope="module")
def points():
    vectors = np.random.default_rng(0).integers(-600, 600, (400, 24)).astype(np.int16)
    vectors[350:] = vectors[:50]
    return vectors


def inverse_lengths(vectors):
    return 1 / np.sqrt((vectors.astype(np.int64) ** 2).sum(axis=1).astype(float))


def twin(vectors, rank, query, members, k):
    """(row, product) of the k nearest members by product over length, ties by rank."""
    inverse = inverse_lengths(vectors)
    products = {int(m): int(vectors[query].astype(int) @ vectors[m].astype(int)) for m in members if m != query}
    best = sorted(products, key=lambda m: (-(products[m] * inverse[m]), rank[m]))[:k]
    return [(m, products[m]) for m in best]


def empty(rows, k):
    return np.full((rows, k), -1, np.int32), np.zeros((rows, k), np.int32)


def pairs_of(rows, dots):
    return [(r, d) for r, d in zip(rows.tolist(), dots.tolist(), strict=True) if r >= 0]


@pytest.mark.parametrize("k", [1, 7, 450])
def test_rank_candidates(points, k):
    rng = np.random.default_rng(1)
    rank = rng.permutation(400).astype(np.int64)
    queries = np.arange(0, 400, 9, dtype=np.int32)
    members = rng.permutation(400).astype(np.int32)[:380]
    candidates = np.array([rng.permutation(380)[:300] for _ in queries[2:]])
    candidates[:, ::50] = -1
    rows, dots = empty(len(queries), k)
    kernels.rank_candidates(points, inverse_lengths(points), rank, queries, members, candidates, 2, rows, dots)
    assert (rows[:2] == -1).all()
    for i in range(2, len(queries)):
        offered = candidates[i - 2]
        assert pairs_of(rows[i], dots[i]) == twin(points, rank, queries[i], members[offered[offered >= 0]], k)


def test_expand_gives_the_nearest_rows_of_the_nearest_groups(points):
    k, rank = 6, np.random.default_rng(3).permutation(400).astype(np.int64)
    vectors = points[np.random.default_rng(4).integers(0, 60, 400)]  # about seven copies of each
    by_rank = np.argsort(rank)
    _, first, group = np.unique(vectors[by_rank], axis=0, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))  # groups in the order of their first row
    group_of = np.empty(400, np.int64)
    group_of[by_rank] = number[group.ravel()]
    group_rows = by_rank[np.argsort(group_of[by_rank], kind="stable")].astype(np.int32)
    at = np.searchsorted(group_of[group_rows], np.arange(len(first) + 1))
    leaders = group_rows[at[:-1]]
    near, near_dots = empty(len(leaders), k)
    for g, leader in enumerate(leaders):
        for place, (row, dot) in enumerate(twin(vectors, rank, leader, leaders, k)):
            near[g, place], near_dots[g, place] = group_of[row], dot
    rows, dots = empty(400, k)
    everyone = np.arange(400, dtype=np.int32)
    kernels.expand(near, near_dots, everyone, group_of, group_rows, at, inverse_lengths(vectors), rank, 0, 400,
                   rows, dots)  # fmt: skip
    for row in range(400):
        assert pairs_of(rows[row], dots[row]) == twin(vectors, rank, row, everyone, k)


def test_the_longest_vectors_do_not_overflow():
    vectors = np.zeros((3, 4), np.int16)
    vectors[:, 0] = 2048
    rows, dots = empty(3, 2)
    everyone = np.arange(3, dtype=np.int32)
    kernels.rank_candidates(vectors, inverse_lengths(vectors), everyone.astype(np.int64), everyone, everyone,
                            np.tile(np.arange(3), (3, 1)), 0, rows, dots)  # fmt: skip
    assert dots.tolist() == [[2048**2] * 2] * 3
    assert rows.tolist() == [[1, 2], [0, 2], [0, 1]]


def test_equal_vectors_have_equal_hashes_and_others_do_not(points):
    hashes = np.empty(400, np.uint64)
    kernels.vector_hashes(points, np.arange(400, dtype=np.int32), hashes)
    assert np.array_equal(hashes[350:], hashes[:50])
    assert len(np.unique(hashes)) == 350
