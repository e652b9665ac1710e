"""Pairs that stand exactly at a threshold count, and what a pair says of its two rows is the right way round."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.signals._measures import answer_containments
from signals.test_minhash import as_dict, find


def numbered(first: int, after: int) -> str:
    return " ".join(f"w{i}" for i in range(first, after))


@pytest.mark.parametrize(("shared", "union"), [(5, 10), (6, 10), (7, 10), (8, 10), (9, 10)])
def test_a_pair_exactly_at_the_floor_is_kept(segments_of, shared, union):
    """Without a prompt and with one token per shingle, Jaccard is shared / union."""
    level = shared / union
    rows = [numbered(0, shared), numbered(0, union), "something else entirely"]
    near = find(segments_of(rows), width=1, jaccard=level, floor=level, recall=0.99)
    assert near.pairs.similarity.tolist() == pytest.approx([level])
    assert near.pairs.relation.tolist() == ["near"]
    above = find(segments_of(rows), width=1, jaccard=level + 0.01, floor=level + 0.01, recall=0.99)
    assert [r for r in above.pairs.relation.tolist() if r != "contained"] == []


def test_a_pair_below_the_floor_is_not_kept(segments_of):
    rows = [numbered(0, 30), numbered(18, 48)]  # 12 of 48 shared
    assert len(find(segments_of(rows), width=1, jaccard=0.3, floor=0.26).pairs) == 0
    assert len(find(segments_of(rows), width=1, jaccard=0.3, floor=0.25).pairs) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_which_row_stands_in_which(segments_of, turned):
    """16 tokens of the one stand in the other's 40; the answers hold 12 of 30."""
    rows = [(numbered(0, 4), numbered(100, 112)), (numbered(0, 10), numbered(100, 130))]
    corpus = segments_of(rows[::-1] if turned else rows)
    near = find(corpus, width=1, jaccard=0.8, floor=0.5)
    assert near.pairs.relation.tolist() == ["contained"]
    inner = (1.0, pytest.approx(16 / 40))
    within = (1.0, pytest.approx(12 / 30))
    assert (near.pairs.containment_ab[0], near.pairs.containment_ba[0]) == (inner[::-1] if turned else inner)
    assert tuple(near.answer_containment[0].tolist()) == (within[::-1] if turned else within)


def test_a_row_is_as_large_as_its_distinct_shingles(segments_of):
    """Prompt and answer of the short row are the same 11 or 12 words, which make it no larger than one of them."""
    found = []
    for count in (11, 12):
        words = numbered(0, count)
        longer = f"{words} {numbered(100, 115)}"
        corpus = segments_of([(words, words), (longer, longer)])
        found.append(as_dict(find(corpus, width=1, floor=0.45, jaccard=0.5, recall=0.99, permutations=512)))
    assert not found[0]
    assert [values[0] for values in found[1].values()] == ["contained"]


@pytest.mark.parametrize(("shared", "contained"), [(18, False), (19, True), (20, True)])
def test_a_row_is_contained_from_95_of_100_shingles(segments_of, shared, contained):
    """19 of 20 are .95; as a whole the two rows are less alike than the floor."""
    rows = [f"{numbered(0, shared)} {numbered(500, 520 - shared)}", numbered(0, 40)]
    found = find(segments_of(rows), width=1, floor=0.51, jaccard=0.6, recall=0.99, permutations=512)
    assert found.pairs.relation.tolist() == ["contained"] * contained


@pytest.mark.parametrize(("shared", "relation"), [(79, "same_prompt"), (80, "near"), (81, "near")])
def test_answers_as_alike_as_the_threshold_are_no_contradiction(segments_of, shared, relation):
    """Of 100 words in both answers together; the prompt is the same."""
    asked = numbered(200, 260)
    rows = [(asked, numbered(0, shared)), (asked, numbered(0, 100))]
    found = find(segments_of(rows), width=1)
    assert found.pairs.relation.tolist() == [relation]
    turned = find(segments_of([row[::-1] for row in rows]), width=1)
    assert turned.pairs.relation.tolist() == [relation.replace("same_prompt", "same_response")]


def test_without_a_prompt_nothing_is_asked_and_without_an_answer_nothing_said(segments_of):
    rows = [numbered(0, 60), numbered(0, 100)]
    assert find(segments_of(rows), width=1).pairs.relation.tolist() == ["near"]
    assert find(segments_of([(row, "") for row in rows]), width=1).pairs.relation.tolist() == ["near"]


def test_what_two_copies_both_lack_is_not_measured(segments_of):
    """Up to case the rows are equal: a prompt and an answer, a text without a prompt, a prompt without an answer."""
    words = numbered(0, 9)
    rows = [
        (words, "So it is."),
        (words, "So it IS."),
        numbered(40, 49),
        numbered(40, 49).upper(),
        (numbered(20, 29), ""),
    ]
    rows.append((numbered(20, 29).upper(), ""))
    found = find(segments_of(rows))
    told = dict(zip(found.a.tolist(), zip(found.prompt_jaccard, found.answer_jaccard, strict=True), strict=True))
    assert told == {0: (1, 1), 2: (pytest.approx(np.nan, nan_ok=True), 1), 4: (1, pytest.approx(np.nan, nan_ok=True))}
    assert found.pairs.similarity.tolist() == [1, 1, 1]
    assert (found.a < found.b).all()


def test_answer_containments_are_those_of_sets():
    rng = np.random.default_rng(3)
    answers = [set(rng.integers(0, 40, rng.integers(0, 30)).tolist()) for _ in range(30)]
    size = np.array([len(a) for a in answers], np.int64)
    a, b = np.triu_indices(30, 1)
    pairs = [(answers[i], answers[j]) for i, j in zip(a, b, strict=True)]
    jaccard = np.array([len(x & y) / len(x | y) if x | y else np.nan for x, y in pairs], np.float32)
    expected = [[len(x & y) / len(x) if x else np.nan, len(x & y) / len(y) if y else np.nan] for x, y in pairs]
    found = answer_containments(size, a.astype(np.int64), b.astype(np.int64), jaccard)
    assert np.allclose(found, np.array(expected), equal_nan=True)
