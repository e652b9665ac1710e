"""The embedding kernels against slow twins built on scanner.text."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.kernels import embed
from scanner.text import code_point_classes, folded_code_points, normalise, token_spans

TEXTS = st.lists(st.lists(st.text(st.sampled_from("aB éİ天空.,😀\n1"), max_size=14), max_size=3), max_size=6)


def buffers(rows):
    """Text buffers of rows of segments: data, offsets, first segment of each row."""
    texts = [text.encode() for row in rows for text in row]
    offsets = np.concatenate(([0], np.cumsum([len(t) for t in texts]))).astype(np.int64)
    starts = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), offsets, starts


def distinct(rows, taken):
    data, offsets, starts = buffers(rows)
    hashes, first, stop, held = embed.distinct_words(
        data, offsets, taken, starts, code_point_classes(), folded_code_points()
    )
    words = [bytes(data[a:b]).decode() for a, b in zip(first, stop, strict=True)]
    return hashes, words, held


def tokens(text):
    return [normalise(text[a:b]) for a, b in token_spans(text)]


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.integers(0, 2**20))
def test_distinct_words_and_the_rows_that_hold_them(rows, mask):
    taken = np.array([bool(mask >> i & 1) for i in range(sum(map(len, rows)))], np.bool_)
    hashes, words, held = distinct(rows, taken)
    flags = iter(taken)
    by_row = [[t for text in row if next(flags) for t in tokens(text)] for row in rows]
    order = list(dict.fromkeys(t for row in by_row for t in row))
    assert [normalise(word) for word in words] == order
    assert held.tolist() == [sum(t in row for row in by_row) for t in order]
    assert len(set(hashes.tolist())) == len(order)


def test_the_table_of_words_grows():
    numbers = [str(i) for i in range(20_000)]
    _, words, held = distinct([[" ".join(numbers)], [" ".join(numbers[::-1])]], np.ones(2, np.bool_))
    assert words == numbers
    assert (held == 2).all()


def test_word_table_finds_every_key():
    hashes = np.random.default_rng(0).integers(1, 2**63, 1000).astype(np.uint64) | np.uint64(1)
    keys, index = embed.word_table(hashes, embed.slots_for(len(hashes)))
    stored = {int(k): int(i) for k, i in zip(keys, index, strict=True) if k}
    assert stored == {int(h): i for i, h in enumerate(hashes)}


def vectors(rows, table, kinds, weights):
    """row_vectors with one piece per distinct token; piece i of the table belongs to the i-th distinct token."""
    data, offsets, starts = buffers(rows)
    taken = np.ones(len(offsets) - 1, np.bool_)
    hashes, words, _ = distinct(rows, taken)
    keys, index = embed.word_table(hashes, embed.slots_for(len(hashes)))
    n = len(hashes)
    out = np.empty((len(rows), table.shape[1]), np.int16)
    count, unknown = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    embed.row_vectors(
        data, offsets, taken, starts, code_point_classes(), folded_code_points(), keys, index,
        np.arange(n + 1, dtype=np.int64), np.arange(n, dtype=np.int32), kinds[:n], weights[:n], table,
        out, count, unknown,
    )  # fmt: skip
    return out, count, unknown, words


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_row_vectors_are_weighted_sums_of_length_unit(rows):
    rng = np.random.default_rng(0)
    table = rng.integers(-32_000, 32_001, (200, 5)).astype(np.int16)
    kinds, weights = rng.integers(0, 3, 200).astype(np.uint8), rng.integers(1, 65, 200).astype(np.uint8)
    out, count, unknown, words = vectors(rows, table, kinds, weights)
    number = {normalise(word): i for i, word in enumerate(words)}
    for i, row in enumerate(rows):
        held = [number[t] for text in row for t in tokens(text)]
        total = sum((int(weights[j]) * table[j].astype(float) for j in held), np.zeros(5))
        length = np.linalg.norm(total)
        assert np.abs(out[i] - (total * embed.UNIT / length if length else total)).max() <= 0.5 + 1e-6
        assert count[i] == sum(kinds[j] != embed.PUNCTUATION for j in held)
        assert unknown[i] == sum(kinds[j] == embed.UNKNOWN for j in held)


def test_a_million_words_do_not_overflow():
    table = np.array([[32_000, -32_000, 1], [-32_000, 0, 0]], np.int16)
    kinds, weights = np.full(2, embed.WORD, np.uint8), np.full(2, embed.FULL_WEIGHT, np.uint8)
    out, count, _, _ = vectors([["a " * 1_000_000], ["a"], ["b"]], table, kinds, weights)
    assert np.array_equal(out[0], out[1])
    assert out[2].tolist() == [-embed.UNIT, 0, 0]
    assert count[0] == 1_000_000


def test_a_run_that_is_too_long_is_an_unknown_word():
    table, ones = np.ones((4, 2), np.int16), np.ones(4, np.uint8)
    out, count, unknown, words = vectors([["a" * (embed.LONGEST_WORD + 1) + " b"]], table, ones, ones)
    assert (words, count.tolist(), unknown.tolist()) == (["b"], [2], [1])
    assert out.any()
