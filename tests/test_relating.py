"""Rows with a side in common, against a count by hand; turns against Python; nothing depends on order."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import polars as pl
import pytest
from corpora import row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner import relating, turns
from scanner.features import answers, script
from scanner.features import turns as turn_features
from scanner.objects import LONG_TURN
from scanner.text import SCRIPTS, normalise

some_rows = st.lists(
    st.tuples(st.sampled_from(["p", "q", "r s", ""]), st.sampled_from(["a", "b", "c d", ""])), min_size=1, max_size=12
)


def measured(corpus):
    return turns.measure(corpus.reader(), len(corpus.rows), 2)


@given(some_rows)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shared_sides_are_those_counted_by_hand(segments_of, rows):
    corpus = segments_of(rows, per_batch=3)
    prints = corpus.prints()
    shared = relating.same_prompt(corpus.rows, prints)
    asked = [(p, a) for p, a in rows if p and a]
    for i, (prompt, answer) in enumerate(rows):
        same = [a for p, a in asked if p == prompt] if prompt and answer else [answer]
        assert shared.rows[i] == len(same)
        assert shared.ways[i] == len(set(same))
        assert shared.share[i] == pytest.approx(same.count(answer) / len(same))
        assert (shared.group[i] == -1) == (len(same) == 1)
        more_frequent = sum(n > same.count(answer) for n in Counter(same).values())
        as_frequent = sum(n == same.count(answer) for n in Counter(same).values())
        assert more_frequent <= shared.way[i] < more_frequent + as_frequent
        first = shared.first[i]
        assert rows[first] == (prompt, answer) or len(same) == 1
        assert shared.way[first] == shared.way[i]
    used = sorted(set(shared.group.tolist()) - {-1})
    assert used == list(range(len(used)))


@given(some_rows, st.randoms(use_true_random=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_do_not_depend_on_the_order_of_rows(segments_of, rows, rng):
    order = rng.sample(range(len(rows)), len(rows))
    results = []
    for given_rows in (rows, [rows[i] for i in order]):
        corpus = segments_of(given_rows)
        prints = corpus.prints()
        for shared in (
            relating.same_prompt(corpus.rows, prints),
            relating.same_answer(corpus.rows, prints, np.arange(len(rows))),
            relating.same_opening(corpus.rows, prints, measured(corpus).turns),
        ):
            results.append(np.stack([shared.group, shared.rows, shared.way, shared.ways, shared.share]))
    for before, after in zip(results[:3], results[3:], strict=True):
        assert np.array_equal(before[:, order], after)


def test_near_copies_of_an_answer_are_one_answer(segments_of):
    corpus = segments_of([("q", "one"), ("q", "two"), ("q", "three")])
    prints = corpus.prints()
    assert relating.same_prompt(corpus.rows, prints).ways.tolist() == [3, 3, 3]
    assert relating.same_prompt(corpus.rows, prints, np.array([0, 0, 2])).ways.tolist() == [2, 2, 2]


def test_an_empty_side_is_shared_with_nobody(segments_of):
    corpus = segments_of([("", "same words"), ("", "same words"), "plain", "plain", ("q", ""), ("q", " ")])
    prints = corpus.prints()
    for shared in (relating.same_prompt(corpus.rows, prints), relating.same_answer(corpus.rows, prints, np.arange(6))):
        assert shared.group.tolist() == [-1] * 6
        assert shared.rows.tolist() == shared.ways.tolist() == [1] * 6


ASKED = "What is the tallest mountain of the country?"
TOLD = "The tallest mountain is the one in the north, they say."
TALKS = [
    row(
        ("system", "Be brief."), ("user", ASKED), ("assistant", TOLD), ("user", "And then?"), ("assistant", "Nothing.")
    ),
    row(("user", ASKED.upper()), ("assistant", "I do not know.")),
    row(("user", "Hello!"), ("assistant", "Hi."), ("user", ASKED), ("assistant", TOLD)),
    row(("user", ASKED), ("assistant", TOLD.lower())),
    row(("user", "Hello!"), ("assistant", "Hi."), ("user", "Bye."), ("assistant", "Hi.")),
    row(("assistant", TOLD), ("user", ""), ("user", "Hello !")),
    row(("text", ASKED)),
]


def test_openings_and_repeated_turns(segments_of):
    """Opening with one question is told apart from having the same prompt, and a turn is found wherever it stands."""
    corpus = segments_of(TALKS, per_batch=2)
    prints = corpus.prints()
    found = measured(corpus)
    openings = relating.same_opening(corpus.rows, prints, found.turns)
    frame = turn_features.features(found.turns, openings)
    assert frame["turns.opening_rows"].to_list() == [3, 3, 3, 3, 3, 3, 1]
    # another system prompt is another context; rows 1 and 3 answer differently, and rows 2, 4, 5 say Hi or else
    assert frame["turns.opening_answers"].to_list() == [3, 3, 2, 3, 2, 2, 1]
    assert frame["turns.repeated"].to_list() == [2, 1, 2, 2, 0, 1, 0]
    assert frame["turns.opening_group"].null_count() == 1
    # the prompt of a conversation is all that the user says: only rows 1 and 3 ask the same
    assert relating.same_prompt(corpus.rows, prints).rows.tolist() == [1, 2, 1, 2, 1, 1, 1]


def test_a_turn_repeated_in_its_own_row_only_is_not_repeated(segments_of):
    again = row(("user", ASKED), ("assistant", TOLD), ("user", ASKED), ("assistant", TOLD))
    found = measured(segments_of([again, row(("user", TOLD), ("assistant", ASKED))]))
    assert turn_features.repeated(found.turns, 2).tolist() == [0, 0]
    assert (found.turns.tokens >= LONG_TURN).all()


parts = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "system", "tool"]), st.sampled_from(["a b", "A  b", "c", ""])),
    min_size=1, max_size=5,
)  # fmt: skip


@given(st.lists(parts, min_size=1, max_size=6), st.integers(1, 4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_turns_are_those_of_the_rows(segments_of, talks, per_batch):
    corpus = segments_of([row(*talk) for talk in talks], per_batch=per_batch)
    found = measured(corpus).turns
    expected = [
        (i, role == "assistant", normalise(text))
        for i, talk in enumerate(talks)
        for role, text in talk
        if role in ("user", "assistant") and normalise(text)
    ]
    assert found.row.tolist() == [i for i, _, _ in expected]
    assert found.is_answer.tolist() == [answer for _, answer, _ in expected]
    assert found.tokens.tolist() == [len(text.split()) for _, _, text in expected]
    same_text = {text: h for (_, _, text), h in zip(expected, found.hash.tolist(), strict=True)}
    assert [same_text[text] for _, _, text in expected] == found.hash.tolist()
    assert len(set(same_text.values())) == len(same_text)


def test_long_texts_are_hashed_in_blocks_without_a_trace(segments_of, monkeypatch):
    rng = random.Random(1)
    lengths = [rng.randint(1, 60) for _ in range(40)]
    corpus = segments_of([(" ".join(str(rng.random()) for _ in range(n)), "中" * n) for n in lengths])
    before = measured(corpus).turns
    monkeypatch.setattr(turns, "BYTES_AT_ONCE", 257)
    assert np.array_equal(measured(corpus).turns.hash, before.hash)


def test_features_of_shared_answers_and_scripts(segments_of):
    corpus = segments_of([("q", "yes"), ("Привет", "yes"), ("q", "да, 中"), ("q", "日本語のテキスト"), ("5 + 5", "10")])
    prints = corpus.prints()
    frame = answers.features(relating.same_answer(corpus.rows, prints, np.arange(5)))
    assert frame["answers.rows"].to_list() == [2, 2, 1, 1, 1]
    assert frame["answers.prompts"].to_list() == [2, 2, 1, 1, 1]
    assert sorted(frame["answers.prompt"].to_list()[:2]) == [0, 1]
    assert frame["answers.group"].to_list() == [0, 0, None, None, None]
    found = measured(corpus)
    names = script.features(found.prompt_script, found.answer_script)
    assert names["script.prompt"].to_list() == ["Latin", "Cyrillic", "Latin", "Latin", "none"]
    assert names["script.answer"].to_list() == ["Latin", "Latin", "Han", "Kana", "none"]
    assert names.schema == {"script.prompt": pl.String, "script.answer": pl.String}
    assert set(names["script.answer"]) <= set(SCRIPTS)


def test_no_rows(segments_of):
    corpus = segments_of([])
    found = measured(corpus)
    assert len(found.turns.row) == len(found.prompt_script) == 0
    assert len(relating.same_prompt(corpus.rows, corpus.prints()).group) == 0
