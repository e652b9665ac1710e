"""Signatures bit for bit as datasketch makes them; hashes, counts and shingle sets against obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
from corpora import shingles
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts, words

from scanner.fingerprints import permutations
from scanner.kernels import minhash as kernels
from scanner.kernels.minhash import ANSWER_PART, PROMPT_PART
from scanner.kernels.minhash import SKIPPED as CONTEXT_PART
from scanner.kernels.tokens import ROOM
from scanner.text import code_point_classes, folded_code_points, normalise, token_spans

U = np.uint64
COUNT = 32
ALL = 0xFFFFFFFF

# Rows of (part, supervised, text); a role is a part here, so that texts under other roles differ.
parts = st.sampled_from([CONTEXT_PART, PROMPT_PART, ANSWER_PART])
rows_strategy = st.lists(
    st.lists(st.tuples(parts, st.booleans(), st.one_of(words, texts)), min_size=1, max_size=4), min_size=1, max_size=4
)


def arrays(packed, rows, behind=0):
    """behind: bytes after the text, without which its end is read by other means."""
    data, offsets = packed([text for r in rows for _, _, text in r] + ["Q" * behind])
    offsets = offsets[:-1]
    row_start = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    part = np.array([p for r in rows for p, _, _ in r], np.uint8)
    supervised = np.array([s for r in rows for _, s, _ in r], np.bool_)
    return data, offsets, row_start, part, supervised


def fingerprint(packed, rows, width=3, count=COUNT, behind=0):
    data, offsets, row_start, part, supervised = arrays(packed, rows, behind)
    a, b = permutations(count, 1)
    n = len(rows)
    signature, normal = np.zeros((n, count), np.uint32), np.zeros((n, 2), np.uint64)
    hashes, counts = np.zeros((3, n), np.uint64), np.zeros((5, n), np.int64)
    kernels.fingerprint(
        data, offsets, row_start, part, supervised, code_point_classes(), folded_code_points(), width, a, b,
        signature, *hashes, normal, *counts,
    )  # fmt: skip
    return signature, np.column_stack((hashes.T, normal)), counts.T


def sets_of(packed, rows, width=3):
    data, offsets, row_start, part, _ = arrays(packed, rows)
    out = np.zeros(len(data), np.uint64)
    bounds, sizes = np.full(len(rows) + 1, -1, np.int64), np.full(2 * len(rows), -1, np.int64)
    written = kernels.shingle_sets(
        data, offsets[:-1], offsets[1:], row_start, part, code_point_classes(), folded_code_points(), width, out,
        bounds, sizes,
    )  # fmt: skip
    assert written == bounds[-1]
    return out[:written], bounds, sizes


@given(rows_strategy, st.integers(1, 5), st.sampled_from([0, 300]))
def test_signatures_are_datasketchs(packed, rows, width, behind):
    signature, _, counts = fingerprint(packed, rows, width, behind=behind)
    for r, found in enumerate(signature):
        made = [h for part, _, text in rows[r] if part != CONTEXT_PART for h in shingles(packed, text, width)]
        twin = MinHash(COUNT, seed=1, scheme="affine32", hashfunc=lambda h: h)
        for h in made:
            twin.update(h & ALL)
        assert found.tolist() == twin.hashvalues.tolist()
        assert counts[r, 2] == len(made)
        if not made:
            assert (found == ALL).all()


@given(rows_strategy, st.sampled_from([0, 300]))
def test_counts_are_those_of_the_twin(packed, rows, behind):
    _, _, counts = fingerprint(packed, rows, behind=behind)
    for r, found in enumerate(counts.tolist()):
        tokens = [len(token_spans(text)) for _, _, text in rows[r]]
        learned = [s for _, s, _ in rows[r]]
        assert found[0] == sum(tokens)
        assert found[1] == sum(n for n, s in zip(tokens, learned, strict=True) if s)
        assert found[3] == sum(len(text) for _, s, text in rows[r] if not s)
        assert found[4] == sum(len(text) for _, s, text in rows[r] if s)


@given(rows_strategy)
def test_hashes_are_equal_exactly_where_the_texts_are(packed, rows):
    """Normalised prompt, answer and context. Twice the rows, so that equal ones occur."""
    again = [[(p, s, text.upper() if i % 2 else text) for i, (p, s, text) in enumerate(r)] for r in rows]
    rows = rows + again
    _, hashes, _ = fingerprint(packed, rows)
    for column, part in enumerate((PROMPT_PART, ANSWER_PART, CONTEXT_PART)):
        keys = [tuple(n for p, _, text in r if p == part and (n := normalise(text))) for r in rows]
        assert_same_pattern(hashes[:, column].tolist(), keys)
    whole = [tuple(tuple(n for p, _, t in r if p == part and (n := normalise(t))) for part in range(3)) for r in rows]
    assert_same_pattern(hashes[:, 3].tolist(), whole)
    assert_same_pattern(hashes[:, 4].tolist(), whole)


def assert_same_pattern(hashes, keys):
    assert len(set(hashes)) == len(set(keys)) == len(set(zip(hashes, keys, strict=True)))


@given(rows_strategy)
def test_raw_text_is_told_apart_byte_for_byte(packed, rows):
    """By hashes, and by comparison with another row. Every row twice, so that equal ones occur."""
    rows = [*rows, *([(p, s, text.upper()) for p, s, text in r] for r in rows), *rows]
    data, offsets, row_start, part, supervised = arrays(packed, rows)
    segments = (data, offsets[:-1], offsets[1:], row_start, part, supervised)
    hashes = np.zeros((len(rows), 2), np.uint64)
    kernels.text_hashes(*segments, hashes)
    raw = [tuple(r) for r in rows]
    assert_same_pattern(hashes[:, 0].tolist(), raw)
    assert_same_pattern(hashes[:, 1].tolist(), raw)
    same = np.full(len(rows), 9, np.uint8)
    for shift in range(len(rows)):
        other = np.roll(np.arange(len(rows)), shift)
        kernels.same_texts(*segments, other, 0, 1, same)
        kernels.same_texts(*segments, other, 1, len(rows), same)
        assert same.tolist() == [raw[i] == raw[j] for i, j in enumerate(other.tolist())]


@given(rows_strategy, st.integers(1, 5))
def test_shingle_sets_are_python_sets(packed, rows, width):
    out, bounds, sizes = sets_of(packed, rows, width)
    for r, row in enumerate(rows):
        prompt, answer = (
            {h & ~3 for p, _, text in row if p == part for h in shingles(packed, text, width)}
            for part in (PROMPT_PART, ANSWER_PART)
        )
        expected = [h | (h in prompt) | (h in answer) << 1 for h in sorted(prompt | answer)]
        assert out[bounds[r] : bounds[r + 1]].tolist() == expected
        assert sizes[2 * r : 2 * r + 2].tolist() == [len(prompt), len(answer)]


def test_a_short_text_is_one_shingle_and_no_text_none(packed):
    rows = [[(PROMPT_PART, False, "one two")], [(PROMPT_PART, False, " \t")], [(PROMPT_PART, False, "")]]
    assert sets_of(packed, rows, 5)[1].tolist() == [0, 1, 1, 1]
    assert fingerprint(packed, rows, 5)[2][:, 2].tolist() == [1, 0, 0]


def test_a_shingle_does_not_reach_over_segments(packed):
    apart, *_ = sets_of(packed, [[(PROMPT_PART, False, "a b c"), (PROMPT_PART, False, "d e f")]], 3)
    assert len(apart) == 2
    joined, *_ = sets_of(packed, [[(PROMPT_PART, False, "a b c d e f")]], 3)
    assert len(joined) == 4


@pytest.mark.parametrize("width", [1, 2, 63, kernels.MAX_WIDTH])
def test_every_width_up_to_the_largest(packed, width):
    text = " ".join(f"w{i}" for i in range(kernels.MAX_WIDTH + 5))
    out, *_ = sets_of(packed, [[(ANSWER_PART, True, text)]], width)
    assert out.tolist() == sorted({h & ~3 | 2 for h in shingles(packed, text, width)})
    assert len(out) == kernels.MAX_WIDTH + 5 - width + 1


@pytest.mark.parametrize("width", [1, 3, 64])
@pytest.mark.parametrize("tokens", [ROOM - 1, ROOM, ROOM + 1, 2 * ROOM + 100])
def test_shingles_of_a_text_longer_than_a_buffer(packed, width, tokens):
    """No shingle is lost or made where one buffer ends and the next begins, nor by white space at the end."""
    text = " ".join(f"w{i % 700}" for i in range(tokens)) + " " * 200
    made = shingles(packed, text, width)
    signature, _, counts = fingerprint(packed, [[(ANSWER_PART, True, text)]], width)
    twin = MinHash(COUNT, seed=1, scheme="affine32", hashfunc=lambda h: h)
    for h in made:
        twin.update(h & ALL)
    assert signature[0].tolist() == twin.hashvalues.tolist()
    assert counts[0, 2] == len(made) == tokens - width + 1
    out, *_ = sets_of(packed, [[(ANSWER_PART, True, text)]], width)
    assert out.tolist() == sorted({h & ~3 | 2 for h in made})


LONG = [
    "word, and word. " * (kernels.RUN // 12),
    "é" + "a.b c " * kernels.RUN,
    "x" * (2 * kernels.RUN) + " y",
    ("plain text " * 500 + "中文 ") * 3,
    "a " * (kernels.RUN // 2),
    "a " * (kernels.RUN // 2 - 1) + "b",
]
many = st.lists(st.tuples(parts, st.booleans(), st.one_of(words, texts, st.sampled_from(LONG))), min_size=1, max_size=4)


@given(st.lists(many, min_size=1, max_size=5), st.sampled_from([1, 3, 64]), st.sampled_from([0, 300]))
def test_rows_are_the_same_alone_and_together(packed, rows, width, behind):
    """Whatever stands before and behind them, however long they are."""
    together = fingerprint(packed, rows, width, behind=behind)
    alone = [fingerprint(packed, [row], width) for row in rows]
    for i, found in enumerate(together):
        assert np.array_equal(found, np.concatenate([one[i] for one in alone]))


def test_more_segments_than_are_cut_together(packed):
    row = [(PROMPT_PART, False, "a b c d"), (PROMPT_PART, False, ""), (ANSWER_PART, True, "e.")]
    together = fingerprint(packed, [row] * kernels.RUN_SEGMENTS, behind=300)
    alone = fingerprint(packed, [row])
    for found, one in zip(together, alone, strict=True):
        assert np.array_equal(found, np.repeat(one, kernels.RUN_SEGMENTS, axis=0))


@pytest.mark.parametrize("count", [8, 15, 16, 17, 45, 100, 128])
def test_any_number_of_permutations(packed, count):
    rows = [[(ANSWER_PART, True, "one two three four five six seven")]]
    signature, _, _ = fingerprint(packed, rows, 3, count)
    twin = MinHash(count, seed=1, scheme="affine32", hashfunc=lambda h: h)
    for h in shingles(packed, rows[0][0][2], 3):
        twin.update(h & ALL)
    assert signature[0].tolist() == twin.hashvalues.tolist()
