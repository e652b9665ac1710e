"""Repeated passages on real text: where exactly they stand, what kind they are, which rows share them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from corpora import Corpus, pair, row
from hypothesis import HealthCheck, given, settings
from strategies import texts

from scanner.objects import Clusters
from scanner.signals import span
from scanner.text import token_spans

WIDTH = 10
POEM = "The owl, grey as ash, sat by the well all night and counted forty-one passing carts — none of them stopped."
OTHER = "Bring seven lemons, a jar of salt and last year's ledger to the kitchen before the clock strikes nine tonight."


def look(corpus: Corpus, width: int = WIDTH, threads: int = 1, keep: list[int] | None = None) -> span.Repeated:
    n = len(corpus.rows)
    kept = np.arange(n) if keep is None else np.array(keep)
    clusters = Clusters(np.full(n, -1), np.ones(n, np.int64), kept)
    return span.find(corpus.rows, corpus.prints(), clusters, corpus.reader(), width=width, threads=threads)


def cut(corpus: Corpus, found: span.Repeated) -> list[tuple[int, int, str, str]]:
    """(row, segment, kind, text) of every span."""
    place = {int(i): n for n, i in enumerate(corpus.rows.row_id)}
    return [
        (r, s, rule.split("/")[1], corpus.segments[place[r]][s].text[a:b])
        for r, s, a, b, rule in found.spans.select("row_id", "segment", "start", "end", "rule_id").iter_rows()
    ]


def test_a_passage_in_two_rows_is_found_to_the_character(segments_of: Any) -> None:
    corpus = segments_of([pair("Tell a story.", f"Here: {POEM} End."), pair(f"Continue: «{POEM.upper()}»", "Gladly.")])
    found = look(corpus)
    # the mark after the full stop differs, so the passage ends with the full stop
    assert cut(corpus, found) == [(0, 1, "leakage", POEM), (1, 0, "leakage", POEM.upper())]
    assert found.spans["role"].to_list() == ["assistant", "user"]
    assert found.spans["rows"].to_list() == [2, 2]
    assert found.spans["passage"].to_list() == [0, 0]
    assert found.spans["tokens"].to_list() == [len(token_spans(POEM))] * 2


@pytest.mark.parametrize(
    "passage",
    [
        "北京 是 中华人民共和国的首都，也是 全国政治中心。",
        "👩‍👩‍👧🏽 says 𝔘𝟘 and 🇹🇷 while 𐐀𐐁 waits for 𠀀𲎯 to come 👋🏽 home again, twice.",
        "e\u0301te\u0301 a\u0308 o\u0302 nai\u0308ve cafe\u0301s at the de\u0301po\u0302t filled up again and again",
        "שלום עולם, זה טקסט ארוך מספיק כדי להיות קטע שחוזר על עצמו פעמיים",
    ],
    ids=["cjk", "non-bmp", "combining", "right-to-left"],
)
def test_characters_of_every_script_are_mapped_back(segments_of: Any, passage: str) -> None:
    corpus = segments_of([pair("𐐀 one", f"中e\u0301 👋🏽 {passage} x"), pair("two", f"{passage} y")], per_batch=1)
    whole = [text for _, _, _, text in cut(corpus, look(corpus))]
    assert whole == [passage, passage]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(passage=texts, before=texts, after=texts)
def test_spans_of_any_text_are_equal_texts_of_enough_tokens(
    segments_of: Any, passage: str, before: str, after: str
) -> None:
    corpus = segments_of([pair(before + passage, passage), pair("q", passage + after), pair(passage, before)])
    found = look(corpus, width=3)
    for (*_, text), tokens in zip(cut(corpus, found), found.spans["tokens"], strict=True):
        assert text == text.strip()
        assert len(token_spans(text)) == tokens >= 3


def test_no_span_crosses_strings_or_rows(segments_of: Any) -> None:
    """The two halves of a passage follow one another across a boundary: neither is long enough by itself."""
    words = POEM.split(" ")
    half = " ".join(words[:9]), " ".join(words[9:18])
    corpus = segments_of(
        [pair(*half), pair(*half), row(("text", half[0])), row(("text", half[1])), row(("text", POEM))]
    )
    assert [len(token_spans(h)) for h in half] == [11, 11]
    assert cut(corpus, look(corpus, width=12)) == []
    assert {text for *_, text in cut(corpus, look(corpus, width=11))} == set(half)


def test_kinds(segments_of: Any) -> None:
    system = (
        "You are a patient assistant who answers every question of the visitors in one short and friendly sentence."
    )
    rules = "=" * 20
    rows = [pair(f"Question {i}?", f"{OTHER} And so it was, number {i}.") for i in range(6)]
    rows += [pair("a", "b", system), pair("c", "d", system), pair(f"Repeat: {POEM}", f"Sure! {POEM}")]
    rows += [pair("Sing.", f"First: {system.upper()[:60]}"), pair("Draw.", f"{rules} x"), pair("Rule.", f"{rules} y")]
    rows += [pair("Sing twice.", "La la " + " then ".join([" ".join(f"w{i}" for i in range(12))] * 2))]
    corpus = segments_of(rows)
    found = look(corpus)
    kinds = {(r, kind) for r, _, kind, _ in cut(corpus, found)}
    boilerplate = {(i, "boilerplate") for i in (*range(6), 6, 7)}
    assert kinds == boilerplate | {(8, "echo"), (10, "filler"), (11, "filler"), (12, "within")} | (
        {(9, "boilerplate")} & kinds
    )
    assert found.pairs.notes["boilerplate_from_rows"] == 5


def test_what_few_rows_share_is_counted_without_the_boilerplate_around_it(segments_of: Any) -> None:
    head = "Below is an instruction that describes a task. Write a response that completes the request."
    rows = [pair(f"{head} Name river number {i} of the land.", "It is long.") for i in range(6)]
    short = [pair(f"{head} Please sort these numbers now.", "Done.")] * 2
    long = [pair(f"{head} {POEM}", "Done."), pair(f"{head} {POEM}", "No.")]
    corpus = segments_of(rows + short + long)
    assert {(r, text) for r, _, kind, text in cut(corpus, look(corpus)) if kind == "leakage"} == {(8, POEM), (9, POEM)}


def test_rows_that_are_dropped_do_not_count_but_are_shown(segments_of: Any) -> None:
    twice = [pair("Say it.", POEM)] * 2
    assert cut(segments_of(twice), look(segments_of(twice), keep=[0, 0])) == []
    corpus = segments_of([*twice, pair("And now?", f"Again: {POEM}")])
    found = look(corpus, keep=[0, 0, 2])
    assert [r for r, *_ in cut(corpus, found)] == [0, 1, 2]
    assert found.spans["rows"].to_list() == [2, 2, 2]
    assert (found.pairs.row_a.tolist(), found.pairs.row_b.tolist()) == ([0], [2])


def test_pairs_measure_what_stands_in_the_other_row(segments_of: Any) -> None:
    corpus = segments_of(
        [pair("Tell a story.", POEM), pair(f"Translate: {POEM}", f"{OTHER}"), pair("Why?", OTHER + " x")]
    )
    found = look(corpus)
    assert list(zip(found.pairs.row_a.tolist(), found.pairs.row_b.tolist(), strict=True)) in ([(0, 1), (1, 2)],)
    poem, other = len(token_spans(POEM)), len(token_spans(OTHER))
    total = [poem + 4, poem + other + 2, other + 1 + 2]
    np.testing.assert_allclose(found.pairs.containment_ab, [poem / total[0], other / total[1]], rtol=1e-6)
    np.testing.assert_allclose(found.pairs.containment_ba, [poem / total[1], other / total[2]], rtol=1e-6)
    np.testing.assert_allclose(found.pairs.similarity, [poem / total[0], other / total[2]], rtol=1e-6)
    np.testing.assert_allclose(found.answer_ab, [1, 1])
    np.testing.assert_allclose(found.answer_ba, [0, other / (other + 1)])
    assert found.leaked.tolist() == [poem, poem + other, other]
    assert found.longest.tolist() == [poem, max(poem, other), other]


@pytest.mark.parametrize(("shared", "relation"), [(94, "near"), (95, "contained"), (96, "contained")])
def test_a_row_is_contained_from_95_of_100_tokens(segments_of: Any, shared: int, relation: str) -> None:
    whole = [f"w{i}" for i in range(300)]
    mine = [*whole[:shared], *(f"own{i}" for i in range(98 - shared))]  # with "Why?" 100 tokens
    found = look(segments_of([pair("Why?", " ".join(mine)), pair("And how so?", " ".join(whole))]))
    assert found.pairs.similarity.tolist() == pytest.approx([shared / 100])
    assert found.pairs.relation.tolist() == [relation]


def test_pairs_are_stars_around_the_first_row_in_content_order(segments_of: Any) -> None:
    corpus = segments_of([pair(f"Question {i}?", f"{POEM} {i}") for i in range(4)])
    found = look(corpus)
    first = int(corpus.rows.content_order[0])
    assert {*found.pairs.row_a.tolist(), *found.pairs.row_b.tolist()} == set(range(4))
    assert len(found.pairs) == 3
    assert all(first in ends for ends in zip(found.pairs.row_a.tolist(), found.pairs.row_b.tolist(), strict=True))
    assert found.pairs.notes["passages_reported_as_stars"] == 1


def test_batches_threads_and_order_change_nothing(segments_of: Any) -> None:
    rows = [pair(f"Q{i}", f"{POEM if i % 3 else OTHER} {i} {OTHER[: 7 * i]}") for i in range(12)]
    plain = look(segments_of(rows))
    again = look(segments_of(rows, per_batch=2), threads=3)
    assert plain.spans.equals(again.spans)
    order = [5, 0, 11, 3, 8, 1, 10, 2, 9, 4, 7, 6]
    other = look(segments_of([rows[i] for i in order]))
    renamed = other.spans.with_columns(pl.col("row_id").replace_strict(dict(enumerate(order)))).sort(
        "row_id", "segment", "start", "end"
    )
    assert plain.spans.equals(renamed)
    ends = [tuple(sorted((order[a], order[b]))) for a, b in zip(other.pairs.row_a, other.pairs.row_b, strict=True)]
    assert sorted(ends) == list(zip(plain.pairs.row_a.tolist(), plain.pairs.row_b.tolist(), strict=True))


def test_rejected_answers_are_left_out(segments_of: Any) -> None:
    rows = [row(("user", "q"), ("assistant", POEM), ("rejected", POEM)), row(("user", "r"), ("rejected", POEM))]
    assert cut(segments_of(rows), look(segments_of(rows))) == []


@pytest.mark.parametrize(("rows", "expected"), [(3, 5), (499, 5), (501, 6), (1500, 15), (10**6, 20)])
def test_boilerplate_threshold(rows: int, expected: int) -> None:
    assert span.boilerplate_rows(rows) == expected


def test_previews_hold_no_text(segments_of: Any) -> None:
    found = look(segments_of([pair("a", f"{POEM} one"), pair("b", f"{POEM} two")]))
    assert found.spans["preview"].to_list() == [f"[REPEATED] {len(token_spans(POEM))} tokens"] * 2


def test_no_rows(segments_of: Any) -> None:
    found = look(segments_of([pair("a", "b")]))
    assert found.spans.schema == pl.Schema(span.SCHEMA)
    assert len(found.spans) == len(found.pairs) == 0
