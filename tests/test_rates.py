"""What rates teach and what of it stands: literal figures, constant rates, and that a higher rate is never less."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.prediction.hazard import Regime
from scanner.rates import RELAXES, of_rate, of_schedule, rate_share, settled, stands, stirred, taught
from scanner.settings import LR_SCHEDULES, TrainingPlan


def plan(schedule: str, peak: float = 3e-4, warmup: float = 0.0) -> TrainingPlan:
    return TrainingPlan(epochs=8, learning_rate=peak, lr_schedule=schedule, warmup=warmup)


def test_figures_by_hand():
    assert taught(3e-4) == 1
    assert taught(9e-4) == pytest.approx(2)
    assert stands(plan("constant")) == pytest.approx(1)
    assert stands(plan("constant", 15e-4)) == pytest.approx(2 / math.log2(6))
    assert stands(plan("linear")) == pytest.approx(1.5)  # (3e-4 / log 2) / (1e-4 / log 4) halved: nothing is worn away
    # at half the rate a quarter of the wear: .25 * 1.13 / (.25 + .13) = .743421 of the way from 1.5 to 1 at the peak
    assert stands(plan("linear"), 0.5) == pytest.approx(1.5 - 0.5 * 0.743421)
    assert stands(plan("linear", 15e-4), 0.5) == pytest.approx(1.5 - (1.5 - 2 / math.log2(6)) * 0.743421)
    # mean of log2(1 + x / 3e-4) from 0 to 1e-3, by hand: ((13 log 13/3) / 10 - 1) / log 2
    assert of_schedule(plan("linear", 1e-3), 1e-3) == pytest.approx(
        1.5 * (1.3 * math.log(13 / 3) - 1) / math.log(2), rel=1e-5
    )


def test_what_settles_is_what_stands_beside_the_peak():
    assert settled(plan("linear", 15e-4)) == pytest.approx(1.5 * math.log2(6) / 2)
    assert settled(plan("linear"), peak=15e-4) == pytest.approx(1.5 * math.log2(6) / 2)
    assert settled(plan("cosine", 1e-3), 0) == settled(plan("constant", 1e-3)) == settled(plan("linear", 0.0)) == 1


@given(peak=st.floats(1e-6, 1e-2))
def test_at_a_constant_rate_a_visit_is_worth_the_log_of_the_rate(peak):
    assert of_schedule(plan("constant", peak), peak) == pytest.approx(of_rate(peak))
    assert of_rate(peak) == pytest.approx(math.log(1 + peak / 1e-4) / math.log(4))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.1])
@pytest.mark.parametrize("over", [0.5, 1.0])
def test_the_stir_follows_the_rate_step_by_step(schedule, warmup, over):
    p, steps = plan(schedule, 1e-3, warmup), 600
    stir, now = 1.0, (np.arange(int(steps * over)) + 0.5) / steps  # as at the peak, up to the end of the warm-up
    for rate in rate_share(p, now[now > warmup]):
        stir += 2 * RELAXES * 1e-3 * rate * (rate - stir)
    assert stirred(p, over, steps=steps * over) == pytest.approx(stir, rel=0.05)


def test_the_stir_left_by_a_line_to_0_falls_with_the_root_of_its_steps():
    for steps in (1e4, 1e5):  # of the integral over a line that ends at 0
        left = math.sqrt(math.pi / (RELAXES * 1e-3 * steps)) / 2
        assert stirred(plan("linear", 1e-3), steps=steps) == pytest.approx(left, rel=0.02)
    ends = [stirred(plan("linear"), steps=steps) for steps in (0.0, 1.0, 100.0, 1e3, 1e4, math.inf)]
    assert ends == sorted(ends, reverse=True)
    assert (ends[0], ends[-1]) == (1, 0)


@given(at=st.floats(0, 1), steps=st.floats(0, 1e7), peak=st.floats(0, 1e-2))
def test_a_constant_rate_stirs_as_its_peak_does_however_long(at, steps, peak):
    assert stirred(plan("constant", peak), at, steps=steps) == pytest.approx(1)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, 8.0])
def test_more_epochs_grow_a_dose_as_their_own_plan_would(schedule, factor):
    """One visit an epoch in 40 steps: 3 epochs told for `factor` times as many, beside a plan that has these."""
    p, steps = plan(schedule, 1e-3), 120.0
    planned = Regime.of(p, 3 * of_schedule(p, 1e-3, 1.0, steps), steps)
    longer = 3 * factor * of_schedule(p, 1e-3, 1.0, steps * factor)
    assert planned.scaled(factor).set_dose == pytest.approx(longer)
    assert planned.set_dose * planned.grows(factor) == pytest.approx(longer)


def test_what_a_short_schedule_retains():
    few, many = (stands(plan("linear", 1e-3), steps=steps) for steps in (143.0, 1e7))
    assert stands(plan("constant", 1e-3)) < few < many < 1.5


@given(
    schedule=st.sampled_from(LR_SCHEDULES), warmup=st.floats(0, 0.5), peak=st.floats(1e-7, 1e-2), more=st.floats(1, 50),
    over=st.floats(0.02, 1), later=st.floats(1, 50), steps=st.one_of(st.just(math.inf), st.floats(1, 1e7)),
)  # fmt: skip
def test_a_higher_rate_and_a_longer_look_never_show_less(schedule, warmup, peak, more, over, later, steps):
    p = plan(schedule, peak, warmup)
    now = of_schedule(p, peak, over, steps * over)
    assert of_schedule(p, peak * more, over, steps * over) >= now * (1 - 1e-6)
    then = min(1.0, over * later)  # of the same training: its sum so far, not its mean
    assert then * of_schedule(p, peak, then, steps * then) >= over * now * (1 - 1e-2)
    assert of_schedule(p, peak, over, steps * over * more) >= now * (1 - 1e-6)  # more steps settle further


def test_where_the_rate_falls_to_0_nothing_jumps():
    p = plan("linear")
    assert stands(p, 1 - 1e-9) == pytest.approx(stands(p), rel=1e-6)
    assert (np.diff([stands(p, at) for at in np.linspace(0, 1, 50)]) > 0).all()
