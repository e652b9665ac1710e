"""Figures in words."""

from __future__ import annotations

import pytest

from scanner import figures


@pytest.mark.parametrize(
    ("names", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed(names, words):
    assert figures.listed(names) == words


def test_shares_are_never_rounded_to_all():
    shown = [figures.percent(share) for share in (0, 0.0004, 0.0123, 0.5, 0.994, 0.9958, 1318 / 1319, 1)]
    assert shown == ["0 %", "< 0.1 %", "1.2 %", "50 %", "99 %", "99.5 %", "> 99.9 %", "100 %"]


def test_expected_counts_have_their_noun():
    shown = [figures.about_many(value, "row") for value in (0, 0.01, 0.4, 1, 12.3)]
    assert shown == ["0 rows", "fewer than 0.1 rows", "0.4 rows", "1 row", "12 rows"]


def test_a_share_above_a_limit_looks_larger_than_it():
    shown = [
        figures.percent_above(*case) for case in ((0.75, 0.5), (0.505, 0.5), (0.50001, 0.5), (0.0004, 0), (1, 0.9))
    ]
    assert shown == ["75 %", "50.5 %", "50.001 %", "< 0.1 %", "100 %"]
