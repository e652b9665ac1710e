"""What carrying a level to another plan, or further than it was read, adds to its doubt."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.prediction import openings
from scanner.prediction.carrying import HIGH_RATE_SD, PLAN_SD, TOGETHER, ends, number_of_rows, to_plan
from scanner.prediction.hazard import DRIFT, Regime, load_weights
from scanner.prediction.reliability import WIDTH
from scanner.prediction.validated import Validated
from scanner.settings import TrainingPlan

PLAN = TrainingPlan(epochs=4, learning_rate=3e-4, lr_schedule="linear", model_params=4.46e6)
RUNS = Validated(
    epochs=(1, 4), learning_rate=(3e-4, 3e-4), parameters=(4.46e6, 4.46e6), methods=("full",), batchings=("random",),
    loss_averages=("token",), lr_schedules=("linear",),
)  # fmt: skip
SHIPPED = load_weights()
READ = replace(SHIPPED, calibrated=True, read_at=2.0, rehearsed=RUNS)


def after(set_dose: float) -> Regime:
    """A training of so many doses of the set, under weights whose level was read at 2."""
    return Regime(set_dose, 500.0)


def test_the_plan_of_the_runs_adds_nothing():
    assert to_plan(PLAN, READ).sd == 0
    assert to_plan(PLAN, READ).told == ""
    assert to_plan(replace(PLAN, learning_rate=3.1e-4), READ).sd == 0  # the same, rounded
    assert ends(READ, PLAN, after(2.0)) is None
    assert to_plan(PLAN, SHIPPED).sd == 0  # nothing was rehearsed


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            {"batching": "length-grouped"},
            "random batches averaged per token; under the plan's (length-grouped, per token)",
        ),
        ({"loss_average": "row"}, "random batches averaged per token; under the plan's (random, per row)"),
        ({"lr_schedule": "constant"}, "linear learning rates of 0.0003; under the plan's (constant, 0.0003)"),
        ({"learning_rate": 1e-4}, "linear learning rates of 0.0003; under the plan's (linear, 0.0001)"),
    ],
)
def test_what_the_runs_had_not_is_told_and_counted(other, told):
    found = to_plan(replace(PLAN, **other), READ)
    assert found.sd == PLAN_SD
    assert found.told == f"measured under {told} the level is less sure"


def test_two_differences_count_once():
    both = replace(PLAN, batching="length-grouped", lr_schedule="constant")
    assert to_plan(both, READ).sd == PLAN_SD
    assert to_plan(both, READ).told.startswith(
        "measured under random batches averaged per token and linear learning rates of 0.0003"
    )


def test_more_epochs_than_runs_at_a_high_rate_went_through_are_less_sure():
    steep = replace(RUNS, learning_rate=(1e-3, 1e-3))
    read, plan = replace(READ, rehearsed=steep), replace(PLAN, learning_rate=1e-3)
    assert to_plan(plan, read).sd == 0
    assert to_plan(replace(plan, epochs=8), read).sd == HIGH_RATE_SD
    assert to_plan(replace(PLAN, epochs=8), READ).sd == 0  # not at this rate


def test_the_ends_are_those_of_drift_and_plan_together():
    plan = replace(PLAN, batching="length-grouped")
    low, high = ends(READ, plan, after(8.0))  # two doublings beyond where it was read
    doubt = math.sqrt((TOGETHER * 2 * DRIFT) ** 2 + PLAN_SD**2)
    assert low.dose_factor == pytest.approx(READ.dose_factor * math.exp(-WIDTH * doubt))
    assert high.dose_factor == pytest.approx(READ.dose_factor * math.exp(WIDTH * doubt))


def test_a_set_whose_answers_begin_alike_is_less_sure_wherever_its_level_is_from():
    like = openings.doubt(0.19)
    assert openings.doubt(openings.MANY) == 0 < like == openings.MANY_SD
    for weights, known in ((SHIPPED, 0.0), (READ, math.hypot(PLAN_SD, TOGETHER * DRIFT))):
        here = replace(weights, set_sd=like)
        low, high = ends(here, replace(PLAN, batching="packed"), after(4.0))
        wide = WIDTH * math.hypot(like, known)
        assert low.dose_factor == pytest.approx(here.dose_factor * math.exp(-wide))
        assert high.dose_factor == pytest.approx(here.dose_factor * math.exp(wide))


def test_the_number_of_rows_is_widened_by_where_it_is_carried():
    rng = np.random.default_rng(0)
    ease = rng.normal(-2, 2, 400)

    def probability(weights):
        return 1 / (1 + np.exp(-(ease + weights.priors.offset + 5 * math.log(weights.dose_factor))))

    read = replace(READ, priors=replace(READ.priors, offset_sd=0.1), offset_step=None, log_factor_step=0.0, ends=None)
    here = number_of_rows(probability, read, PLAN, after(2.0))
    further = number_of_rows(probability, read, PLAN, after(8.0))
    p = probability(read)
    assert here.expected == further.expected == pytest.approx(p.sum())
    own = WIDTH**2 * (p * (1 - p)).sum()
    high = probability(replace(read, priors=replace(read.priors, offset=read.priors.offset + 0.1 * WIDTH))).sum()
    beyond = probability(replace(read, dose_factor=read.dose_factor * math.exp(WIDTH * TOGETHER * 2 * DRIFT))).sum()
    assert here.high == pytest.approx(p.sum() + math.sqrt(own + (high - p.sum()) ** 2))
    assert further.high == pytest.approx(p.sum() + math.sqrt(own + (high - p.sum()) ** 2 + (beyond - p.sum()) ** 2))


def test_rows_that_stand_for_others_decide_which_end_is_the_low_one():
    falls, rises = np.array([0.9, 0.1]), np.array([0.1, 0.9])

    def probability(weights):
        return rises if weights.priors.offset > READ.priors.offset else falls

    told = number_of_rows(probability, READ, PLAN, after(2.0), np.array([1.0, 100.0]), known=np.array([0.5, 0.5]))
    assert told.expected == pytest.approx(50.5)
    moved = 50.5 - (0.9 + 100 * 0.1)
    own = WIDTH**2 * 0.25 * 101
    assert told.low == pytest.approx(50.5 - math.sqrt(own + moved**2))


@given(st.floats(0.1, 50), st.floats(1, 4))
def test_further_training_is_never_surer(set_dose, factor):
    less, more = (READ.drift(after(d)) for d in (set_dose, set_dose * factor))
    assert 0 <= less <= more
