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
def test_nearest_of_all(points, k):
    rank = np.random.default_rng(1).permutation(400).astype(np.int64)
    queries = np.arange(0, 400, 9, dtype=np.int32)
    members = np.arange(3, 390, dtype=np.int32)
    rows, dots = empty(len(queries), k)
    kernels.nearest_of_all(points, inverse_lengths(points), shortest(points), rank, queries, 2, len(queries), members,
                           rows, dots)  # fmt: skip
    assert (rows[:2] == -1).all()
    for i in range(2, len(queries)):
        assert pairs_of(rows[i], dots[i]) == twin(points, rank, queries[i], members, k)


@pytest.mark.parametrize("probes", [1, 3, 10])
def test_nearest_in_lists(points, probes):
    rng = np.random.default_rng(2)
    rank = rng.permutation(400).astype(np.int64)
    centroids = points[rng.permutation(400)[:10]]
    centroids[4] = centroids[2]  # tied centroids: the first counts as nearer
    place = (points.astype(int) @ centroids.astype(int).T).argmax(axis=1)
    members = np.argsort(place, kind="stable").astype(np.int32)
    at = np.searchsorted(place[members], np.arange(11))
    rows, dots = empty(400, 5)
    kernels.nearest_in_lists(
        points, inverse_lengths(points), shortest(points), rank, members, 0, 400, centroids, probes, members, at,
        rows, dots,
    )  # fmt: skip
    for i, query in enumerate(members):
        near = np.argsort(-(points[query].astype(int) @ centroids.astype(int).T), kind="stable")[:probes]
        assert pairs_of(rows[i], dots[i]) == twin(points, rank, query, np.flatnonzero(np.isin(place, near)), 5)


def test_assign_takes_the_first_of_the_nearest(points):
    centroids = points[[5, 9, 5, 30]]
    out = np.full(400, -1, np.int32)
    kernels.assign(points, np.arange(400, dtype=np.int32)[::-1].copy(), centroids, 10, 400, out)
    expected = (points[::-1].astype(int) @ centroids.astype(int).T).argmax(axis=1)
    assert (out[:10] == -1).all()
    assert np.array_equal(out[10:], expected[10:])


def test_the_longest_vectors_do_not_overflow():
    vectors = np.zeros((3, 4), np.int16)
    vectors[:, 0] = 2048
    rows, dots = empty(3, 2)
    everyone = np.arange(3, dtype=np.int32)
    kernels.nearest_of_all(vectors, inverse_lengths(vectors), 2048.0, everyone.astype(np.int64), everyone, 0, 3,
                           everyone, rows, dots)  # fmt: skip
    assert dots.tolist() == [[2048**2] * 2] * 3
    assert rows.tolist() == [[1, 2], [0, 2], [0, 1]]


def test_add_up(points):
    rows = np.array([3, 4, 3, 399], np.int32)
    sums = np.zeros((3, 24), np.int64)
    kernels.add_up(points, rows, np.array([0, 2, 0, 2], np.int32), sums)
    whole = points.astype(np.int64)
    assert np.array_equal(sums, [2 * whole[3], np.zeros(24), whole[4] + whole[399]])


def test_equal_vectors_have_equal_hashes_and_others_do_not(points):
    hashes = np.empty(400, np.uint64)
    kernels.vector_hashes(points, np.arange(400, dtype=np.int32), hashes)
    assert np.array_equal(hashes[350:], hashes[:50])
    assert len(np.unique(hashes)) == 350
