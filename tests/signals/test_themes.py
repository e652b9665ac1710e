"""Themes of rows: exact by their twin, the same for any order of rows, none for few rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.embedding import UNIT
from scanner.signals import _themes
from scanner.signals._themes import MOST_THEMES, themes, themes_of_pairs


def unit(vectors):
    return np.rint(vectors * UNIT / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.int16)


def blobs(count, each, dimension=16, seed=0):
    """Rows around `count` far-apart directions, and the direction of each."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(count), each))
    return unit(np.eye(dimension)[of] + 0.05 * rng.normal(size=(len(of), dimension))), of


def test_rows_around_one_direction_share_a_theme():
    vectors, of = blobs(4, 60)
    found = themes(vectors, np.arange(len(vectors)), 64)
    assert len(np.unique(found)) > 1
    together = np.array([len(np.unique(of[found == theme])) for theme in np.unique(found)])
    assert (together == 1).mean() > 0.9  # more themes than directions: nearly all stay within one


def test_few_rows_have_one_theme_and_rows_left_out_have_none():
    vectors, _ = blobs(2, 100)
    assert not themes(vectors, np.arange(20), 64).any()
    assert not themes(vectors, np.zeros(0, np.int64), 64).any()
    assert not themes(vectors, np.arange(100), 64)[100:].any()


@given(st.integers(0, 2**32 - 1), st.integers(32, 300))
def test_the_order_of_rows_does_not_matter(seed, n):
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(n, 8)))
    at = rng.permutation(n)  # row i of the first input stands at at[i] in the second
    moved = np.empty_like(vectors)
    moved[at] = vectors
    assert (themes(moved, at, 64)[at] == themes(vectors, np.arange(n), 64)).all()


@given(st.integers(0, 2**32 - 1))
def test_every_row_lies_in_the_theme_of_a_centroid_and_numbers_are_bounded(seed):
    vectors = unit(np.random.default_rng(seed).normal(size=(400, 8)))
    found = themes(vectors, np.arange(400), 64)
    assert found.min() >= 0
    assert found.max() < 400 // 16
    assert themes(vectors, np.arange(400), 4).max() < 4
    again = np.concatenate((vectors, vectors))  # copies lie where their originals lie
    twice = themes(again, np.repeat(np.arange(400), 2) + np.tile([0, 400], 400), 64)
    assert (twice[:400] == twice[400:]).all()


def test_pairs_know_the_themes_of_both_rows_in_divisions_from_fine_to_coarse():
    vectors, _ = blobs(6, 200)
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, len(vectors), (2, 3000))
    rank = rng.permutation(len(vectors))
    found = themes_of_pairs(vectors, a, b, rank)
    assert found.shape == (3000, 2 * len(MOST_THEMES))
    seen = [np.unique(found[:, at : at + 2]) for at in range(0, found.shape[1], 2)]
    assert [len(numbers) for numbers in seen] == sorted((len(numbers) for numbers in seen), reverse=True)
    assert len(np.unique(np.concatenate(seen))) == sum(map(len, seen))  # no number means two themes
    assert (themes_of_pairs(vectors, b, a, rank)[:, [1, 0, 3, 2, 5, 4]] == found).all()
    none = np.zeros(0, np.int64)
    assert themes_of_pairs(vectors, none, none, rank).shape == (0, 6)


def test_the_finest_themes_are_more_in_a_large_file_up_to_a_limit(monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(
        _themes, "themes", lambda vectors, rows, most: asked.append(most) or np.zeros(len(vectors), int)
    )
    for rows, finest in ((12_999, 64), (13_000, 65), (52_000, 260), (102_400, 512), (400_000, 512)):
        asked.clear()
        everyone = np.arange(rows)
        themes_of_pairs(np.zeros((rows, 1), np.int16), everyone[:-1], everyone[1:], everyone)
        assert asked == [finest, 32, 16]
