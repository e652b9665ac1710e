"""Bins of predicted probability: every row in one, shares and intervals worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.prediction.reliability import EDGES, bins, share_interval

ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=80)


def test_by_hand():
    found = bins([0.0, 0.0005, 0.25, 0.35, 0.3, 1.0], [False, False, True, False, True, True])
    assert [(b.predicted, b.observed, b.rows) for b in found] == [
        (0.00025, 0.0, 2), (pytest.approx(0.3), pytest.approx(2 / 3), 3), (1.0, 1.0, 1)
    ]  # fmt: skip
    assert bins([], []) == []


def test_the_interval_is_wilsons():
    # 10 of 50, z = 1.645: (0.2 + 0.0271) / 1.0541 -+ 1.645 * sqrt(0.0032 + 0.00027) / 1.0541
    low, high = share_interval(10, 50)
    assert (low, high) == pytest.approx((0.1232, 0.3076), abs=5e-4)
    assert share_interval(0, 20)[0] == 0
    assert share_interval(20, 20)[1] == pytest.approx(1)
    assert share_interval(0, 20)[1] == pytest.approx(0.1192, abs=5e-4)


@given(ROWS)
def test_every_row_is_in_one_bin(rows):
    p, truth = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], bool)
    found = bins(p, truth)
    assert sum(b.rows for b in found) == len(rows)
    assert sum(b.observed * b.rows for b in found) == pytest.approx(truth.sum())
    assert sum(b.predicted * b.rows for b in found) == pytest.approx(p.sum())
    for b in found:
        assert b.low - 1e-9 <= b.observed <= b.high + 1e-9
        assert any(a <= b.predicted + 1e-9 and b.predicted - 1e-9 <= z for a, z in itertools.pairwise(EDGES))


def test_nine_of_ten_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3):
        hits = rng.binomial(200, share, 3000)
        inside = [low <= share <= high for low, high in (share_interval(h, 200) for h in hits.tolist())]
        assert 0.86 <= np.mean(inside) <= 0.95
