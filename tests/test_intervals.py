"""Intervals of a predicted number of rows: laws, and cover over the model's own draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import prediction
from scanner.prediction.hazard import load_weights
from scanner.prediction.intervals import expected_rows, levels
from scanner.prediction.reliability import WIDTH
from scanner.rates import of_rate, of_schedule
from scanner.settings import TrainingPlan

LOGITS = st.lists(st.floats(-12, 12), min_size=0, max_size=30)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@given(LOGITS, st.floats(0, 2))
def test_the_interval_holds_the_expectation_and_stays_within_the_rows(logits, sd):
    at = np.array(logits, np.float64)
    found = expected_rows(sigmoid(at - WIDTH * sd), sigmoid(at), sigmoid(at + WIDTH * sd))
    assert 0 <= found.low <= found.expected + 1e-9
    assert found.expected - 1e-9 <= found.high <= len(at)
    wider = expected_rows(sigmoid(at - WIDTH * (sd + 1)), sigmoid(at), sigmoid(at + WIDTH * (sd + 1)))
    assert wider.low <= found.low + 1e-9
    assert wider.high >= found.high - 1e-9


def test_a_row_that_stands_for_three_is_three_rows():
    low, mid, high = sigmoid([-3.0, 0.0]), sigmoid([-2.0, 1.0]), sigmoid([-1.0, 2.0])
    one = expected_rows(low, mid, high, np.array([3.0, 1.0]))
    three = expected_rows(*(np.array([p[0]] * 3 + [p[1]]) for p in (low, mid, high)))
    assert (one.expected, one.low, one.high) == pytest.approx((three.expected, three.low, three.high))


def test_copies_are_recited_together_or_not_at_all():
    p = np.array([0.3, 0.3, 0.3, 0.6])
    apart, together = expected_rows(p, p, p), expected_rows(p, p, p, copies=np.array([3.0, 3.0, 3.0, 1.0]))
    assert together.expected == apart.expected
    deviation = math.sqrt(9 * 0.3 * 0.7 + 0.6 * 0.4)  # of one group of three, and of the row by itself
    assert together.high == pytest.approx(min(4.0, 1.5 + WIDTH * deviation))
    assert together.low <= apart.low


def test_a_level_carried_elsewhere_adds_its_distance_in_squares():
    mid, low, high = (np.full(40, p) for p in (0.5, 0.4, 0.55))
    sure, carried = expected_rows(mid, mid, mid), expected_rows(mid, mid, mid, elsewhere=(low, high))
    chance = WIDTH * math.sqrt(40 * 0.25)
    assert (sure.low, sure.high) == pytest.approx((20 - chance, 20 + chance))
    assert carried.low == pytest.approx(20 - math.hypot(chance, 4.0))
    assert carried.high == pytest.approx(20 + math.hypot(chance, 2.0))
    assert expected_rows(low, mid, high) == carried  # as a doubt of the level of the same size


def test_rows_not_measured_count_for_nothing():
    p = np.array([0.2, np.nan, 0.5])
    found, without = expected_rows(p, p, p), expected_rows(p[[0, 2]], p[[0, 2]], p[[0, 2]])
    assert found == without
    assert expected_rows(p[:0], p[:0], p[:0]).high == 0


def test_nine_of_ten_draws_lie_within():
    """Levels and rows drawn as the interval takes them to be."""
    rng = np.random.default_rng(0)
    for sd in (0.0, 0.7):
        at = rng.normal(-3, 1.5, 400)
        found = expected_rows(sigmoid(at - WIDTH * sd), sigmoid(at), sigmoid(at + WIDTH * sd))
        drawn = [(rng.random(400) < sigmoid(at + rng.normal(0, sd))).sum() for _ in range(1000)]
        inside = np.mean([(found.low <= d) & (d <= found.high) for d in drawn])
        assert 0.87 <= inside <= 0.94


def test_the_levels_lie_evenly_about_the_weights():
    for weights in (
        load_weights(),
        load_weights().of_another_base(TrainingPlan()),
        replace(load_weights(), log_factor_step=-0.2),
    ):
        low, mid, high = levels(weights)
        assert mid is weights
        middle = weights.priors.offset
        offset = weights.priors.offset_sd if weights.offset_step is None else weights.offset_step
        assert high.priors.offset - middle == pytest.approx(WIDTH * offset)
        assert middle - low.priors.offset == pytest.approx(WIDTH * offset)
        factors = np.log([low.dose_factor, mid.dose_factor, high.dose_factor])
        assert np.diff(factors) == pytest.approx(np.full(2, WIDTH * weights.log_factor_step))


def test_the_level_of_a_base_that_was_not_measured_is_that_of_others():
    shipped = load_weights()
    near = TrainingPlan(model_params=int(shipped.priors.fitted_parameters))
    other = shipped.of_another_base(near)
    assert (shipped.dose_factor, shipped.log_factor_step) == (1, 0)
    assert (other.dose_factor, other.log_factor_step) == (other.priors.level_factor, other.priors.level_factor_sd)
    assert other.strength(TrainingPlan()) == pytest.approx(other.dose_factor * shipped.strength(TrainingPlan()))
    audited = prediction.load_weights(plan=near)
    assert (audited.dose_factor, audited.log_factor_step, audited.offset_step) == (
        other.dose_factor, other.log_factor_step, 0,
    )  # fmt: skip


@pytest.mark.parametrize("far", [{"model_params": 1_000_000_000}, {"model_params": None}, {"method": "lora"}])
def test_far_from_what_was_measured_the_level_is_known_to_threefold(far):
    shipped = load_weights()
    plan = replace(TrainingPlan(model_params=int(shipped.priors.fitted_parameters), lora_rank=8), **far)
    other, audited = shipped.of_another_base(plan), prediction.load_weights(plan=plan)
    assert (other.dose_factor, other.log_factor_step) == pytest.approx((1, np.log(3) / WIDTH), rel=1e-3)
    assert (audited.dose_factor, audited.log_factor_step) == (other.dose_factor, other.log_factor_step)


def test_size_and_rate_make_a_step_together():
    weights, plan = load_weights(), TrainingPlan(learning_rate=3e-4, lr_schedule="constant")
    size = weights.priors.fitted_parameters
    sizes = [weights.strength(replace(plan, model_params=size * times)) for times in (0.25, 1, 4, 1600)]
    assert sizes == sorted(sizes)
    assert sizes[1] == pytest.approx(1)
    # sixteen times as wide, at a sixteenth of the rate: as large a step
    wide = replace(plan, learning_rate=3e-4 / 16, model_params=size * 16 ** (1 / weights.priors.size_exponent))
    assert weights.strength(wide) * of_rate(wide.learning_rate) == pytest.approx(1)
    for schedule in ("linear", "cosine"):
        falls = replace(wide, lr_schedule=schedule)
        for at in (0.5, 1.0):
            worth = weights.strength(falls, at) * of_schedule(falls, falls.learning_rate, at)
            assert worth == pytest.approx(of_schedule(falls, 3e-4, at))
    assert weights.strength(replace(wide, learning_rate=0.0)) == 1
