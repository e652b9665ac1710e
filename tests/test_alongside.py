"""Planted rows stand before the members and count as what they are: copies, near copies, other answers."""

from __future__ import annotations

import numpy as np
import pytest

from scanner import alongside
from scanner.objects import Segment
from scanner.planting import CONFLICTS, COPIES, REPLACED, Planted
from scanner.prediction import Answers, NearCopies
from scanner.sampling import copies_of, with_copies
from scanner.settings import Settings


def row(prompt: str, answer: str) -> tuple[Segment, ...]:
    return (Segment((), "user", 0, False, prompt), Segment((), "assistant", 1, True, answer))


TEXT = {
    10: row("what is it", "one two three four five six seven eight nine ten"),
    20: row("who is it", "a b c d e f g h i j k l m"),
    30: row("where is it", "red green blue red green blue"),
}


def members() -> alongside.Counted:
    text = alongside._tokens(list(TEXT.values()), Settings())
    none = np.zeros(0, np.int64)
    return alongside.Counted(
        np.array([10, 20, 30]), text.tokens, text.widths, text.offsets,
        Answers(text.answer_row, text.answer_start, text.answer_end),
        np.array([5, 6, 7]), np.array([5, 6, 7]), np.array([2, 0, 1], np.uint64), NearCopies(none, none, none * 1.0, 3),
    )  # fmt: skip


PLANTED = [
    Planted(20, COPIES, 2, TEXT[20]),
    Planted(10, REPLACED, 5, row("what is it", "one two three four five six seven eight nine XX")),
    Planted(10, REPLACED, 5, row("what is it", "YY two three four five six seven eight nine ten")),
    Planted(30, CONFLICTS, 1, row("where is it", "red green yellow")),
]


@pytest.fixture
def both() -> alongside.Counted:
    texts = {key: list(value) for key, value in TEXT.items()}
    return alongside.with_planted(members(), texts, PLANTED, Settings())


def test_planted_rows_come_first_and_members_stay_as_they_are(both):
    assert both.row_id.tolist() == [-4, -3, -2, -1, 10, 20, 30]
    alone, ends = members(), both.offsets[4]
    assert (both.tokens[ends:] == alone.tokens).all()
    assert (both.offsets[4:] - ends == alone.offsets).all()
    inside = both.answers.row >= 4
    assert (both.answers.start[inside] - ends == alone.answers.start).all()
    assert (both.answers.end[inside] - ends == alone.answers.end).all()
    assert both.answers.row.tolist() == list(range(7))
    assert (both.tokens[: both.offsets[1]] == both.tokens[both.offsets[5] : both.offsets[6]]).all()


def test_copies_count_in_full_and_near_copies_by_what_is_left(both):
    assert both.copies[0] == both.copies[5]
    assert both.order[0] == both.order[5]
    assert len(set(both.copies.tolist())) == 6
    near = both.near
    pairs = {frozenset(pair) for pair in zip(near.a.tolist(), near.b.tolist(), strict=True)}
    assert pairs <= {frozenset(p) for p in ((4, 1), (4, 2), (1, 2))}
    assert {frozenset((4, 1)), frozenset((4, 2))} <= pairs
    dose = with_copies(np.ones(7), copies_of(both.copies, near.a, near.b, near.jaccard, near.shingle))
    assert dose[5] == 2.0
    assert 2.0 < dose[4] < 3.0
    assert dose[6] == 1.0


def test_conflicts_part_where_the_answers_differ(both):
    found = alongside.conflicts(both)
    assert found.place[6] == found.place[3] == 2
    assert found.share[6] == found.share[3] == 0.5
    assert found.place[5] == -1  # the same prompt, the same answer
    assert found.place[4] == 0  # its near copies answer otherwise from the first word on
    assert found.share[4] == pytest.approx(1 / 3)


def test_nothing_planted_changes_nothing():
    alone = members()
    assert alongside.with_planted(alone, {}, [], Settings()) is alone


def test_what_is_saved_comes_back(tmp_path):
    alongside.save(tmp_path / "planted.parquet", PLANTED)
    assert alongside.load(tmp_path / "planted.parquet") == PLANTED
    alongside.save(tmp_path / "none.parquet", [])
    assert alongside.load(tmp_path / "none.parquet") == []
