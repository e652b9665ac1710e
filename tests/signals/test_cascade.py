"""What the slow encoder is given to read, against worked examples and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.objects import Neighbours
from scanner.signals import _cascade
from tests.signals.test_semantic import clustered, semantic

NONE = (np.zeros(0, np.int64), np.zeros(0, np.int64))


def nearest(lines, k=2):
    """Neighbours from {row: [(other, cosine), ...]}."""
    n = max(lines) + 1
    position, cosine = np.full((n, k), -1, np.int32), np.full((n, k), np.nan, np.float32)
    for row, others in lines.items():
        for place, (other, value) in enumerate(others):
            position[row, place], cosine[row, place] = other, value
    return Neighbours(position, cosine, np.ones(n, bool))


def listed(found):
    return list(zip(found.a.tolist(), found.b.tolist(), found.cosine.round(3).tolist(), strict=True))


LINES = {0: [(1, 0.9), (2, 0.7)], 1: [(0, 0.9)], 2: [(3, 0.8), (0, 0.7)], 3: [(2, 0.8)], 4: [(0, 0.3)]}


def test_pairs_are_proposed_once_the_likeliest_first():
    found = _cascade.propose(nearest(LINES), np.arange(5), np.arange(5), NONE)
    assert listed(found) == [(0, 1, 0.9), (2, 3, 0.8), (0, 2, 0.7), (0, 4, 0.3)]


def test_copies_are_not_proposed_and_equal_texts_speak_with_one_voice():
    known = (np.array([3]), np.array([2]))  # either way round
    found = _cascade.propose(nearest(LINES), np.array([0, 0, 2, 3, 4]), np.arange(5), known)
    assert listed(found) == [(0, 2, 0.7), (0, 4, 0.3)]


def test_ties_stand_in_content_order():
    lines = {0: [(1, 0.8)], 2: [(3, 0.8)]}
    assert listed(_cascade.propose(nearest(lines), np.arange(4), np.array([3, 2, 1, 0]), NONE))[0][:2] == (2, 3)


def test_the_budget_goes_to_the_rows_of_the_best_pairs():
    proposals = _cascade.propose(nearest(LINES), np.arange(5), np.arange(5), NONE)
    chosen = _cascade.choose(proposals, np.full(5, 10, np.int32), 25)
    assert chosen.rows.tolist() == [0, 1]
    assert (chosen.pieces, chosen.budget_reached) == (20, True)
    everything = _cascade.choose(proposals, np.full(5, 10, np.int32), 50)
    assert everything.rows.tolist() == [0, 1, 2, 3, 4]  # row 4 lies below LEAST_COSINE and is read as a sample
    assert everything.sampled.tolist() == [3]
    assert not everything.budget_reached


def test_a_score_decides_the_order_and_the_cosine_what_is_worth_a_look():
    proposals = _cascade.propose(nearest(LINES), np.arange(5), np.arange(5), NONE)
    found = _cascade.ranked(proposals, np.array([0.1, 0.5, 0.5, 0.9]))
    assert listed(found) == [(0, 4, 0.3), (2, 3, 0.8), (0, 2, 0.7), (0, 1, 0.9)]
    assert found.score.tolist() == [0.9, 0.5, 0.5, 0.1]
    chosen = _cascade.choose(found, np.full(5, 10, np.int32), 25)
    assert chosen.rows.tolist() == [2, 3]  # not row 4, whose only pair lies below LEAST_COSINE


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 120), st.integers(0, 5000), st.integers(0, 10**6))
def test_what_is_read_never_costs_more_than_the_budget(rows, budget, seed):
    rng = np.random.default_rng(seed)
    near = semantic.search(clustered(rows, seed, 6, 8), np.arange(rows), 4)
    pieces = rng.integers(1, 60, rows).astype(np.int32)
    proposals = _cascade.propose(near, np.arange(rows), rng.permutation(rows), NONE)
    chosen = _cascade.choose(proposals, pieces, budget)
    assert chosen.pieces == pieces[chosen.rows].sum() <= budget
    assert len(np.unique(chosen.rows)) == len(chosen.rows)
    assert (np.diff(proposals.cosine) <= 0).all()
    assert (proposals.a < proposals.b).all()
    more = _cascade.choose(proposals, pieces, int(pieces.sum()))
    in_pairs = np.unique(np.concatenate([proposals.a, proposals.b]))
    assert np.isin(more.rows, in_pairs).all()


def known_pairs(noise, seed=0, count=4000):
    """Proposals whose slow cosine, as Fisher's z, is linear in the fast one but for normal noise; a fifth is read."""
    rng = np.random.default_rng(seed)
    fast = np.sort(rng.uniform(0.5, 0.95, count))[::-1]
    true = np.tanh(2.2 * fast - 0.9 + noise * rng.normal(size=count))
    proposals = _cascade.Proposals(np.arange(0, 2 * count, 2), np.arange(1, 2 * count, 2), fast, fast)
    read = np.zeros(count, bool)
    read[: count // 5] = True
    sampled = np.arange(count // 5, count, 100)
    read[sampled] = True
    encoded = np.repeat(read, 2)
    chosen = _cascade.Chosen(np.flatnonzero(encoded), sampled, 0, True)
    return proposals, chosen, np.where(read, true, np.nan), encoded, true, read


@pytest.mark.parametrize("noise", [0.08, 0.16])
def test_what_was_missed_is_estimated_with_its_interval(noise):
    proposals, chosen, slow, encoded, true, read = known_pairs(noise)
    said = _cascade.missed(proposals, chosen, slow, encoded, 0.8)
    lost = int((true[~read] >= 0.8).sum())
    assert lost > 0
    assert said["low"] - 0.1 * lost - 3 <= lost <= said["high"] + 0.1 * lost + 3
    assert said["expected"] == pytest.approx(lost, rel=0.5, abs=4)
    assert said["sampled_pairs"] == len(chosen.sampled)


def test_nothing_is_missed_where_everything_was_read():
    proposals, chosen, slow, encoded, _, _ = known_pairs(0.05)
    assert _cascade.missed(proposals, chosen, slow, np.ones_like(encoded), 0.8)["expected"] == 0


def test_too_small_a_sample_says_nothing():
    proposals, chosen, slow, encoded, _, _ = known_pairs(0.05)
    few = _cascade.Chosen(chosen.rows, chosen.sampled[:3], 0, True)
    assert _cascade.missed(proposals, few, slow, encoded, 0.8) == {
        "expected": None, "low": None, "high": None, "sampled_pairs": 3,
    }  # fmt: skip


def test_one_x_that_divides_hits_from_misses_does_not_break_the_curve():
    x = np.concatenate([np.full(50, 0.6), np.full(50, 0.8)])
    found = _cascade._curve(x, x, np.array([0.5, 0.9]), 0.7)
    assert found[0] < 0.01 < 0.99 < found[1]
    assert np.isfinite(_cascade._curve(x, x, x, 0.99)).all()
