"""Figures in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from scanner import figures
from scanner.prediction import trainings
from scanner.recalls import Recall
from scanner.reports import _confirmed, _earlier, _heat
from scanner.reports import _words as words
from scanner.settings import TrainingPlan
from scanner.verifying import Verified


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


EARLIER = {kind: 0 for kind, *_ in _earlier.KINDS} | {"matched": 2, "share": 0.1, "rows": 40}
HEAT = {
    "measured": True, "rows_looked_at": 1, "rows_eligible": 3, "spans": 1, "rows": 1, "tokens": 9,
    "chance_at_least": 0.5, "from_start": 1, "tokens_at_least": 8,
}  # fmt: skip
PLAN = {"drop": 1, "redact": 0, "review": 0, "loss_masked": 0, "reweighted": 0}
BINS = [{"from": 0.0, "to": 0.5, "mean": 0.1}, {"from": 1.0, "to": None, "mean": 0.9}]
CONFIRMED = {
    "rates": {"extracted": {"low": 1, "high": 1, "expected_rows": 1.0, "rows": 1.0, "share": 1.0, "measured": 1}},
    "beside": {"missing": ""}, "is_of_plan": True, "called": "tuned",
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (Recall("tuned", 1, 20, False, None, "").sentence(), ": 1 of 20 tokens is recited before the first miss."),
        (Recall("tuned", 2, 20, False, None, "").sentence(), ": 2 of 20 tokens are recited before the first miss."),
        (_earlier.lines({"earlier": {"a.scan": EARLIER | {"copies": 1, "near": 1}}})[0],
         ": 1 copy of a row of it, 1 near copy (estimated from signatures)"),
        (_earlier.lines({"earlier": {"a.scan": EARLIER | {"copies": 2, "near": 3}}})[0],
         ": 2 copies of its rows, 3 near copies (estimated from signatures)"),
        (_heat.sentences({"memorized": HEAT})[-1], "of the riskiest of 3 rows at risk"),
        (words.planned({"plan": PLAN | {"keep": 1}}), "keep 1 as it is"),
        (words.planned({"plan": PLAN | {"keep": 2}}), "keep 2 as they are"),
        (words.by_dose({"prediction": {"by_dose": BINS}}), "with a dose of 1 visit or more"),
        (_confirmed.short({"confirmed": [CONFIRMED]})[0], "about 1 of 1 row recited"),
        (trainings.plan_in_words(TrainingPlan(epochs=1)), "1 epoch at"),
        (Verified(Path("c.jsonl"), rows=1, values=0, words=1, rules=27).in_words(),
         "the one private value that the audit found is too plain to be looked for alone, such as a password that is "
         "a word; but none of the 27 rules finds anything in its 1 row, in any field\n"),
        (Verified(Path("c.jsonl"), rows=1, values=1, words=0, rules=1).in_words(),
         "the one private value that the audit found does not stand in its 1 row, in any field, and none of the 1 "),
    ],
)  # fmt: skip
def test_what_is_counted_once_is_told_in_the_singular(told, said):
    assert said in told
