"""Payload sets, their sketches and their similarity against sets of words; kinds of tokens stand in test_templating."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.fingerprints import permutations
from scanner.kernels import templates as kernels
from scanner.objects import ROLE_CODE
from scanner.text import code_point_classes, folded_code_points, normalise

EMPTY = (np.zeros(256, np.uint64), np.zeros(256, np.uint64), np.zeros(256, np.int32), np.zeros(1 << 15, np.uint8))
WORDS = ("a", "b", "Straße", "中", "3", ".5", "!", '"x"', ".", ",y", "z?", "w.")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
MARKS = set("!\"'`,.:;?")


def payload(text: str, width: int = 3) -> set[tuple[str, ...]]:
    """Shingles of a text without a template: marks are left out, but not where a letter or digit follows them."""
    words = normalise(text).split()
    ends = []
    at = 0
    lowered = text.lower()
    for word in words:
        at = lowered.index(word, at) + len(word)
        ends.append(at)
    kept = []
    for word, end in zip(words, ends, strict=True):
        follows = lowered[end : end + 1]
        if word in MARKS and (word in "\"'`" or not (follows.isalnum() and follows != "中")):
            continue
        kept.append(word)
    size = min(width, len(kept))
    return {tuple(kept[i : i + size]) for i in range(len(kept) - size + 1)} if kept else set()


def sets_of(packed, rows):
    """kernels.payload_sets of rows of a prompt and an answer, without any template."""
    data, offsets = packed([text for row in rows for text in row])
    row_start = np.arange(0, 2 * len(rows) + 1, 2)
    role = np.array([ROLE_CODE["user"], ROLE_CODE["assistant"]] * len(rows), np.int32)
    part = np.array([kernels.PROMPT_PART, kernels.ANSWER_PART] * len(rows), np.uint8)
    sets, bounds = np.empty(len(data), np.uint64), np.empty(2 * len(rows) + 1, np.int64)
    kernels.payload_sets(
        data, offsets[:-1].copy(), offsets[1:].copy(), row_start, role, part, code_point_classes(),
        folded_code_points(), 3, *EMPTY, sets, bounds,
    )  # fmt: skip
    return sets, bounds


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a | b else math.nan


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=2))
def test_similarity_is_that_of_the_sets_of_words(packed, rows):
    sets, bounds = sets_of(packed, rows)
    out = np.empty((1, 2), np.float32)
    kernels.compare(np.array([0]), np.array([1]), sets, bounds, out)
    (p, q), (r, s) = ([payload(text) for text in row] for row in rows)
    whole = jaccard({("p", *x) for x in p} | {("a", *x) for x in q}, {("p", *x) for x in r} | {("a", *x) for x in s})
    assert np.diff(bounds).tolist() == [len(p), len(q), len(r), len(s)]
    np.testing.assert_allclose(out[0], [whole, jaccard(q, s)], atol=1e-6)


def test_a_sketch_is_the_smallest_permuted_value_of_both_parts(packed):
    sets, bounds = sets_of(packed, [("a b c d", "e"), ("", "")])
    a, b = permutations(16, 1)
    signature = np.empty((2, 16), np.uint32)
    kernels.sign(sets, bounds, a, b, signature)
    mixed = [int(value) & 0xFFFFFFFF for value in sets[bounds[0] : bounds[2]]]
    for step, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (1, 16)):  # MurmurHash3's finaliser
        mixed = [((x ^ (x >> shift)) * step) & 0xFFFFFFFF for x in mixed]
    assert len(mixed) == 3
    expected = [min((int(m) * x + int(n)) & 0xFFFFFFFF for x in mixed) for m, n in zip(a, b, strict=True)]
    assert signature[0].tolist() == expected
    assert set(signature[1].tolist()) == {0xFFFFFFFF}
