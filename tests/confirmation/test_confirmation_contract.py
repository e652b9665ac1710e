"""Whatever lies in scanner/confirmation keeps the promises of its front door."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from said import SAMPLER, answer

from scanner import confirmation, plugins
from scanner.confirmation import Row

NAMES = plugins.names("scanner.confirmation")
THERE = {"tuned", "distribution", "base"}


def row(seed: int = 0, **changes) -> Row:
    rng = np.random.default_rng(seed)
    made = [answer(rng.random(n) < 0.8, rng.exponential(1, n), rng) for n in (20, 7)]
    return Row(tuple(replace(one, **changes) for one in made))


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_what_it_is(name):
    metric = plugins.load("scanner.confirmation", name)
    assert metric.__doc__
    assert metric.NEEDS
    assert set(metric.NEEDS) <= THERE
    assert metric.COLUMNS
    for column, (kind, told) in metric.COLUMNS.items():
        assert column == column.lower()
        assert kind in (pl.Int32, pl.Float64, pl.Boolean), column
        assert len(told) > 10, f"{column} does not say what it is, and in which unit"
    assert set(metric.SCORES) <= set(metric.COLUMNS)
    assert set(metric.SCORES.values()) <= {1, -1}


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_gives_its_columns_whatever_the_row(name):
    metric = plugins.load("scanner.confirmation", name)
    nothing = answer(np.zeros(0, bool), np.zeros(0), np.random.default_rng(0))
    unheard = np.full(1, np.nan, np.float32)
    unknown = replace(answer(np.zeros(1, bool), np.zeros(1), np.random.default_rng(0)), loss_nats=unheard)
    unknown = replace(unknown, sampled_nats=unheard)
    for one in (row(), Row((nothing,)), Row((unknown,)), row(base_nats=None, base_n_pre=None)):
        found = metric.measure(one, SAMPLER)
        assert set(found) == set(metric.COLUMNS)
        frame = pl.DataFrame([found], schema={c: kind for c, (kind, _) in metric.COLUMNS.items()})
        for column in frame.select(pl.col(pl.Float64)).columns:
            assert not frame[column].is_nan().any(), "not measured is null"
    assert metric.measure(row(), SAMPLER) == metric.measure(row(), SAMPLER)


def test_no_two_metrics_have_a_column_of_one_name():
    columns = [c for metric in confirmation.metrics().values() for c in metric.COLUMNS]
    assert len(columns) == len(set(columns))
    assert list(confirmation.schema()) == columns
    assert not {"row_id", "stratum", "weight", "predicted", "reason"} & set(columns)


def test_what_a_need_lacks_is_null_and_told():
    lacking = confirmation.unmeasured({"tuned", "distribution"})
    assert set(lacking) == {"bits_over_base", "log_ratio_per_token_nats", "base_n_pre", "extracted_beyond_base"}
    assert set(lacking.values()) == {"no --base was given"}
    line = confirmation.measured(row(), SAMPLER, {"tuned", "distribution"})
    assert {column for column, value in line.items() if value is None} == set(lacking)
    assert confirmation.unmeasured(THERE) == {}
    assert None not in confirmation.measured(row(), SAMPLER, THERE).values()
