"""What a set knows already leaves the steps to the rest."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_rows import LENGTHS, PLAN, SHIPPED, Predicted
from scipy.optimize import brentq

from scanner.prediction import knowing, level, predict_rows, turn_tails
from scanner.prediction.freeing import CLOSE, FREED, USUAL, freed, known_share
from scanner.prediction.hazard import Regime
from scanner.prediction.level import share_recited


@given(st.floats(0.01, 0.6), st.floats(-3, 3))
def test_the_share_is_the_root_of_what_it_makes_of_itself(steep, middle):
    def recited(share: float) -> float:
        return 1 / (1 + math.exp(-middle - 4 * steep * share))

    root = brentq(lambda share: recited(share) - share, 0, 1)
    assert known_share(recited) == pytest.approx(root, abs=CLOSE / (1 - steep))


def test_few_rounds_find_it():
    asked = []

    def recited(share: float) -> float:
        asked.append(share)
        return 1 / (1 + math.exp(0.5 - 1.2 * share))

    assert known_share(recited) == pytest.approx(recited(known_share(recited)), abs=CLOSE)
    assert len(asked) <= 9  # found twice, four rounds each, and asked once more


@pytest.mark.parametrize("share", [0.0, 0.9 * CLOSE])
def test_a_set_that_next_to_nothing_is_recited_of_is_asked_once(share):
    asked = []
    assert known_share(lambda known: asked.append(known) or share) == share
    assert asked == [0]


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_more_is_known_the_more_a_visit_is_worth(one, other):
    low, high = sorted((one, other))
    assert freed(low) <= freed(high)
    assert freed(high) / freed(low) == pytest.approx(math.exp(FREED * (high - low)))
    assert freed(USUAL) == 1


def test_the_prediction_holds_under_the_share_that_it_makes_known():
    """By the whole of it: the mean of p_extract under a share is that share."""
    one = Predicted([*LENGTHS, *LENGTHS, 80, 70], plan=replace(PLAN, epochs=12))
    p = one.result.p_extract
    assert 0.05 < one.amounts.known < 0.95
    assert one.amounts.known == pytest.approx(np.nanmean(p), abs=2 * CLOSE)
    alone = predict_rows(one.features, one.answers, replace(one.amounts, known=0.0), one.plan, SHIPPED)
    assert (alone.p_extract < p)[~np.isnan(p)].all()


def test_a_share_that_is_known_is_a_factor_on_doses_and_leaves_the_noise():
    regime = Regime.of(PLAN, 5.0, 400)
    (usual, as_usual), (more, felt) = (
        SHIPPED.under(PLAN, replace(regime, known=k)) for k in (USUAL, 0.9)
    )  # fmt: skip
    assert more / usual == pytest.approx(math.exp(FREED * (0.9 - USUAL)))
    assert felt.set_dose / as_usual.set_dose == pytest.approx(more / usual)
    assert felt.visit == pytest.approx(as_usual.visit)
    lora = replace(PLAN, method="lora")
    (usual, as_usual), (more, felt) = (SHIPPED.under(lora, replace(regime, known=k)) for k in (USUAL, 0.9))
    assert more / usual == pytest.approx(math.exp(FREED * (0.9 - USUAL)))
    assert felt.visit == pytest.approx(as_usual.visit)


def test_copies_of_others_make_a_row_that_stands_once_likelier():
    """Their own doses left as they are: the rows that are known by then are what does it."""
    one = Predicted(LENGTHS, plan=replace(PLAN, epochs=6))
    measured = np.flatnonzero(~np.isnan(one.result.p_extract))
    often, dose = measured[: len(measured) // 2], one.amounts.total.copy()
    dose[often] *= 16
    regime = one.amounts.regime(one.plan)
    felt = {}
    for name, of in (("once", one.amounts.total), ("often", dose)):
        known = knowing(one.features, one.answers, of, regime, one.plan, SHIPPED, None, 1)
        worth, at = SHIPPED.under(one.plan, known)
        felt[name] = turn_tails(one.features, one.answers, of * worth, of * 0, at, SHIPPED, None, 1).extract
    rest = np.setdiff1d(measured, often)
    assert (felt["often"][rest] > felt["once"][rest]).all()


def test_what_is_foretold_takes_the_place_of_what_was_measured():
    one = Predicted(LENGTHS, plan=replace(PLAN, epochs=12))
    regime = one.amounts.regime(one.plan)
    seen = level.Observed(
        one.features, one.answers, np.zeros(len(LENGTHS), np.int64), one.amounts.total, regime.set_dose,
        int(regime.steps), one.plan, np.arange(len(LENGTHS)), 12, 0.9,
    )  # fmt: skip
    told = level.foretold(seen, SHIPPED)
    assert told.known == pytest.approx(one.amounts.known, abs=2 * CLOSE)
    assert told.known == level.foretold(replace(seen, known=0.1), SHIPPED).known
    assert (level.extraction(told, SHIPPED) < level.extraction(seen, SHIPPED))[np.array(LENGTHS) >= 16].all()


def test_the_share_recited_counts_rows_as_often_as_they_were_trained():
    one = Predicted([20, 20, 10, 30])
    n_pre = np.array([15, 16, 10, 25])
    assert share_recited(one.answers, n_pre) == pytest.approx(2 / 3)  # the third answer is too short to count
    assert share_recited(one.answers, n_pre, np.array([1.0, 4, 9, 1])) == pytest.approx(5 / 6)
    assert share_recited(one.answers.where(np.arange(4) == 2), n_pre[2:3]) == 0
