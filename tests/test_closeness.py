"""Parts of pairs of texts: a twin in plain Python, laws, and orders that a reader would agree with."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import closeness
from scanner.closeness import Sketcher, Sketches
from scanner.signals import _odds

TEXTS = [
    "Write a poem about the sea.\nGrey waves roll ashore and the gulls cry.",
    "Compose a poem about the ocean.\nGrey waves roll ashore and the seagulls cry.",
    "Write a poem about the sea.",
    "How do I cook rice?\nBoil it in water with some salt.",
    "What is the way to cook rice?\nYou boil rice in salted water.",
    "Name the capital of France.\nParis.",
    "def add(a, b):\n    return a + b",
    "",
    "!",
    "日本語のテキスト",
    "word " * 400,
    " ".join(map(str, range(500))),
    " ".join(map(str, range(300, 60, -1))),
]


@pytest.fixture(scope="module")
def sketcher():
    return Sketcher()


def twin(sketcher, one, other, cosine):
    """The parts by their definition, with exact numbers and one pair at a time."""
    heavy, begun, lengths, words = [], [], [], []
    name = {number: piece for piece, number in sketcher._tokenizer.get_vocab().items()}
    norm, table = sketcher._norm.tolist(), sketcher._table
    for text in (one, other):
        ids = sketcher._tokenizer.encode(text, add_special_tokens=False).ids[: closeness.LONGEST]
        lengths.append(len(ids) + 1)
        known = [piece for piece in ids if piece != sketcher._unknown]
        spoken = list(dict.fromkeys(piece for piece in known if any(c.isalnum() for c in name[piece])))
        words.append(set(spoken[: closeness.MOST_WORDS]))
        count = Counter(known)
        best = sorted(count, key=lambda piece: (-norm[piece] * count[piece], piece))[: closeness.HEAVIEST]
        heavy.append({piece: norm[piece] * count[piece] for piece in best})
        first = [p for p in ids[: closeness.BEGINNING] if p != sketcher._unknown]
        begun.append(table[first].astype(float).sum(axis=0) if first else np.zeros(sketcher.dimension))

    def like(x, y):
        long = np.linalg.norm(x) * np.linalg.norm(y)
        return float(x @ y) / long if long else 0.0

    def aligned(mine, theirs):
        if not mine or not theirs:
            return 0.0
        best = {p: max(like(table[p].astype(float), table[q].astype(float)) for q in theirs) for p in mine}
        if len(theirs) < closeness.HEAVIEST:  # an empty place is a counterpart of cosine 0
            best = {piece: max(value, 0.0) for piece, value in best.items()}
        return sum(weight * best[piece] for piece, weight in mine.items()) / sum(mine.values())

    x, y = lengths
    sides = sorted((aligned(heavy[0], heavy[1]), aligned(heavy[1], heavy[0])))
    shared = len(words[0] & words[1]) / max(1, len(words[0] | words[1]))
    return [cosine, like(*begun), *sides, math.log(x + y), abs(math.log(x / y)), shared]


def all_pairs(sketcher, texts, threads=1, cosine=0.7):
    a, b = np.triu_indices(len(texts), 1)
    return a, b, sketcher.parts(sketcher.sketch(texts), a, b, np.full(len(a), cosine), threads)


def odds_of(sketcher, texts):
    """Log odds of all pairs, in the order of all_pairs, by the shipped weights."""
    return _odds.Odds(_odds.CLOSENESS, all_pairs(sketcher, texts)[2], 0.9).log_probability()


def test_a_pair_has_the_parts_that_its_definition_says(sketcher):
    a, b, found = all_pairs(sketcher, TEXTS)
    expected = [twin(sketcher, TEXTS[i], TEXTS[j], 0.7) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    assert found.shape == (len(a), len(closeness.PARTS))
    assert found == pytest.approx(np.array(expected), abs=3e-3)  # vectors are rounded at length 2,048


def test_what_means_the_same_is_likelier_than_what_shares_a_topic_or_a_beginning(sketcher):
    a, b, _ = all_pairs(sketcher, TEXTS)
    score = dict(zip(zip(a.tolist(), b.tolist(), strict=True), odds_of(sketcher, TEXTS).tolist(), strict=True))
    assert score[0, 1] > score[0, 2] > score[0, 3]
    assert score[3, 4] > score[3, 5]
    assert score[3, 4] > score[0, 4]


def test_texts_of_unlike_length_are_less_likely_than_of_like_length(sketcher):
    more = " and green pears grow in the old garden behind the house"
    like, unlike, _ = odds_of(sketcher, ["red apples", "red apples", "red apples" + more])
    assert like > unlike + 0.2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=2, max_size=8), st.integers(0, 99))
def test_neither_threads_nor_batches_nor_the_order_of_a_pair_matter(texts, seed):
    sketcher = known()
    a, b, found = all_pairs(sketcher, texts, threads=1)
    assert (all_pairs(sketcher, texts, threads=3)[2] == found).all()
    parts = Sketches.empty(len(texts), sketcher.dimension)
    order = np.random.default_rng(seed).permutation(len(texts))
    for place in order.tolist():
        parts.put(np.array([place]), sketcher.sketch([texts[place]]))
    again = sketcher.parts(parts, b, a, np.full(len(a), 0.7), 2)
    assert (again == found).all()


_KNOWN: list[Sketcher] = []


def known():
    """One sketcher for all examples of a law."""
    if not _KNOWN:
        _KNOWN.append(Sketcher())
    return _KNOWN[0]


def test_many_pairs_at_once_are_compared_like_each_alone(sketcher):
    rng = np.random.default_rng(0)
    sketches = sketcher.sketch(TEXTS)
    a, b = rng.integers(len(TEXTS), size=(2, 2 * closeness._PAIRS_AT_ONCE + 7))
    cosine = rng.random(len(a))
    found = sketcher.parts(sketches, a, b, cosine, 2)
    for k in (0, closeness._PAIRS_AT_ONCE, len(a) - 1):
        alone = sketcher.parts(sketches, a[k : k + 1], b[k : k + 1], cosine[k : k + 1], 1)
        assert (alone[0] == found[k]).all()


def test_no_texts_and_no_pairs(sketcher):
    none = np.zeros(0, np.int64)
    assert len(sketcher.parts(sketcher.sketch([]), none, none, np.zeros(0), 2)) == 0
    blank = sketcher.sketch(["", "日"])
    assert blank.weights[0].sum() == 0
    assert (blank.pieces[0] == len(sketcher._table)).all()
    assert np.isfinite(sketcher.parts(blank, np.array([0]), np.array([1]), np.zeros(1), 1)).all()
