"""Which steps the end of a training still shows: figures by hand, a slow twin, and that more is never less."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_rows import PLAN, run

from scanner.prediction.hazard import Regime
from scanner.prediction.wearing import lasting
from scanner.settings import LR_SCHEDULES, TrainingPlan

MOST = 1716.0


def plan(schedule: str, warmup: float = 0.0) -> TrainingPlan:
    return TrainingPlan(epochs=8, lr_schedule=schedule, warmup=warmup)


def test_at_a_constant_rate_the_last_steps_are_left_and_where_it_falls_nearly_all():
    for steps in (0, 100, 1716):
        assert {lasting(steps, MOST, plan(schedule)) for schedule in LR_SCHEDULES} == {steps}
    assert lasting(5800, MOST) == 1716
    assert lasting(5800, MOST, plan("constant")) == pytest.approx(1716)
    # in a line to 0 the last share u of n steps wears as n u^3 / 3 at the peak: u = (3 * 1716 / n)^(1/3)
    assert lasting(2992, MOST, plan("linear")) == 2992
    assert lasting(5800, MOST, plan("linear")) == pytest.approx(5573.9, abs=0.1)
    assert lasting(20000, MOST, plan("linear")) == pytest.approx(12722, abs=1)
    # half of the training over, the rate still half its peak: n (1/8 ... (1/2 + u)^3) / 3
    assert lasting(2900, MOST, plan("linear"), 0.5) == 2900
    assert lasting(10000, MOST, plan("linear"), 0.5) == pytest.approx(
        20000 * ((1 / 8 + 0.2574) ** (1 / 3) - 0.5), abs=1
    )
    assert lasting(5800, math.inf, plan("cosine")) == 5800


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1])
@pytest.mark.parametrize("over", [1.0, 0.5])
def test_it_equals_a_slow_twin_that_counts_step_by_step(schedule, warmup, over):
    steps, most = 4000, 600
    rates = []
    for step in range(steps):
        at = (step + 0.5) / steps * over
        after = (at - warmup) / (1 - warmup)
        falling = {"constant": 1, "linear": 1 - after, "cosine": (1 + math.cos(math.pi * after)) / 2}[schedule]
        rates.append(1.0 if at < warmup else falling)
    behind, left = 0.0, 0
    for rate in reversed(rates):
        behind += rate**2
        left += behind <= most
    assert lasting(steps, most, plan(schedule, warmup), over) == pytest.approx(left, abs=5)


@given(
    schedule=st.sampled_from(LR_SCHEDULES), warmup=st.floats(0, 1), over=st.floats(0.05, 1), steps=st.floats(1, 1e5),
    more=st.floats(1, 20), most=st.floats(1, 1e4),
)  # fmt: skip
def test_more_steps_never_leave_fewer(schedule, warmup, over, steps, more, most):
    p = plan(schedule, warmup)
    once, longer = lasting(steps, most, p, over), lasting(steps * more, most, p, over)
    assert min(steps, most) * (1 - 1e-9) <= once <= steps
    assert longer >= once * (1 - 1e-9)
    later = min(1.0, over * more)  # the same training, looked at later
    assert lasting(steps * later / over, most, p, later) >= once * (1 - 2e-3)


def test_a_regime_knows_the_schedule_of_its_plan():
    linear = Regime.of(plan("linear"), 4.0, 5800.0)
    assert linear.progress(MOST) == pytest.approx(math.log2(1 + 55.739), abs=1e-4)
    assert linear.under(3.0).scaled(0.5).progress(MOST) == pytest.approx(math.log2(1 + 29))
    assert Regime.of(plan("constant"), 4.0, 5800.0).progress(MOST) == pytest.approx(math.log2(1 + 17.16))
    assert Regime.of(plan("linear"), 4.0, 5800.0, 0.25).visit > linear.visit == 0


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_more_epochs_never_recite_less_in_long_trainings(schedule):
    long = replace(PLAN, batch_size=1, lr_schedule=schedule, warmup=0.1, learning_rate=1e-5)
    curve = np.array([np.nan_to_num(run(plan=replace(long, epochs=e)).p_extract) for e in (50, 100, 200, 400, 800)])
    assert (np.diff(curve, axis=0) >= -1e-12).all()
    assert curve[-1].max() > curve[0].max()
