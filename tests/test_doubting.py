"""Where hardly a row was recited a level is no surer than none: its ends go out as far as the count lets them."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_level import PLAN, SHIPPED, at, drawn

from scanner.prediction import intervals
from scanner.prediction import level as levels
from scanner.prediction.doubting import EXCLUDED, WIDTH, at_most, ends

OTHER = SHIPPED.of_another_base(PLAN)
LOW, HIGH = (math.log(w.dose_factor) for w in intervals.levels(OTHER)[::2])
"""Log of the dose factor at the ends of a base that was not measured, whose offset is 0."""


@given(st.lists(st.floats(0, 1), max_size=7), st.integers(-1, 8))
def test_the_chance_of_so_few_is_that_of_all_the_ways_they_can_happen(chances, number):
    total = 0.0
    for happens in product((False, True), repeat=len(chances)):
        if sum(happens) <= number:
            total += math.prod(p if h else 1 - p for p, h in zip(chances, happens, strict=True))
    assert at_most(chances, number) == pytest.approx(total, abs=1e-9)


def chances(rows: int, middle: float = -6.0):
    """Of independent rows, at a level: the logit moves by 1 with either part of the level."""
    return lambda place: np.full(rows, 1 / (1 + math.exp(-(middle + place[0] + place[1]))))


def test_with_nothing_recited_the_ends_are_those_without_a_calibration():
    low, high = ends((-3.0, 0.0), (0.2, 0.0), 1.0, SHIPPED, PLAN, chances(100), 0)
    assert low == pytest.approx((0, LOW))
    assert high == pytest.approx((0, HIGH))


def test_what_so_few_rows_exclude_ends_the_interval():
    """As many rows as would surprise: of 100 rows of one kind, 3 % each (the rule of three)."""
    rows = chances(100, middle=-2.0)  # twelve would be expected at the level of another base
    _, high = ends((-3.0, -3.0), (0.2, 0.0), 1.0, SHIPPED, PLAN, rows, 0)
    p = float(rows(high)[0])
    assert (1 - p) ** 100 >= EXCLUDED
    assert p == pytest.approx(1 - EXCLUDED**0.01, rel=0.15), "no finer than the paces"
    many = chances(100, middle=-5.0)  # less than one is expected there
    low, _ = ends((3.0, 0.0), (0.2, 0.0), 1.0, SHIPPED, PLAN, many, 6)
    assert 1 - at_most(many(low), 5) >= EXCLUDED
    assert many(low)[0] > many((0, LOW))[0], "six rows are too many for it"


@given(st.floats(-4, 2), st.floats(0, 1))
def test_with_more_recited_rows_the_ends_come_in(offset, missing):
    step = (0.3, -0.05)
    usual = [(offset + sign * WIDTH * 0.3, -sign * WIDTH * 0.05) for sign in (-1, 1)]
    few, some, enough = (
        ends((offset, 0.0), step, share, SHIPPED, PLAN, chances(50), 0) for share in (1.0, missing, 0.0)
    )
    assert enough == (pytest.approx(usual[0]), pytest.approx(usual[1]))
    for far, between, near in zip(few, some, usual, strict=True):
        for i in (0, 1):
            assert between[i] == pytest.approx(near[i] + missing * (far[i] - near[i]))


def test_a_base_that_recites_nothing_is_foretold_no_surer_than_one_that_was_not_measured():
    """It learned nothing at first; what it will have learned after eight times as long stays open upwards."""
    silent = [replace(o, n_pre=np.zeros_like(o.n_pre)) for o in drawn(at(-6.0), 80, 4, (1,))]
    found = levels.fit(silent, SHIPPED)
    assert found.offset < -1.5
    assert found.ends is not None
    later = drawn(SHIPPED, 80, 4, (8,))[0]
    there = replace(levels.at(SHIPPED, (found.offset, math.log(found.dose_factor))), log_factor_step=found.step[1])
    there = replace(there, priors=replace(there.priors, offset_sd=found.step[0]))

    def interval(weights):
        lows, highs = intervals.ends_of_level(weights)
        low = min((levels.extraction(later, w) for w in lows), key=np.sum)
        high = max((levels.extraction(later, w) for w in highs), key=np.sum)
        return intervals.expected_rows(low, levels.extraction(later, weights), high)

    before, after, none = (interval(w) for w in (there, replace(there, ends=found.ends), OTHER))
    recited = int((later.n_pre >= 16).sum())
    assert before.high < recited < after.high
    assert after.high >= none.high - 2
    assert after.expected == before.expected
    assert after.low == pytest.approx(before.low, rel=0.02)


def test_enough_recited_rows_need_no_further_ends():
    observed = drawn(at(0.6), 120, 1, (4, 8))
    assert levels.hits(observed) >= levels.ENOUGH_HITS
    assert levels.fit(observed, SHIPPED).ends is None
    assert levels.fit([], SHIPPED).ends is None


def test_of_two_ends_the_further_one_counts():
    plain = replace(SHIPPED, offset_step=0.1)
    assert intervals.ends_of_level(plain) == ([intervals.levels(plain)[0]], [intervals.levels(plain)[2]])
    lows, highs = intervals.ends_of_level(replace(plain, ends=((-1.0, -0.5), (0.0, 0.7))))
    assert [w.priors.offset for w in (*lows, *highs)] == pytest.approx([-0.1645, -1.0, 0.1645, 0.0])
    assert [math.log(w.dose_factor) for w in (*lows, *highs)] == pytest.approx([0, -0.5, 0, 0.7])
