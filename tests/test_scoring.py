"""Scores of a prediction beside slow, obvious twins and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.prediction import scoring
from scanner.prediction.scoring import auroc, calibration_error, score

PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40)


@given(PAIRS)
def test_auroc_counts_pairs(pairs):
    p, truth = np.array([x for x, _ in pairs]), np.array([t for _, t in pairs])
    wins = [(a > b) + 0.5 * (a == b) for a in p[truth] for b in p[~truth]]
    expected = float(np.mean(wins)) if wins else None
    assert auroc(p, truth) == (None if expected is None else pytest.approx(expected))


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_calibration_error_does_not_depend_on_the_order(pairs, random):
    mixed = pairs.copy()
    random.shuffle(mixed)
    errors = [calibration_error(*(np.array(column) for column in zip(*part, strict=True))) for part in (pairs, mixed)]
    assert errors[0] == pytest.approx(errors[1])
    assert 0 <= errors[0] <= 1


def test_the_calibration_error_of_two_bins_by_hand():
    p = np.repeat([0.2, 0.8], 50)
    truth = np.r_[np.arange(50) < 20, np.arange(50) < 40]  # .4 where .2 was said, .8 where .8 was
    assert calibration_error(p, truth) == pytest.approx(0.1)


def scored(p, truth, below, upto):
    n = np.arange(len(p))
    return score(np.asarray(p, float), np.asarray(truth, bool), n, np.asarray(below, float), np.asarray(upto, float), n)


def test_the_cover_is_randomised_among_ties():
    told = scored([0.5] * 4, [0, 1, 0, 1], [0.0, 0.9, 0.94, 0.96], [0.5, 1.0, 0.98, 1.0])
    # inside; half of the tie; a quarter of it; outside
    assert told.cover.value == pytest.approx((1 + 0.5 + 0.25 + 0) / 4)


def test_a_true_prediction_is_not_off_and_a_false_one_is():
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 3, 500)
    n = rng.geometric(0.3, 500)
    below, upto = 1 - 0.7 ** (n - 1), 1 - 0.7**n
    good = scored(p, rng.random(500) < p, below, upto)
    assert not good.is_off
    assert good.cover.value == pytest.approx(0.95, abs=0.03)
    assert good.cover.low < 0.95 < good.cover.high
    assert good.calibration_error.low <= good.calibration_error.high
    assert good.calibration_error.value < 2 * good.calibration_error_by_chance
    bad = scored(p / 3, rng.random(500) < p, below, upto)
    assert bad.is_off
    assert bad.calibration_error.value > 3 * bad.calibration_error_by_chance


def test_copies_widen_the_standard_error():
    rng = np.random.default_rng(1)
    p = np.full(400, 0.3)
    truth = np.repeat(rng.random(40) < 0.3, 10)  # ten copies of each row share their fate
    zero, one, alone = np.zeros(400), np.ones(400), np.arange(400)
    apart = score(p, truth, alone, zero, one, alone)
    together = score(p, truth, alone // 10, zero, one, alone // 10)
    assert apart.standard_error == pytest.approx(math.sqrt(400 * 0.21), rel=0.15)
    assert together.standard_error > 2 * apart.standard_error


def test_nothing_to_score_is_none_and_not_zero():
    told = scored([], [], [], [])
    assert (told.rows, told.calibration_error.value, told.cover.value, told.auroc.value) == (0, None, None, None)
    assert not told.is_off
    assert scored([0.2, 0.3], [0, 0], [0, 0], [1, 1]).auroc.value is None


def test_the_draws_are_the_same_each_time(monkeypatch):
    monkeypatch.setattr(scoring, "DRAWS", 20)
    p = np.linspace(0, 1, 30)
    assert scored(p, p > 0.6, p * 0, p * 0 + 1) == scored(p, p > 0.6, p * 0, p * 0 + 1)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 3)), min_size=2, max_size=25))
def test_a_weight_counts_as_so_many_rows(rows):
    score, truth, weight = (np.array(column) for column in zip(*rows, strict=True))
    each = np.repeat(np.arange(len(rows)), weight)
    weighted, repeated = auroc(score.astype(float), truth, weight.astype(float)), auroc(score[each], truth[each])
    assert weighted == (None if repeated is None else pytest.approx(repeated))
