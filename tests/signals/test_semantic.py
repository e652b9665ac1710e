"""Neighbours and pairs against a slow twin, against FAISS, and under changes that must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.embedding import UNIT, Embeddings
from scanner.objects import Neighbours
from scanner.signals import semantic


def whole(vectors):
    """Whole-number vectors of length UNIT; rows of zeros are not measured."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = np.rint(vectors * UNIT / np.where(length > 0, length, 1)).astype(np.int16)
    measured = scaled.any(axis=1)
    return Embeddings(scaled, measured, (~measured).astype(np.uint8), {"encoder": "test"})


def clustered(rows, seed=0, d=16, centres=40):
    """Points around centres, as embeddings of real rows lie; some rows are exact copies."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(centres, d))[rng.integers(centres, size=rows)] + 0.4 * rng.normal(size=(rows, d))
    points[rng.integers(rows, size=rows // 10)] = points[0]
    return whole(points)


def brute(embeddings, order, k):
    """Every pair compared, in plain Python and whole numbers: (positions, cosines) per row."""
    v = embeddings.vectors.astype(object)
    rank = {int(row): i for i, row in enumerate(order)}
    squares = [int((x * x).sum()) for x in v]
    lines = []
    for i in range(len(v)):
        others = [j for j in range(len(v)) if j != i and embeddings.measured[i] and embeddings.measured[j]]
        scored = sorted((-int((v[i] * v[j]).sum()) / squares[j] ** 0.5, rank[j], j) for j in others)[:k]
        lines.append([(j, int((v[i] * v[j]).sum()) / (squares[i] * squares[j]) ** 0.5) for _, _, j in scored])
    return lines


def same(found, lines):
    for i, line in enumerate(lines):
        there = found.position[i] >= 0
        assert found.position[i][there].tolist() == [j for j, _ in line]
        assert found.cosine[i][there] == pytest.approx([c for _, c in line], abs=1e-6)
        assert np.isnan(found.cosine[i][~there]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_equals_the_slow_twin_with_copies_ties_and_unmeasured_rows(rows, k, d, seed):
    rng = np.random.default_rng(seed)
    vectors = whole(rng.integers(-1, 2, size=(rows, d)).astype(float))  # many equal, many tied, some zero
    order = rng.permutation(rows)
    same(semantic.search(vectors, order, k), brute(vectors, order, k))


def test_inverted_lists_tuned_to_full_recall_agree_with_the_exact_search():
    vectors, order = clustered(700), np.random.default_rng(1).permutation(700)
    exact = semantic.search(vectors, order, 5)
    listed = semantic.search(vectors, order, 5, exact_rows=100, recall=1.0)
    assert exact.notes["index"] == "exact"
    assert listed.notes["index"] == "inverted lists"
    found = (listed.position[:, :, None] == exact.position[:, None, :]).any(axis=2).mean()
    assert found == pytest.approx(listed.notes["recall"], abs=0.02)
    assert found > 0.9
    same(exact, brute(vectors, order, 5))


def test_recall_against_exact_search_by_faiss_is_what_the_notes_say():
    import faiss

    vectors, k = clustered(6000, centres=300), 10
    found = semantic.search(vectors, np.arange(6000), k, exact_rows=1000, recall=0.9)
    unit = vectors.vectors / vectors.norms()[:, None]
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit.astype(np.float32))
    best, _ = index.search(unit.astype(np.float32), k + 1)
    recall = (found.cosine >= best[:, [k]] - 1e-5).mean()  # copies tie, so cosines are compared, not positions
    assert found.notes["probes"] < found.notes["lists"] / 4
    assert found.notes["recall"] >= 0.9
    assert recall == pytest.approx(found.notes["recall"], abs=0.03)
    close = best[:, 1:] >= semantic.CLOSE
    kept = (found.cosine >= semantic.CLOSE).sum() / close.sum()
    assert found.notes["recall_close"] == pytest.approx(kept, abs=0.06)  # of distinct vectors, and a sample of them
    assert found.notes["close_sampled"] == pytest.approx(close.mean() * 500 * k, rel=0.2)


@pytest.mark.parametrize("exact_rows", [10_000, 500])
def test_threads_and_the_order_of_rows_do_not_matter(exact_rows):
    vectors, order = clustered(2000), np.random.default_rng(5).permutation(2000)
    one = semantic.search(vectors, order, 6, threads=1, exact_rows=exact_rows)
    two = semantic.search(vectors, order, 6, threads=2, exact_rows=exact_rows)
    assert np.array_equal(one.position, two.position)
    assert np.array_equal(one.cosine, two.cosine, equal_nan=True)
    moved = np.random.default_rng(6).permutation(2000)  # row i of the shuffled input was row moved[i]
    back = np.argsort(moved)
    shuffled = Embeddings(vectors.vectors[moved], vectors.measured[moved], vectors.reason[moved])
    again = semantic.search(shuffled, back[order], 6, exact_rows=exact_rows)
    assert np.array_equal(moved[again.position], one.position[moved])
    assert np.array_equal(again.cosine, one.cosine[moved], equal_nan=True)


def test_many_copies_of_one_row_are_searched_once():
    vectors = whole(np.vstack([np.ones((500, 3)), np.eye(3)]))
    found = semantic.search(vectors, np.arange(503), 4)
    assert found.notes["distinct_vectors"] == 4
    assert found.position[7].tolist() == [0, 1, 2, 3]
    assert found.cosine[7].tolist() == [1, 1, 1, 1]
    assert found.position[500].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_sets_too_small_for_neighbours(rows):
    found = semantic.search(whole(np.ones((rows, 3))), np.arange(rows), 3)
    assert found.position.shape == (rows, 3)
    assert (found.position >= 0).sum() == (2 if rows == 2 else 0)


def pair(position, cosine, threshold=0.9, row_id=None):
    position = np.array(position, np.int32)
    neighbours = Neighbours(position, np.array(cosine, np.float32), np.ones(len(position), bool), {"recall": 1.0})
    return semantic.pairs(neighbours, np.arange(len(position)) if row_id is None else row_id, threshold)


def test_pairs_are_ordered_unique_and_at_or_above_the_threshold():
    nan = float("nan")
    found = pair([[1, 2], [0, -1], [0, 1]], [[0.95, 0.5], [0.95, nan], [0.5, 0.9]], row_id=np.array([4, 7, 20]))
    assert found.row_a.tolist() == [4, 7]
    assert found.row_b.tolist() == [7, 20]
    assert found.similarity.tolist() == pytest.approx([0.95, 0.9])
    assert found.relation.tolist() == ["semantic", "semantic"]
    assert np.isnan(found.containment_ab).all()
    assert found.notes == {"recall": 1.0, "cosine": 0.9, "rows_at_least_k": 0}


def test_rows_whose_neighbours_ran_out_are_counted():
    found = pair([[1], [2], [1]], [[1.0], [1.0], [0.2]])
    assert found.notes["rows_at_least_k"] == 2


def test_pairs_of_a_search_are_those_of_all_pairs_when_k_is_large():
    vectors = clustered(300)
    found = semantic.pairs(semantic.search(vectors, np.arange(300), 299), np.arange(300), 0.8)
    unit = vectors.vectors / vectors.norms()[:, None]
    expected = np.argwhere(np.triu(unit @ unit.T >= np.float32(0.8), 1))
    assert np.column_stack((found.row_a, found.row_b)).tolist() == expected.tolist()
