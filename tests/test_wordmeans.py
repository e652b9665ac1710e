"""Means of a model's word embeddings: against sums in plain Python, and laws."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.embedding import UNIT
from scanner.wordmeans import AXES, WordMeans

RNG = np.random.default_rng(0)
WIDE = (RNG.normal(size=(300, 200)) * np.linspace(2, 0.1, 200) + 1).astype(np.float32)
NARROW = RNG.normal(size=(50, 8)).astype(np.float32)
SPECIAL = [0, 1]
texts = st.lists(st.lists(st.integers(0, 49), max_size=60), max_size=12)


def by_hand(table, pieces, axes):
    """Mean of the pieces along the axes, of length UNIT."""
    centred = table.astype(float) - table.astype(float).mean(axis=0)
    rows = [centred[piece] @ axes for piece in pieces if piece not in SPECIAL]
    total = np.sum(rows, axis=0) if rows else np.zeros(axes.shape[1])
    length = np.linalg.norm(total)
    return total * UNIT / length if length else total


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_means_are_those_of_all_pieces_and_of_the_first_24():
    means = WordMeans(NARROW, SPECIAL)
    assert means.width == 16
    split = [RNG.integers(0, 50, size).tolist() for size in (1, 5, 24, 25, 200)]
    found = means.of(split)
    for i, pieces in enumerate(split):
        own = [piece for piece in pieces if piece not in SPECIAL]
        for j in range(i):
            others = [piece for piece in split[j] if piece not in SPECIAL]
            for half, (a, b) in enumerate([(own, others), (own[:24], others[:24])]):
                side = slice(8 * half, 8 * half + 8)
                true = cosine(by_hand(NARROW, a, np.eye(8)), by_hand(NARROW, b, np.eye(8)))
                told = cosine(found[i, side].astype(float), found[j, side].astype(float))
                assert abs(told - true) < 0.003  # turned to its axes a table keeps all cosines


def test_a_wide_table_is_cut_to_its_largest_axes():
    means = WordMeans(WIDE, SPECIAL)
    assert means.width == 2 * AXES
    split = [RNG.integers(2, 300, 12).tolist() for _ in range(2)]
    found = means.of(split)[:, :AXES].astype(float)
    values, axes = np.linalg.eigh(np.cov(WIDE.T.astype(float)))
    largest = axes[:, np.argsort(-values)[:AXES]]
    true = cosine(*(by_hand(WIDE, pieces, largest) for pieces in split))
    assert abs(cosine(found[0], found[1]) - true) < 0.003


def test_texts_without_words_are_nothing():
    found = WordMeans(NARROW, SPECIAL).of([[], [0, 1, 0], [7]])
    assert not found[:2].any()
    assert found[2].any()
    assert WordMeans(NARROW, SPECIAL).of([]).shape == (0, 16)


@given(texts)
def test_a_text_has_the_same_means_wherever_it_stands(split):
    means = WordMeans(NARROW, SPECIAL)
    found = means.of(split)
    assert found.shape == (len(split), 16)
    for i, pieces in enumerate(split):
        assert (found[i] == means.of([pieces])[0]).all()
        assert (found[i, :8] == means.of([pieces[::-1]])[0, :8]).all()  # order of words does not count for the whole
    lengths = np.linalg.norm(found.reshape(-1, 8).astype(float), axis=1)
    assert ((np.abs(lengths - UNIT) < 3) | (lengths == 0)).all()


def test_more_texts_than_are_taken_at_once_change_nothing(monkeypatch):
    split = [RNG.integers(0, 50, RNG.integers(0, 40)).tolist() for _ in range(30)]
    whole = WordMeans(NARROW, SPECIAL).of(split)
    monkeypatch.setattr("scanner.wordmeans._TEXTS_AT_ONCE", 7)
    assert (WordMeans(NARROW, SPECIAL).of(split) == whole).all()
