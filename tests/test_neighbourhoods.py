"""Identities of the neighbourhood statistics: known dimensions, known means, and what may not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import neighbourhoods as nb
from scanner.objects import Neighbours


def nearest_distances(points, k):
    squared = (points**2).sum(1)
    distance = np.sqrt(np.maximum(0, squared[:, None] + squared[None, :] - 2 * points @ points.T))
    np.fill_diagonal(distance, np.inf)
    return np.sort(distance, axis=1)[:, :k]


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_a_cube_has_its_own_dimension(d):
    points = np.random.default_rng(d).random((1500, d))
    found = nb.local_intrinsic_dimension(nearest_distances(points, 20)).value
    assert np.median(found) == pytest.approx(d, rel=0.1)


def test_the_formula_by_hand():
    # ln(1/4) + ln(2/4) + ln(4/4) = -3 ln 2, three neighbours
    found = nb.local_intrinsic_dimension(np.array([[1.0, 2.0, 4.0]]))
    assert found.value == pytest.approx([1 / np.log(2)])
    assert found.reason.tolist() == [0]


def test_equal_neighbours_and_missing_ones():
    nan = np.nan
    rows = np.array([[0, 1, 2], [0, 0, 0], [1, 1, 1], [1, nan, nan], [nan, nan, nan], [1, 2, nan]], float)
    found = nb.local_intrinsic_dimension(rows)
    assert found.value[:2].tolist() == [0, 0]
    assert np.isnan(found.value[2:5]).all()
    assert found.value[5] == pytest.approx(2 / np.log(2))
    assert [nb.REASONS[r] for r in found.reason] == [
        "", "", "all distances equal", "fewer than 2 neighbours", "fewer than 2 neighbours", "",
    ]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=20), st.floats(1e-3, 1e3))
def test_the_unit_of_distance_does_not_matter(distances, factor):
    row = np.sort(np.array([distances]))
    one, other = nb.local_intrinsic_dimension(row), nb.local_intrinsic_dimension(row * factor)
    if row[0, 0] < row[0, -1] * (1 - 1e-6):
        assert one.value == pytest.approx(other.value, rel=1e-6)


def test_chords():
    assert nb.chord_distances(np.array([[1.0, 0.0, -1.0, np.nan]], np.float32))[0, :3] == pytest.approx([0, 2**0.5, 2])
    assert np.isnan(nb.chord_distances(np.array([np.nan]))).all()


def test_density_is_the_mean_over_the_neighbours_there_are():
    position = np.array([[1, 2], [0, -1], [-1, -1]], np.int32)
    cosine = np.array([[0.5, 0.25], [1, np.nan], [np.nan, np.nan]], np.float32)
    found = nb.density(Neighbours(position, cosine, np.array([True, True, False])))
    assert found[:2].tolist() == [0.375, 1.0]
    assert np.isnan(found[2])


def mean_cosine(vectors):
    return nb.group_mean_cosine(vectors, np.zeros(len(vectors), np.int64), 1)[0]


def mean_cosine_twin(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float((unit @ unit.T)[np.triu_indices(len(unit), 1)].mean())


@pytest.mark.parametrize("rows", [2, 3, 50, 1500])
def test_mean_cosine_is_the_mean_over_all_pairs(rows):
    vectors = np.random.default_rng(rows).normal(0.3, 1, (rows, 8))
    assert mean_cosine(vectors) == pytest.approx(mean_cosine_twin(vectors), abs=1e-9)


def test_mean_cosine_of_one_direction_and_of_too_few():
    assert mean_cosine(np.full((9, 4), 7, np.int16)) == pytest.approx(1.0, abs=1e-11)
    assert np.isnan(mean_cosine(np.ones((1, 4))))
    assert np.isnan(mean_cosine(np.zeros((0, 4))))
    assert nb.group_mean_cosine(np.eye(4), np.array([0, 0, -1, -1]), 1) == pytest.approx(0)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_groups_are_means_of_their_own_rows_in_any_order(rows, groups, seed):
    rng = np.random.default_rng(seed)
    vectors, group = rng.normal(size=(rows, 5)), rng.integers(-1, groups, rows)
    found = nb.group_mean_cosine(vectors, group, groups)
    for g in range(groups):
        own = vectors[group == g]
        if len(own) < 2:
            assert np.isnan(found[g])
        else:
            assert found[g] == pytest.approx(mean_cosine_twin(own), abs=1e-9)
    order = rng.permutation(rows)
    assert np.array_equal(found, nb.group_mean_cosine(vectors[order], group[order], groups), equal_nan=True)


def test_a_group_may_span_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, group = rng.normal(size=(100, 5)), np.sort(rng.integers(0, 6, 100))
    whole = nb.group_mean_cosine(vectors, group, 6)
    monkeypatch.setattr(nb, "_BLOCK", 7)
    assert np.array_equal(whole, nb.group_mean_cosine(vectors, group, 6))


def test_the_embedding_gap_takes_the_same_rows_for_both():
    prompt = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], float)
    full = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], float)
    gap = nb.embedding_gap(full, prompt, np.array([True, True, False, False]))
    assert gap.rows.tolist() == [2]
    assert gap.s_input == pytest.approx([0])
    assert gap.s_full == pytest.approx([1])
    assert gap.difference == pytest.approx([1])
