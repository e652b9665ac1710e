"""Equal records and equal texts, proven on the text itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.objects import Groups, Segment
from scanner.signals import blocks_of, exact, group_by

A = [("q", "a"), ("q", "a"), ("Q", "a"), ("q", "b"), ("q", "a", "system"), ("qa", ""), ("", "qa"), ("q", "a ")]


def texts_of(corpus):
    return exact.same_text(group_by(corpus.prints().normal), corpus.reader(), 2)


def found_pairs(corpus, texts=None):
    texts = texts_of(corpus) if texts is None else texts
    return exact.pairs(corpus.rows, exact.same_record(corpus.rows), texts)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12))
def test_groups_are_those_of_a_dictionary(keys):
    groups = group_by(np.array(keys, np.uint64).reshape(-1, 2))
    assert groups.group.tolist() == [keys.index(k) for k in keys]
    assert groups.size.tolist() == [keys.count(k) for k in keys]
    expected = [[i for i, k in enumerate(keys) if k == key] for key in dict.fromkeys(keys)]
    blocks = [b.tolist() for b in blocks_of(groups)]
    assert blocks == [[m for m in expected if len(m) == size] for size in sorted({len(m) for m in expected} - {1})]


def test_keys_are_compared_as_wholes():
    assert group_by(np.array([[1, 2], [2, 1], [1, 2]], np.uint64)).group.tolist() == [0, 1, 0]


@pytest.mark.parametrize("per_batch", [1, 3, 100])
def test_only_byte_for_byte_equal_rows_are_the_same_text(segments_of, per_batch):
    assert texts_of(segments_of(A, per_batch=per_batch)).group.tolist() == [0, 0, 2, 3, 4, 5, 6, 7]


def test_role_and_flag_belong_to_the_text(segments_of):
    rows = [
        [Segment(("a",), "user", 0, False, "x")], [Segment(("a",), "assistant", 0, False, "x")],
        [Segment(("a",), "assistant", 0, True, "x")], [Segment(("b",), "assistant", 0, True, "x")],
    ]  # fmt: skip
    assert texts_of(segments_of(rows)).group.tolist() == [0, 1, 2, 2]


def test_where_one_segment_ends_and_the_next_begins_counts(segments_of):
    def row(*texts):
        return [Segment((str(i),), "user", 0, False, t) for i, t in enumerate(texts)]

    rows = [row("ab", "c"), row("a", "bc"), row("abc"), row("abc", " "), row("ab", "c")]
    assert texts_of(segments_of(rows)).group.tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("per_batch", [1, 100])
def test_an_empty_segment_is_as_good_as_none(segments_of, per_batch):
    """An empty `input` or system prompt adds nothing to what is trained on, wherever it stands."""
    q, a, nothing = (Segment((t,), "user", 0, t == "a", t.strip()) for t in ("q", "a", " "))
    rows = [[q, a], [q, nothing, a], [nothing, q, a], [q], [q, a, nothing], [nothing], [q, nothing]]
    assert texts_of(segments_of(rows, per_batch=per_batch)).group.tolist() == [0, 0, 0, 3, 0, 5, 3]


def test_records_are_told_apart_by_more_than_their_text(segments_of):
    """Same text under another record: one text group, two record groups."""
    corpus = segments_of([("q", "a")] * 3)
    corpus.rows.digest[2] = (5, 5)
    found = found_pairs(corpus)
    assert exact.same_record(corpus.rows).group.tolist() == [0, 0, 2]
    assert found.notes["rows_equal_to_an_earlier_record"] == 1
    assert found.notes["rows_with_the_text_of_an_earlier_row"] == 2
    assert len(found) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_equal_hashes_of_other_texts_are_no_pair(segments_of, monkeypatch, threads):
    """The text disposes: forged collisions of the hashes are seen through."""
    monkeypatch.setattr(exact, "text_hashes", lambda *arguments: arguments[-1].fill(1))
    corpus = segments_of([("q", "one"), ("q", "two"), ("q", "one"), ("qo", "ne"), ("q", "two"), ("", "")], per_batch=3)
    alike = Groups(np.zeros(6, np.int64), np.full(6, 6))
    texts = exact.same_text(alike, corpus.reader(), threads)
    assert texts.group.tolist() == [0, 1, 0, 3, 1, 5]
    assert texts.size.tolist() == [2, 2, 2, 1, 2, 1]


def test_pairs_name_rows_by_row_id_in_order(segments_of):
    found = found_pairs(segments_of(["a", "b", "a", "b", "a"], row_ids=[2, 3, 5, 7, 11]))
    assert list(zip(found.row_a.tolist(), found.row_b.tolist(), strict=True)) == [(2, 5), (2, 11), (3, 7), (5, 11)]
    assert set(found.relation) == {"same_both"}
    for values in (found.similarity, found.containment_ab, found.containment_ba):
        assert values.tolist() == [1] * 4
    assert found.signal == "exact"


def test_large_groups_are_stars_and_counted(segments_of):
    n = exact.ALL_PAIRS_UP_TO
    found = found_pairs(segments_of(["other", *["x"] * (n + 1), *["y"] * n]))
    x = [(1, i) for i in range(2, n + 2)]
    y = list(itertools.combinations(range(n + 2, 2 * n + 2), 2))
    assert sorted(zip(found.row_a.tolist(), found.row_b.tolist(), strict=True)) == x + y
    assert found.notes["groups_reported_as_stars"] == 1


def test_nothing_in_common(segments_of):
    found = found_pairs(segments_of(["a", "b"]))
    assert len(found) == 0
    assert found.similarity.dtype == np.float32
