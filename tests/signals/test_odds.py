"""What readings make of the shipped weights: a twin in plain Python, laws, and cases with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.closeness import PARTS
from scanner.signals import _odds
from scanner.signals._odds import CLOSENESS, COSINE, Belief, Odds

BELIEF = Belief(centre=(0.5, 1.0), weights=(-2.0, 3.0, 0.5, -7.0), spread=(1.0, 2.0, 0.5, 2.0))


def pairs(count, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, (count, 2)), rng.uniform(-0.2, 1, count)


def twin(belief, weights, parts, cosine):
    """The log odds of one pair by their definition."""
    gap = math.atanh(cosine) - math.atanh(0.85)
    own = sum(w * (x - c) for w, x, c in zip(weights[1:-1], parts, belief.centre, strict=True))
    return weights[0] + own + weights[-1] * gap


def loss(belief, weights, parts, slow, cosine):
    """What learning makes as small as it can: surprise at three thresholds, and the distance from the belief."""
    total = sum(0.5 * ((w - b) / s) ** 2 for w, b, s in zip(weights, belief.weights, belief.spread, strict=True))
    for step in (0, 0.05, 0.1):
        for row, found in zip(parts.tolist(), slow.tolist(), strict=True):
            odds = twin(belief, weights, row, cosine - step)
            total += (math.log1p(math.exp(odds)) - (odds if found >= cosine - step else 0)) / 3
    return total


@pytest.mark.parametrize("belief", [CLOSENESS, COSINE, BELIEF])
def test_a_belief_has_a_weight_for_each_part_the_constant_and_the_threshold(belief):
    assert len(belief.weights) == len(belief.spread) == len(belief.centre) + 2
    assert min(belief.spread) > 0
    assert belief.weights[-1] < 0 < belief.weights[1]  # a higher threshold is reached less often
    assert len(CLOSENESS.centre) == len(PARTS)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(0, 999), st.floats(0.2, 0.98))
def test_probabilities_are_what_the_definition_says(count, seed, cosine):
    parts, _ = pairs(count, seed)
    expected = [-math.log1p(math.exp(-twin(BELIEF, BELIEF.weights, row, cosine))) for row in parts.tolist()]
    assert Odds(BELIEF, parts, cosine).log_probability() == pytest.approx(expected, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 30), st.integers(0, 999), st.sampled_from([0.6, 0.8, 0.9, 1.0]))
def test_learning_finds_the_least_of_the_twins_loss(count, seed, cosine):
    cosine = min(cosine, 0.99)
    parts, slow = pairs(40, seed)
    odds = Odds(BELIEF, parts, cosine)
    odds.learn(np.arange(count), slow[:count])
    found = odds.weights.tolist()
    best = loss(BELIEF, found, parts[:count], slow[:count], cosine)
    for place in range(len(found)):
        for step in (-0.01, 0.01):
            other = [w + step * (i == place) for i, w in enumerate(found)]
            assert loss(BELIEF, other, parts[:count], slow[:count], cosine) >= best - 1e-7


def test_few_readings_change_little_and_many_decide():
    parts, _ = pairs(3000, 1)
    slow = 0.2 + 0.8 * parts[:, 1]  # the second part decides, against the belief
    moved = []
    for count in (0, 3, 3000):
        odds = Odds(BELIEF, parts, 0.8)
        odds.learn(np.arange(count), slow[:count])
        moved.append(odds.weights[2] - BELIEF.weights[2])
    assert moved[0] == 0
    assert 0 < moved[1] < 0.5 < 3 < moved[2]


def test_learning_forgets_the_last_fit():
    parts, slow = pairs(200, 2)
    once, twice = Odds(BELIEF, parts, 0.8), Odds(BELIEF, parts, 0.8)
    twice.learn(np.arange(20), slow[:20])
    for odds in (once, twice):
        odds.learn(np.arange(200), slow)
    assert (once.weights == twice.weights).all()


def test_the_level_orders_pairs_as_their_odds_do_at_every_threshold():
    parts, slow = pairs(300, 3)
    for cosine in (0.0, 0.5, 0.9, 1.0):
        odds = Odds(BELIEF, parts, cosine)
        odds.learn(np.arange(100), slow[:100])
        order = np.argsort(odds.level(), kind="stable")
        assert (np.diff(odds.log_probability()[order]) >= -1e-6).all()
        assert np.isfinite(odds.log_probability()).all()


def test_readings_without_a_miss_or_without_a_hit_leave_finite_weights():
    parts, _ = pairs(50, 4)
    for slow in (np.ones(50), np.zeros(50)):
        odds = Odds(BELIEF, 100 * parts, 0.8)
        odds.learn(np.arange(50), slow)
        assert np.isfinite(odds.weights).all()


def test_a_step_too_long_is_halved():
    points, reached = np.array([[1.0], [1.0]]), np.array([1.0, 1.0])
    found = _odds.fitted(points, reached, np.ones(2), np.array([-8.0]), np.array([[1e-2]]))
    grid = np.linspace(-10, 20, 30_001)
    best = grid[np.argmin(2 * np.logaddexp(0, -grid) + 0.5e-2 * (grid + 8) ** 2)]
    assert found[0] == pytest.approx(best, abs=2e-3)


def themed_loss(weights, leaning, parts, slow, themes, cosine):
    """The twin's loss with the log odds of themes beside, held near 0 as each theme's spread says."""
    total = sum(0.5 * ((w - b) / s) ** 2 for w, b, s in zip(weights, BELIEF.weights, BELIEF.spread, strict=True))
    total += sum(0.5 * (lean / _odds._LEAN_SPREAD) ** 2 for lean in leaning)
    for step in (0, 0.05, 0.1):
        for row, found, (one, other) in zip(parts.tolist(), slow.tolist(), themes.tolist(), strict=True):
            odds = twin(BELIEF, weights, row, cosine - step) + (leaning[one] + leaning[other]) / 2
            total += (math.log1p(math.exp(odds)) - (odds if found >= cosine - step else 0)) / 3
    return total


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 30), st.integers(0, 999), st.sampled_from([0.6, 0.8, 0.9]))
def test_themes_and_weights_together_come_close_to_the_least_loss(count, seed, cosine):
    parts, slow = pairs(40, seed)
    themes = np.random.default_rng(seed).integers(0, 5, (40, 2))
    odds = Odds(BELIEF, parts, cosine, themes)
    odds.learn(np.arange(count), slow[:count])
    weights, leaning = odds.weights.tolist(), odds._leaning.tolist()
    told = (parts[:count], slow[:count], themes[:count], cosine)
    best = themed_loss(weights, leaning, *told)
    for place in range(len(weights) + len(leaning)):
        for step in (-0.1, 0.1):
            moved = [x + step * (i == place) for i, x in enumerate(weights + leaning)]
            assert themed_loss(moved[: len(weights)], moved[len(weights) :], *told) >= best - 2e-3


def test_a_theme_in_which_pairs_are_found_lifts_its_other_pairs_only():
    parts, _ = pairs(400, 5)
    themes = np.random.default_rng(5).integers(0, 3, (400, 1)) * np.ones((1, 2), np.int64)
    slow = np.where(themes[:, 0] == 1, 0.95, 0.2)
    plain, themed = Odds(BELIEF, parts, 0.8), Odds(BELIEF, parts, 0.8, themes)
    for odds in (plain, themed):
        odds.learn(np.arange(100), slow[:100])
    gain = themed.log_probability()[100:] - plain.log_probability()[100:]
    twin_parts = Odds(BELIEF, np.repeat(parts[:1], 400, axis=0), 0.8, themes)
    twin_parts.learn(np.arange(100), slow[:100])
    assert len(np.unique(twin_parts.log_probability())) == 3  # by their themes
    assert len(np.unique(twin_parts.level())) == 1  # what is estimated from it knows none
    assert gain[themes[100:, 0] == 1].min() > 0 > gain[themes[100:, 0] != 1].max()


def test_one_theme_says_nothing():
    parts, slow = pairs(60, 6)
    plain, themed = Odds(BELIEF, parts, 0.8), Odds(BELIEF, parts, 0.8, np.zeros((60, 2), np.int64))
    for odds in (plain, themed):
        odds.learn(np.arange(40), slow[:40])
    assert (plain.log_probability() == themed.log_probability()).all()


def test_a_theme_that_no_reading_tells_of_stays_where_it_was():
    found = _odds.leanings(np.zeros(4), np.ones(4), np.ones(4), np.array([[0, 0], [0, 1], [1, 1], [1, 0]]), 3)
    assert found[:2].min() > 0
    assert found[2] == 0
    assert not _odds.leanings(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 2), np.int64), 3).any()


def test_each_source_learns_from_its_own_pairs_and_pairs_across_from_all():
    parts, _ = pairs(900, 7)
    source = np.random.default_rng(7).integers(-1, 2, 900)
    slow = np.where(
        source == 0, parts[:, 0], 1 - parts[:, 0]
    )  # what speaks for a pair in one speaks against it in the other
    together = Odds(BELIEF, parts, 0.8, None, source)
    together.learn(np.arange(700), slow[:700])
    for of in (0, 1):
        mine = np.flatnonzero(source[:700] == of)
        alone = Odds(BELIEF, parts, 0.8)
        alone.learn(mine, slow[mine])
        assert together.log_probability()[source == of] == pytest.approx(
            alone.log_probability()[source == of], abs=1e-5
        )
        assert together.level()[source == of] == pytest.approx(alone.level()[source == of], abs=1e-5)
    everything = Odds(BELIEF, parts, 0.8)
    everything.learn(np.arange(700), slow[:700])
    across = source < 0
    assert (together.log_probability()[across] == everything.log_probability()[across]).all()


def test_a_source_of_which_little_was_read_keeps_the_weights_to_begin_with():
    parts, slow = pairs(300, 8)
    source = np.repeat([0, 1], 150)
    odds, before = Odds(BELIEF, parts, 0.8, None, source), Odds(BELIEF, parts, 0.8)
    read = np.arange(150 + _odds._LEAST_OWN - 1)
    odds.learn(read, slow[read])
    changed = odds.log_probability() != before.log_probability()
    assert changed[:150].any()
    assert not changed[150:].any()


def test_one_source_is_learned_like_none():
    parts, slow = pairs(60, 9)
    plain, told = Odds(BELIEF, parts, 0.8), Odds(BELIEF, parts, 0.8, None, np.full(60, 3))
    for odds in (plain, told):
        odds.learn(np.arange(40), slow[:40])
    assert (plain.log_probability() == told.log_probability()).all()
