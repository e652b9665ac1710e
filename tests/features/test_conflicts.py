"""One question, several answers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner.features import conflicts


def measured(corpus):
    frame = conflicts.features(corpus.prints())
    assert frame.columns == ["conflicts.answers", "conflicts.rows", "conflicts.share"]
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
