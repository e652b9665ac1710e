"""One question, several answers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner.features import conflicts
from scanner.relating import same_prompt


def measured(corpus):
    frame = conflicts.features(same_prompt(corpus.rows, corpus.prints()))
    assert frame.columns == [f"conflicts.{name}" for name in ("answers", "rows", "share", "group", "answer")]
    return list(frame.select("conflicts.answers", "conflicts.share").iter_rows())


def test_answers_are_counted_up_to_case_and_spacing(segments_of):
    rows = [("Is it?", "yes"), ("is  IT?", "Yes"), ("Is it?", "no"), ("Is it so?", "no"), ("Is it?", "yes")]
    assert measured(segments_of(rows)) == [(2, 0.75), (2, 0.75), (2, 0.25), (1, 1), (2, 0.75)]


def test_another_system_prompt_is_another_question(segments_of):
    assert measured(segments_of([("q", "yes", "A"), ("q", "no", "B"), ("q", "no")])) == [(1, 1)] * 3


def test_no_prompt_and_no_answer_are_no_conflict(segments_of):
    rows = [("", "a"), ("", "b"), ("q", ""), ("q", "x"), "plain one", "plain two", ("q", " ")]
    assert measured(segments_of(rows)) == [(1, 1)] * 7


@given(
    st.lists(st.tuples(st.sampled_from(["p", "q", ""]), st.sampled_from(["a", "b", "c", ""])), min_size=1, max_size=10)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_a_count_by_hand(segments_of, rows):
    expected = []
    for prompt, answer in rows:
        same = [a for p, a in rows if p == prompt and a]
        clear = not prompt or not answer
        expected.append((1, 1.0) if clear else (len(set(same)), pytest.approx(same.count(answer) / len(same))))
    assert measured(segments_of(rows)) == expected


def test_groups_and_answers_can_be_counted(segments_of):
    """Rows of one prompt have one number, and the answer that most of them give is number 0."""
    corpus = segments_of([("q", "no"), ("p", "x"), ("q", "yes"), ("q", "yes"), ("alone", "x"), ("p", "y")])
    frame = conflicts.features(same_prompt(corpus.rows, corpus.prints()))
    groups = frame["conflicts.group"].to_list()
    assert groups[0] == groups[2] == groups[3] != groups[1] == groups[5]
    assert groups[4] is None
    assert set(groups) == {0, 1, None}
    assert frame["conflicts.answer"].to_list()[:4:2] == [1, 0]
