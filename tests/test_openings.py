"""How many answers begin alike, beside a slow twin; and what is said of a set where many do."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.prediction import Answers, openings
from scanner.prediction.hazard import load_weights
from scanner.prediction.validity import MANY_OPENINGS, MOST_OPENINGS, Facts, judge
from scanner.settings import TrainingPlan

ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 3)), max_size=60)


def laid_out(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, Answers, np.ndarray, list]:
    """Rows (opening, length and text of the answer) behind two prompt tokens -> tokens, answers, group, answers."""
    tokens: list[int] = []
    start, end, told = [], [], []
    for opening, length, _ in rows:
        answer = tuple(10 * opening + min(i, 8) for i in range(length))
        tokens += [99, 98]
        start.append(len(tokens))
        tokens += answer
        end.append(len(tokens))
        told.append(answer)
    groups = {row: place for place, row in enumerate(dict.fromkeys(rows))}
    answers = Answers(np.arange(len(rows)), np.array(start, np.int64), np.array(end, np.int64))
    return np.array(tokens, np.uint64), answers, np.array([groups[row] for row in rows], np.int64), told


@given(ROWS)
def test_the_share_equals_a_count_by_hand(rows):
    tokens, answers, group, told = laid_out(rows)
    different = {row: answer[: openings.LENGTH] for row, answer in zip(rows, told, strict=True)}
    begun = [opening for opening in different.values() if len(opening) == openings.LENGTH]
    counts = Counter(begun)
    expected = sum(counts[opening] > openings.OTHERS for opening in begun) / len(begun) if begun else 0.0
    assert openings.shared(tokens, answers, group) == pytest.approx(expected)


def test_copies_of_one_row_are_no_boilerplate():
    tokens, answers, group, _ = laid_out([(1, 12, 0)] * 40 + [(2, 12, 0)])
    assert openings.shared(tokens, answers, group) == 0.0


@pytest.mark.parametrize(
    ("share", "severity"),
    [(0.0, "inside"), (MANY_OPENINGS, "inside"), (0.19, "note"), (MOST_OPENINGS, "note"), (0.21, "count")],
)
def test_a_set_with_more_boilerplate_than_any_fitted_is_outside(share, severity):
    facts = Facts(np.full(50, 1.0), np.full(50, 40), pl.Series(["Latin"] * 50), 200.0, shared_openings=share)
    said = {s.topic: s for s in judge(TrainingPlan(), load_weights(), facts).statements}["boilerplate"]
    assert said.severity == severity
    assert ("two thirds to all" in said.text) == (severity != "inside")
    assert ("more than in anything fitted" in said.text) == (severity == "count")
