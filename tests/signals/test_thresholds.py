"""Pairs that stand exactly at a threshold count, and what a pair says of its two rows is the right way round."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.signals._measures import answer_containments
from scanner.signals.minhash import CONTAINED_SHINGLES
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
    """Prompt and answer of the short row are the same words, which make it no larger than one of them."""
    found = []
    for count in (CONTAINED_SHINGLES - 1, CONTAINED_SHINGLES):
        words = numbered(0, count)
        longer = f"{words} {numbered(100, 115)}"
        corpus = segments_of([(words, words), (longer, longer)])
        found.append(as_dict(find(corpus, width=1, floor=0.45, jaccard=0.5, recall=0.99, permutations=512)))
    assert not found[0]
    assert [values[0] for values in found[1].values()] == ["contained"]


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
