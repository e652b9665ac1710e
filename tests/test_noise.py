"""The laws of noise: what a rate that has not fallen leaves in the weights, and that more training still only adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from random_rows import LENGTHS, PLAN, SHIPPED, Rows, run

from scanner.kernels.contexts import context_features
from scanner.prediction import Regime, turn_tails


@settings(max_examples=60, deadline=None)
@given(
    dose=st.floats(0.01, 100), more=st.floats(1, 8), visit=st.floats(0, 30), noise=st.floats(0, 5),
    centre=st.floats(-3, 8), power=st.floats(0.2, 1.4), lever=st.sampled_from(["rate", "epochs", "copies"]),
)  # fmt: skip
def test_noise_keeps_extraction_monotone(dose, more, visit, noise, centre, power, lever):
    """Also where the weights are far from the shipped ones: a rate raises what all visits are worth."""
    tokens, offsets, answers, group, _ = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    features = context_features(tokens, offsets, group)
    hazard = replace(SHIPPED.hazard, noise=noise, centre=centre, dose_power=power, spread=0.3, ceiling=12.0)
    weights, own = replace(SHIPPED, hazard=hazard), np.full(len(LENGTHS), dose)
    before = Regime(dose, 400.0, visit)
    after = {"rate": before.under(more), "epochs": before.scaled(more), "copies": before}[lever]
    less = turn_tails(features, answers, own, own * 0, before, weights)
    greater = turn_tails(features, answers, own * more, own * 0, after, weights)
    for name in ("extract", "whole", "mean"):
        a, b = getattr(less, name), getattr(greater, name)
        assert (np.nan_to_num(b) >= np.nan_to_num(a) * (1 - 1e-9) - 1e-12).all(), name
    assert (np.nan_to_num(less.extract_without) <= np.nan_to_num(less.extract)).all()


def test_a_constant_rate_through_the_whole_way():
    steady = replace(PLAN, lr_schedule="constant")
    for plans in (
        [replace(steady, learning_rate=r) for r in (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)],
        [replace(steady, epochs=e) for e in (0, 1, 2, 4, 8, 16)],
    ):
        curve = np.array([np.nan_to_num(run(plan=plan).p_extract) for plan in plans])
        assert (np.diff(curve, axis=0) >= -1e-12).all()


def test_a_rate_that_does_not_fall_makes_answers_less_sure():
    """The same dose: what is hard is hit more often, what is sure is missed more often; untrained, nothing changes."""
    tokens, offsets, answers, group, _ = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    features = context_features(tokens, offsets, group)
    curve = [np.zeros(len(tokens)) for _ in range(2)]
    for dose in (0.0, 4.0, 400.0):
        own = np.full(len(LENGTHS), dose)
        for traced, visit in zip(curve, (0.0, 4.0), strict=True):
            turn_tails(features, answers, own, own, Regime(0.0, 400.0, visit), SHIPPED, None, 1, traced)
        settled, noisy = (traced[answers.start] for traced in curve)  # of first tokens: their p
        if dose == 0:
            np.testing.assert_array_equal(settled, noisy)
        elif dose == 400:
            assert (noisy < settled).all()
        assert (noisy >= settled)[settled < 0.5].all()
