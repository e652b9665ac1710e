"""Stars of rows that share one side: measured as brute force does, each pair once, and what is left out is counted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from scanner import relating
from scanner.signals import _inside as inside
from scanner.signals import sides
from signals.test_minhash import brute

NONE = (np.zeros(0, np.int64), np.zeros(0, np.int64))


def star(corpus, known=NONE, long_tokens=8):
    prints, rows = corpus.prints(), corpus.rows
    keep = np.arange(len(rows))
    prompts = relating.same_prompt(rows, prints, keep)
    answers = relating.same_answer(rows, prints, keep)
    long = prints.supervised_tokens >= long_tokens
    within = inside.find(rows, prints, corpus.reader(), 3, 2)
    return sides.pairs(rows, prompts, answers, long, within, corpus.reader(), 3, known)


LONG = "I am sorry, but I cannot help with that request today."
ROWS = [
    ("Is it raining over the bay?", "yes"), ("Is it raining over the bay?", "no"),
    ("is it raining over the BAY?", "no"),
    ("How far is the moon from here?", LONG), ("Who won the match last night?", LONG), ("Who won the match?", "no"),
    ("Is it raining over the bay?", "Nobody can say."), ("Who is there, and why at this hour?", LONG),
]  # fmt: skip


def test_each_other_answer_is_paired_with_the_most_frequent(segments_of):
    corpus = segments_of(ROWS)
    found = star(corpus)
    truth = brute(corpus.segments)
    frame = found.frame
    assert set(frame["signal"]) == {"exact"}
    asked = frame.filter(pl.col("relation") == "same_prompt")
    ends = [set(pair) for pair in asked.select("row_a", "row_b").iter_rows()]
    assert len(ends) == 2  # three answers: no (twice), yes, nobody can say
    assert all(pair & {1, 2} and not pair <= {1, 2} for pair in ends)
    told = frame.filter(pl.col("relation") == "same_response")
    assert {i for pair in told.select("row_a", "row_b").iter_rows() for i in pair} == {3, 4, 7}
    for a, b, *values in frame.select(
        "row_a", "row_b", "similarity", "containment_ab", "containment_ba", "prompt_similarity", "answer_similarity"
    ).iter_rows():
        assert a < b
        assert values == pytest.approx(truth[a, b], abs=1e-6)
    left_out = {f"{name}_pairs_left_out": 0 for name in ("same_prompt", "same_response", "contained")}
    assert found.notes == {**left_out, "contained_answers_in_part": 0}


@pytest.mark.parametrize("turned", [False, True])
def test_an_answer_inside_another_is_measured_and_said_the_right_way_round(segments_of, turned):
    short = "Take the first left behind the old mill, then follow the river for an hour or so."
    rows = [("How do I get there?", short), ("Tell me all you know.", f"Well. {' '.join(map(str, range(90)))} {short}")]
    found = star(segments_of(rows[::-1] if turned else rows)).frame
    assert found.select("row_a", "row_b", "signal", "relation").rows() == [(0, 1, "exact", "contained")]
    shares = found.select("answer_containment_ab", "answer_containment_ba").row(0)
    assert shares[turned] == 1
    assert 0 < shares[not turned] < 0.2


def test_labels_are_no_boilerplate(segments_of):
    rows = [("Is snow white, do you think?", "yes"), ("Is rain wet, do you think?", "yes")]
    assert not len(star(segments_of(rows)).frame)
    assert len(star(segments_of(rows), long_tokens=1).frame) == 1


def test_a_pair_that_is_known_is_not_told_again(segments_of):
    corpus = segments_of(ROWS)
    first = star(corpus).frame
    known = (first["row_a"].to_numpy()[:1], first["row_b"].to_numpy()[:1])
    assert star(corpus, known).frame.equals(first[1:])


def test_large_groups_are_cut_and_say_so(segments_of, monkeypatch):
    rows = [("What is the answer?", f"It is {i}.") for i in range(30)]
    cut = star(segments_of(rows))
    assert len(cut.frame) == sides.WAYS_PER_GROUP
    assert cut.notes["same_prompt_pairs_left_out"] == 29 - sides.WAYS_PER_GROUP
    monkeypatch.setattr(sides, "PAIRS_PER_RELATION", 5)
    assert star(segments_of(rows)).notes["same_prompt_pairs_left_out"] == 24


def test_nothing_shared(segments_of):
    frame = star(segments_of([("one", "1"), ("two", "2"), "plain text"])).frame
    assert not len(frame)
    assert frame.schema["similarity"] == pl.Float32


def test_ids_may_have_gaps(segments_of):
    ids = [3, 5, 9, 10, 20, 21, 22, 40]
    frame = star(segments_of(ROWS, row_ids=ids)).frame
    plain = star(segments_of(ROWS)).frame
    renamed = plain.with_columns(pl.col(end).map_elements(lambda i: ids[i], pl.Int64) for end in ("row_a", "row_b"))
    assert frame.equals(renamed)
