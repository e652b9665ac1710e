"""The token kernel against text.token_spans: the same tokens, and hashes equal exactly where tokens are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from strategies import texts, words

from scanner.kernels._words import BLOCK
from scanner.kernels.hashing import combine, fmix64
from scanner.kernels.tokens import ROOM, SINGLE, WORD, ascii_room, ascii_tokens, code_point_at, count_distinct, tokenise
from scanner.text import code_point_classes, folded_code_points, normalise, token_spans

point_at = njit(lambda data, at: code_point_at(data, at))  # only kernels can call it


def tokenised(packed, given_texts, folded):
    data, offsets = packed(given_texts)
    room = int(offsets[-1] - offsets[0])
    hashes, starts = np.empty(room, np.uint64), np.empty(room, np.int64)
    counts = np.empty(len(given_texts), np.int64)
    found = tokenise(data, offsets, code_point_classes(), folded_code_points(), folded, hashes, starts, counts)
    assert found == counts.sum()
    return hashes[:found].tolist(), (starts[:found] - offsets[0]).tolist(), counts.tolist()


def twin(given_texts):
    """(token, byte where it starts) of every text, and their number per text."""
    tokens, starts, counts, at = [], [], [], 0
    for text in given_texts:
        spans = token_spans(text)
        tokens += [text[a:b] for a, b in spans]
        starts += [at + len(text[:a].encode()) for a, _ in spans]
        counts.append(len(spans))
        at += len(text.encode())
    return tokens, starts, counts


def assert_same_pattern(hashes, tokens):
    """Two hashes are equal exactly where the two tokens are."""
    assert len(hashes) == len(tokens)
    assert len(set(hashes)) == len(set(tokens)) == len(set(zip(hashes, tokens, strict=True)))


@given(st.lists(st.one_of(texts, words), max_size=6))
def test_tokens_stand_where_the_twin_finds_them(packed, given_texts):
    tokens, starts, counts = twin(given_texts)
    hashes, found, per_text = tokenised(packed, given_texts, folded=0)
    assert (found, per_text) == (starts, counts)
    assert_same_pattern(hashes, tokens)


@given(st.lists(st.one_of(texts, words), max_size=6))
def test_folded_hashes_are_equal_where_lower_cased_tokens_are(packed, given_texts):
    tokens = [token for text in given_texts for token in normalise(text).split(" ") if token]
    hashes, _, _ = tokenised(packed, given_texts, folded=1)
    assert_same_pattern(hashes, tokens)


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_folded_hash_is_the_hash_of_the_lower_cased_token(packed, given_texts):
    """So folding is a change of the text, not another hash."""
    folded, _, _ = tokenised(packed, given_texts, folded=1)
    exact, _, _ = tokenised(packed, [normalise(text) for text in given_texts], folded=0)
    assert folded == exact


def test_every_code_point_is_read_as_utf8_says():
    """Each code point on its own, so that all lengths and all first bytes occur."""
    points = [*range(0x800), *range(0x800, 0xD800, 97), *range(0xE000, 0x110000, 1009), 0x10FFFF, 0xFFFF, 0x10000]
    for point in points:
        raw = np.frombuffer(chr(point).encode(), np.uint8)
        assert point_at(raw, 0) == (point, len(raw))


def test_classes_are_those_of_unicode(packed):
    """One character of each kind, and what it makes."""
    assert tokenised(packed, ["don't stop"], 0)[2] == [4]
    assert tokenised(packed, ["中文 hi"], 0)[2] == [3]
    assert tokenised(packed, ["cafe\u0301"], 0)[2] == [1]  # a combining mark belongs to its word
    assert tokenised(packed, ["a\u200bb\x00c"], 0)[2] == [3]  # controls and format characters separate
    assert tokenised(packed, ["👍🏽"], 0)[2] == [2]


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
LENGTHS = [*range(1, 36), 47, 48, 49, 62, 63, 64, 65, 66, 79, 80, 81, 127, 128, 129, 200]
mixtures = st.lists(
    st.one_of(
        st.sampled_from(LENGTHS).map(lambda n: (LETTERS * 6)[:n]),
        st.sampled_from(
            ["É", "naïve", "ÀÉÎ9x", "don’t", "K", "İx", "中文", "x中y", "_a_", "A-B", "...", " ", "\n", "Zz"]
        ),
    ),
    max_size=12,
).map("".join)


def hash_twin(token: str) -> int:
    """The bytes of a token in words of 8, padded to a multiple of 16, mixed one after another."""
    raw = token.encode()
    raw += b"\0" * (-len(raw) % 16)
    h = np.uint64(0x51ED270B27B4F3CF)
    for i in range(0, len(raw), 8):
        h = np.uint64(combine(h, np.uint64(int.from_bytes(raw[i : i + 8], "little"))))
    return int(fmix64(h))


@given(st.one_of(texts, mixtures))
def test_a_hash_is_that_of_the_bytes(packed, text):
    exact, _, _ = tokenised(packed, [text], folded=0)
    assert exact == [hash_twin(text[a:b]) for a, b in token_spans(text)]
    folded, _, _ = tokenised(packed, [text], folded=1)
    assert folded == [hash_twin(token) for token in normalise(text).split(" ") if token]


@njit
def front_of(data, at, stop, offsets, s, after, hashes, held):
    starts, ends = np.empty(len(hashes), np.int64), np.empty(len(hashes), np.int64)
    room = ascii_room(len(hashes) - 2 * BLOCK, after - s)
    found = ascii_tokens(data, at, stop, offsets, s, after, hashes, starts, ends, room, held)
    return found, starts[: found[0]], ends[: found[0]], room[2]


@given(
    st.lists(st.one_of(texts, words, mixtures), min_size=1, max_size=9), st.sampled_from([0, 90, 300]),
    st.integers(0, 3), st.integers(0, 40),
)  # fmt: skip
def test_the_ascii_front_of_texts_has_the_same_tokens(packed, given_texts, behind, held, left):
    """All of them, in order, and none that may go on; what is left begins outside of a token, in the text named."""
    data, offsets = packed([*given_texts, "." * behind])
    after = len(given_texts)
    at, stop = offsets[0], max(offsets[after] - left, offsets[after - 1])
    hashes = np.full(stop - at + held + 2 * BLOCK, 7, np.uint64)
    (count, reached, last), starts, ends, before = front_of(data, at, stop, offsets, 0, after, hashes, held)
    assert hashes[:held].tolist() == [7] * held
    cuts = [min(offsets[i], reached) for i in range(after)] + [reached]
    texts_read = [data[a:b].tobytes().decode() for a, b in itertools.pairwise(cuts)]
    folded, begin, counts = tokenised(packed, texts_read, folded=1)
    assert hashes[held:count].tolist() == folded
    assert (starts[held:] - at).tolist() == begin
    assert (ends[held:] - starts[held:]).tolist() == list(map(len, twin(texts_read)[0]))
    assert before[: last + 1].tolist() == [held + sum(counts[:i]) for i in range(last + 1)]
    assert offsets[last] <= reached <= offsets[last + 1]
    rest = data[reached : offsets[last + 1]].tobytes().decode()
    whole, _, _ = tokenised(packed, given_texts[last : last + 1], folded=1)
    assert tokenised(packed, [rest], folded=1)[0] == whole[counts[last] :]
    if "".join(given_texts).isascii() and behind == 300 and not left:
        assert (last, reached) == (after - 1, offsets[after])


def test_no_place_in_a_buffer_changes_a_token():
    """Any number of bytes before and behind, whatever they are, down to none."""
    classes, fold = code_point_classes(), folded_code_points()
    samples = [
        "",
        "a",
        "Word next_one",
        "x" * 63 + " y",
        "x" * 64 + "Y",
        "x" * 80,
        "a.b c,d " * 12 + "End",
        "ab é cd中 E",
    ]
    for text in samples:
        raw = text.encode()
        expected = None
        for before in (0, 1, 5, 64):
            for behind in [*range(18), 63, 64, 65, 80, 100]:
                # letters around would be taken for part of a word by who reads too far
                data = np.frombuffer(b"Q" * before + raw + b"Q" * behind, np.uint8)
                hashes, starts, counts = np.empty(99, np.uint64), np.empty(99, np.int64), np.empty(1, np.int64)
                offsets = np.array([before, before + len(raw)], np.int64)
                n = tokenise(data, offsets, classes, fold, 1, hashes, starts, counts)
                found = hashes[:n].tolist(), (starts[:n] - before).tolist()
                expected = expected or found
                assert found == expected
        assert expected[0] == [hash_twin(token) for token in normalise(text).split(" ") if token]


@pytest.mark.parametrize("text", ["a " * (3 * ROOM), "中" * (2 * ROOM + 7), ("word, é " * ROOM), "." * (ROOM + 1)])
def test_more_tokens_than_a_buffer_holds(packed, text):
    tokens, starts, counts = twin([text])
    hashes, found, per_text = tokenised(packed, [text], folded=0)
    assert (found, per_text) == (starts, counts)
    assert hashes == [hash_twin(token) for token in tokens]


def test_ascii_is_classed_by_the_masks_as_by_the_table(packed):
    """Each ASCII character between letters: part of the word, alone, or nothing."""
    for point in range(128):
        kind = code_point_classes()[point]
        expected = 1 if kind == WORD else 3 if kind >= SINGLE else 2
        assert tokenised(packed, [f"a{chr(point)}b" + " " * 70], 0)[2] == [expected], point


@given(st.lists(st.one_of(words, texts, mixtures), max_size=5))
def test_distinct_tokens_are_counted_as_by_a_set(packed, given_texts):
    data, offsets = packed(given_texts)
    counts, distinct = np.empty(len(given_texts), np.int64), np.empty(len(given_texts), np.int64)
    count_distinct(data, offsets, code_point_classes(), folded_code_points(), counts, distinct)
    tokens = [[token for token in normalise(text).split(" ") if token] for text in given_texts]
    assert counts.tolist() == [len(t) for t in tokens]
    assert distinct.tolist() == [len(set(t)) for t in tokens]
