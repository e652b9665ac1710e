"""What adapters learn and hold: the first visits count as a part of full ones, later ones ever less."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_rows import PLAN, SHIPPED, run

from scanner.prediction import Regime

LORA = replace(PLAN, method="lora", lr_schedule="constant", model_params=SHIPPED.priors.fitted_parameters)
HELD = replace(SHIPPED, priors=replace(SHIPPED.priors, lora_dose=0.2, lora_holds=3.0, lora_steps=1.0))


def test_visits_count_up_to_what_adapters_hold():
    """By hand: 6 visits a text are 1.2 at .2 each, of which 3 * (1 - exp(-1.2 / 3)) = .98904 count, .16484 a visit."""
    worth, felt = HELD.under(LORA, Regime(6.0, 400.0, 1.2))
    assert worth == pytest.approx(0.16484, abs=1e-5)
    assert felt.set_dose == pytest.approx(0.98904, abs=1e-5)
    assert felt.steps == 400
    assert felt.visit == pytest.approx(1.2 * 0.16484 / 0.2, abs=1e-4)  # noise is that of a full visit, worn alike


def test_where_a_text_comes_again_sooner_more_of_it_is_held():
    """By hand: of 6 visits in 300 steps, 100 a visit, 3 count: .2 * (1 - exp(-.2)) / .2 = .18127; beyond 600 all 6."""
    plan = replace(LORA, learning_rate=3e-4)
    small = replace(HELD, priors=replace(HELD.priors, lora_steps=100.0))
    assert small.under(plan, Regime(6.0, 300.0, 1.0))[0] == pytest.approx(0.18127, abs=1e-5)
    held = [small.under(plan, Regime(6.0, steps, 1.0))[0] for steps in (100.0, 300.0, 600.0, 6000.0)]
    assert held == sorted(held, reverse=True)
    assert held[2] == held[3] == pytest.approx(0.16484, abs=1e-5)  # larger sets than were measured hold no less


def test_what_adapters_hold_settles_where_the_rate_falls():
    """By hand: fallen from 3e-4 to 0 a visit is worth 1.5 * (2 ln 2 - 1) / ln 2 = .83595 of one at 3e-4, 1.5 of it for
    having settled. Of 6 such in 300 steps 3 count, as under a constant rate: with holds 1.5 * 3 the worth of one is
    .2 * (1 - exp(-x)) / x where x = .2 * 3 * .83595 / 4.5 = .11146, so .18930."""
    plan = replace(LORA, learning_rate=3e-4, lr_schedule="linear")
    small = replace(HELD, priors=replace(HELD.priors, lora_steps=100.0))
    visit = 1.5 * (2 * math.log(2) - 1) / math.log(2)
    assert small.under(plan, Regime.of(plan, 6 * visit, 300.0))[0] == pytest.approx(0.18930, abs=1e-4)
    much = small.under(plan, Regime.of(plan, 6000 * visit, 6e5))[1]
    assert much.set_dose == pytest.approx(1.5 * 3, rel=1e-6)


def test_the_first_visit_is_worth_its_part_and_no_training_nothing():
    assert HELD.under(LORA, Regime(0.0, 0.0, 1.0)) == (HELD.strength(LORA), Regime(0.0, 0.0, 1.0))
    assert HELD.under(LORA, Regime(1e-6, 1.0, 1.0))[0] == pytest.approx(0.2)


def test_full_fine_tuning_holds_all():
    full, given_ = replace(LORA, method="full"), Regime(60.0, 4000.0, 1.2)
    assert HELD.under(full, given_) == (1.0, given_)


def test_the_level_of_a_base_says_what_is_held_and_not_when_it_is_full():
    weaker, (worth, felt) = replace(HELD, dose_factor=0.5), HELD.under(LORA, Regime(60.0, 4000.0, 1.2))
    half, less = weaker.under(LORA, Regime(60.0, 4000.0, 1.2))
    assert (half, less.set_dose, less.visit) == pytest.approx((worth / 2, felt.set_dose / 2, felt.visit / 2))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1e4), st.floats(1, 100), st.floats(0.01, 1), st.floats(0.1, 50))
def test_more_training_never_takes_away_and_never_passes_what_is_held(dose, more, part, holds):
    weights = replace(SHIPPED, priors=replace(SHIPPED.priors, lora_dose=part, lora_holds=holds, lora_steps=1e-9))
    (_, less), (_, felt) = (weights.under(LORA, Regime(d, 100.0, 1.0)) for d in (dose, dose * more))
    assert less.set_dose <= felt.set_dose * (1 + 1e-12) <= holds * (1 + 1e-9)
    assert felt.set_dose <= dose * more * part * (1 + 1e-12)


@pytest.mark.parametrize(
    "plans",
    [
        [replace(LORA, learning_rate=r) for r in (0.0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)],
        [replace(LORA, epochs=e) for e in (0, 1, 2, 4, 8, 16, 64)],
    ],
    ids=["rate", "epochs"],
)
def test_extraction_rises_with_rate_and_epochs(plans):
    curve = np.array([np.nan_to_num(run(plan=plan).p_extract) for plan in plans])
    assert (np.diff(curve, axis=0) >= -1e-12).all()
    assert (curve[-1] > curve[0]).any()


def test_after_many_epochs_little_is_added():
    """64 epochs of LoRA teach hardly more than 32, of full fine-tuning what they did not know yet."""
    held = [HELD.under(LORA, Regime(e * 1.5, e * 100.0, 1.0))[1].set_dose for e in (1, 32, 64)]
    assert held[0] == pytest.approx(3 * -math.expm1(-0.1))
    assert held[2] / held[1] < 1.05
