"""What rates teach and what of it stands: literal figures, constant rates, and that a higher rate is never less."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.rates import of_rate, of_schedule, settled, stands, taught
from scanner.settings import LR_SCHEDULES, TrainingPlan


def plan(schedule: str, peak: float = 3e-4, warmup: float = 0.0) -> TrainingPlan:
    return TrainingPlan(epochs=8, learning_rate=peak, lr_schedule=schedule, warmup=warmup)


def test_figures_by_hand():
    assert taught(3e-4) == 1
    assert taught(9e-4) == pytest.approx(2)
    assert stands(plan("constant")) == pytest.approx(1)
    assert stands(plan("constant", 15e-4)) == pytest.approx(2 / math.log2(6))
    assert stands(plan("linear")) == pytest.approx(1.5)  # (3e-4 / log 2) / (1e-4 / log 4) halved: nothing is worn away
    # at half the rate a quarter of the wear: .25 * 1.15 / (.25 + .15) = .71875 of the way from 1.5 to 1 at the peak
    assert stands(plan("linear"), 0.5) == pytest.approx(1.5 - 0.5 * 0.71875)
    assert stands(plan("linear", 15e-4), 0.5) == pytest.approx(1.5 - (1.5 - 2 / math.log2(6)) * 0.71875)
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


@given(
    schedule=st.sampled_from(LR_SCHEDULES), warmup=st.floats(0, 0.5), peak=st.floats(1e-7, 1e-2), more=st.floats(1, 50),
    over=st.floats(0.02, 1), later=st.floats(1, 50),
)  # fmt: skip
def test_a_higher_rate_and_a_longer_look_never_show_less(schedule, warmup, peak, more, over, later):
    p = plan(schedule, peak, warmup)
    now = of_schedule(p, peak, over)
    assert of_schedule(p, peak * more, over) >= now * (1 - 1e-6)
    then = min(1.0, over * later)  # of the same training: its sum so far, not its mean
    assert then * of_schedule(p, peak, then) >= over * now * (1 - 1e-2)


def test_where_the_rate_falls_to_0_nothing_jumps():
    p = plan("linear")
    assert stands(p, 1 - 1e-9) == pytest.approx(stands(p), rel=1e-6)
    assert (np.diff([stands(p, at) for at in np.linspace(0, 1, 50)]) > 0).all()
