"""How many answers begin alike, beside a slow twin; and what is said of a set where many do."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import pipeline
from scanner.prediction import Answers, openings, predict
from scanner.prediction.hazard import load_weights
from scanner.prediction.validity import MOST_OPENINGS, Facts, judge
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder

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


def test_a_row_says_how_many_others_begin_like_it():
    """Twelve rows begin alike behind other prompts, one stands alone; the best trodden of two answers counts."""
    notice = list(range(100, 130))
    rows = [[i, *notice] for i in range(1, 13)] + [[50, *range(200, 230)]]
    tokens = np.array([t for row in rows for t in row], np.uint64)
    offsets = np.cumsum([0, *map(len, rows)])
    number = np.arange(13)
    row = np.append(number, 12)
    start, end = np.append(offsets[:-1] + 1, offsets[13]), np.append(offsets[1:], offsets[13])
    start[12], end[12] = offsets[12] + 1, offsets[12] + 11
    start[13], end[13] = offsets[12] + 11, offsets[13]
    answers = Answers(row, start, end)
    plan = TrainingPlan(epochs=3, learning_rate=1e-4)
    found = predict(tokens, offsets, answers, number, number.astype(np.uint64), plan, load_weights())
    np.testing.assert_allclose(found.summary.opening, [np.log2(12)] * 12 + [0], atol=1 / 32)
    assert all("begins like the answers of about 11 other rows" in text for text in found.reasons[:12])
    assert "begins like" not in found.reasons[12]


@pytest.mark.parametrize(
    ("share", "severity"),
    [(0.0, "inside"), (openings.MANY, "inside"), (0.19, "note"), (MOST_OPENINGS, "note"), (0.21, "count")],
)
def test_a_set_with_more_boilerplate_than_any_fitted_is_outside(share, severity):
    facts = Facts(np.full(50, 1.0), np.full(50, 40), pl.Series(["Latin"] * 50), 200.0, shared_openings=share)
    said = {s.topic: s for s in judge(TrainingPlan(), load_weights(), facts).statements}["boilerplate"]
    assert said.severity == severity
    assert ("foretold .8 to 1.1 of what" in said.text) == (severity != "inside")
    assert ("more than in anything fitted" in said.text) == (severity == "count")


def test_the_interval_of_such_a_set_is_wider_also_where_it_is_planned_again(tmp_path, monkeypatch):
    data = tmp_path / "d.jsonl"
    told = "The order with this number will be sent to you on the day after it was paid, says shelf"
    rows = [{"instruction": f"Where is order {i * 7919}?", "output": f"{told} {i} of {i % 5}."} for i in range(60)]
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    settings = Settings(plan=TrainingPlan(epochs=8, learning_rate=4e-4))

    def intervals(run: RunFolder) -> pl.DataFrame:
        return run.read_table("whatif").select("variant", "epochs", width=pl.col("high") - pl.col("low"))

    wide = intervals(pipeline.audit([str(data)], settings, tmp_path / "wide.scan"))
    again = pipeline.judge(tmp_path / "wide.scan", {"jaccard": 0.85})  # with the level and the doubt of the audit
    assert intervals(again).equals(wide)
    monkeypatch.setattr(openings, "MANY", 1.0)
    narrow = intervals(pipeline.audit([str(data)], settings, tmp_path / "narrow.scan"))
    trained = wide["epochs"] > 0
    assert (wide["width"] > narrow["width"]).filter(trained & (narrow["width"] > 0)).all()
    assert (narrow["width"] > 0).any()
