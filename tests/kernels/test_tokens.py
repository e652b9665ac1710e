"""The token kernel against text.token_spans: the same tokens, and hashes equal exactly where tokens are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts, words

from scanner.kernels.tokens import code_point_at, tokenise
from scanner.text import code_point_classes, folded_code_points, normalise, token_spans


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
        assert code_point_at(raw, 0) == (point, len(raw))


def test_classes_are_those_of_unicode(packed):
    """One character of each kind, and what it makes."""
    assert tokenised(packed, ["don't stop"], 0)[2] == [4]
    assert tokenised(packed, ["中文 hi"], 0)[2] == [3]
    assert tokenised(packed, ["cafe\u0301"], 0)[2] == [1]  # a combining mark belongs to its word
    assert tokenised(packed, ["a\u200bb\x00c"], 0)[2] == [3]  # controls and format characters separate
    assert tokenised(packed, ["👍🏽"], 0)[2] == [2]
