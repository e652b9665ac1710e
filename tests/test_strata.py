"""Rows are chosen so that weighted shares are unbiased, whatever the prediction is worth."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import strata
from scanner.prediction.reliability import share_interval


def looked_at(chosen: strata.Chosen, truth: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"stratum": chosen.stratum, "weight": chosen.weight, "hit": truth[chosen.place]})


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=3, max_size=60), st.integers(2, 70))
def test_weights_add_up_to_the_rows_that_can_be_chosen(p, rows):
    p_extract = np.array(p)
    chosen = strata.choose(p_extract, np.arange(len(p)), rows, 0)
    known = np.flatnonzero(~np.isnan(p_extract))
    assert chosen.population == len(known)
    assert set(chosen.place.tolist()) <= set(known.tolist())
    assert len(chosen.place) == min(rows, len(known)) == len(np.unique(chosen.place))
    assert chosen.weight.sum() == pytest.approx(len(known))
    assert (np.diff(chosen.place) > 0).all()
    top = [p_extract[i] for i, s in zip(chosen.place, chosen.stratum, strict=True) if s == strata.TOP]
    others = [p_extract[i] for i, s in zip(chosen.place, chosen.stratum, strict=True) if s == strata.UNIFORM]
    assert not top or not others or min(top) >= max(others)


def test_all_rows_means_all():
    p_extract = np.array([0.1, math.nan, 0.3])
    chosen = strata.choose(p_extract, np.arange(3), None, 0)
    assert chosen.place.tolist() == [0, 1, 2]
    assert set(chosen.stratum) == {strata.ALL}


def test_the_choice_follows_the_content_not_the_place():
    rng = np.random.default_rng(0)
    p, rank = np.repeat(rng.random(60), 2), rng.permutation(120)
    moved = rng.permutation(120)
    here, there = strata.choose(p, rank, 30, 5), strata.choose(p[moved], rank[moved], 30, 5)
    assert set(rank[here.place].tolist()) == set(rank[moved][there.place].tolist())


def test_weighted_shares_are_unbiased():
    """The mean over draws is the truth, though the prediction is wrong on purpose."""
    rng = np.random.default_rng(1)
    truth = rng.random(300) < np.linspace(0.6, 0.05, 300)
    p = np.linspace(0, 1, 300)  # the unlikeliest are foretold as the likeliest
    rates = [
        strata.rate(looked_at(strata.choose(p, np.arange(300), 60, seed), truth), "hit").share for seed in range(400)
    ]
    spread = np.std(rates) / math.sqrt(len(rates))
    assert abs(np.mean(rates) - truth.mean()) < 3 * spread
    assert spread > 0


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth = rng.random(400) < 0.15
    p = rng.random(400)
    inside = 0
    for seed in range(400):
        found = strata.rate(looked_at(strata.choose(p, np.arange(400), 80, seed), truth), "hit")
        assert found.low <= found.share <= found.high
        inside += found.low <= truth.mean() <= found.high
    assert inside / 400 > 0.86


def test_rows_that_were_all_looked_at_leave_no_doubt():
    table = pl.DataFrame({"stratum": ["all"] * 4, "weight": [1.0] * 4, "hit": [True, False, None, True]})
    found = strata.rate(table, "hit")
    assert (found.share, found.low, found.high) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (found.rows, found.measured, found.hits) == (3, 3, 2)
    assert strata.rate(table.with_columns(hit=pl.lit(None, pl.Boolean)), "hit") is None


def test_a_small_sample_of_many_has_the_interval_of_wilson():
    table = pl.DataFrame({"stratum": ["uniform"] * 50, "weight": [1e6] * 50, "hit": [i < 5 for i in range(50)]})
    found = strata.rate(table, "hit")
    assert (found.low, found.high) == pytest.approx(share_interval(5, 50), rel=1e-4)


def test_the_more_of_the_rows_were_looked_at_the_less_doubt_is_left():
    """Half of 100 rows tell as much as 50 * 99 / 50 = 99 of infinitely many would; one row is left of 51."""
    half = pl.DataFrame({"stratum": ["uniform"] * 50, "weight": [2.0] * 50, "hit": [i < 10 for i in range(50)]})
    found = strata.rate(half, "hit")
    assert (found.low, found.high) == pytest.approx(share_interval(0.2 * 99, 99))
    most = pl.DataFrame({"stratum": ["uniform"] * 50, "weight": [51 / 50] * 50, "hit": [i < 5 for i in range(50)]})
    assert strata.rate(most, "hit").high <= 6 / 51 + 1e-9
    assert strata.rate(most, "hit").low >= 5 / 51 - 1e-9
