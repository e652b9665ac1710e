"""Words in common, beside slow and obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels import commonruns, ngrams
from scanner.text import PUNCTUATION, code_point_classes, folded_code_points, normalise, token_spans

WORDS = ["one", "two", "three", "four", "ÄRGER", "日", "本", "x9", "!", "...", "(", "一"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


def words_of(text: str) -> list[str]:
    """The twin of `ngrams.words`: tokens without punctuation, in lower case."""
    classes = code_point_classes()
    tokens = [text[a:b] for a, b in token_spans(text)]
    return [normalise(token) for token in tokens if classes[ord(token[0])] != PUNCTUATION]


def hashed(texts: list[str], packed) -> tuple[np.ndarray, np.ndarray]:
    data, offsets = packed(texts)
    out, counts = np.empty(int(offsets[-1]) + len(texts), np.uint64), np.empty(len(texts), np.int64)
    total = ngrams.words(data, offsets, code_point_classes(), folded_code_points(), out, counts)
    return out[:total], np.concatenate(([0], np.cumsum(counts)))


@given(texts=st.lists(TEXTS | st.text(max_size=60), min_size=1, max_size=6))
def test_words_are_the_tokens_without_punctuation(texts, packed):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    found, at = hashed(texts, packed)
    said = [words_of(text) for text in texts]
    assert np.diff(at).tolist() == [len(words) for words in said]
    known: dict[str, int] = {}
    for word, value in zip([w for words in said for w in words], found.tolist(), strict=True):
        assert known.setdefault(word, value) == value
    assert len(set(known.values())) == len(known)


def compared(row: list[tuple[str, int]], text: str, is_answer: bool, packed) -> tuple[int, np.ndarray]:
    """Flags and marks of one text beside one row of (segment, side), each segment a turn of its own."""
    row_words, segment_at = hashed([segment for segment, _ in row], packed)
    of_text, _ = hashed([text], packed)
    text_at = np.array([0, 0, len(of_text)] if is_answer else [0, len(of_text), len(of_text)])
    flags, marks = np.zeros(1, np.uint8), np.zeros(len(of_text), np.uint8)
    commonruns.compare(
        row_words, segment_at, np.array([0, len(row)]), np.arange(len(row)),
        np.array([side for _, side in row], np.uint8), np.zeros(1, np.int64), np.array([int(is_answer)]), of_text,
        text_at, np.zeros(1, np.uint64), np.array([0, len(of_text)]), flags, marks,
    )  # fmt: skip
    return int(flags[0]), marks


def runs(words: list[str], width: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + width]) for i in range(len(words) - width + 1)]


@given(
    segments=st.lists(st.tuples(TEXTS, st.sampled_from([0, 1, 2, 3])), min_size=1, max_size=4),
    text=TEXTS,
    is_answer=st.booleans(),
)
def test_compare_equals_its_twin(segments, text, is_answer, packed):
    flags, marks = compared(segments, text, is_answer, packed)
    wanted = words_of(text)
    searched = [
        (words_of(segment), side)
        for segment, side in segments
        if side != ngrams.UNSEARCHED and not (is_answer and side == ngrams.ASKED)
    ]
    within = [side for said, side in searched if wanted and tuple(wanted) in runs(said, len(wanted))]
    equal = [side for said, side in searched if wanted and said == wanted and (is_answer or side != ngrams.SAID)]
    assert bool(flags & commonruns.WITHIN) == bool(within)
    assert bool(flags & commonruns.EQUAL) == bool(equal)
    ends = [said for said, _ in searched if wanted and wanted in (said[: len(wanted)], said[-len(wanted) :])]
    assert bool(flags & commonruns.AT_END) == (is_answer and bool(ends))
    for width, mark, sides in (
        (ngrams.SHINGLE, commonruns.SHINGLE_FOUND, (1, 2, 3)),
        (ngrams.GRAM, commonruns.GRAM_FOUND, (1, 2, 3)),
        (ngrams.GRAM, commonruns.GRAM_ASKED, (1, 3)),
    ):
        there = {run for said, side in searched if side in sides for run in runs(said, width)}
        expected = [run in there for run in runs(wanted, width)]
        assert [bool(value & mark) for value in marks[: len(expected)]] == expected


def test_a_letter_ends_the_turn_of_its_choice(packed):
    row = [("The answer is (C).", ngrams.SAID)]
    row_words, segment_at = hashed([row[0][0]], packed)
    letter, _ = hashed(["c"], packed)
    flags, nothing = np.zeros(1, np.uint8), np.zeros(0, np.uint8)
    commonruns.compare(
        row_words, segment_at, np.array([0, 1]), np.zeros(1, np.int64), np.array([ngrams.SAID], np.uint8),
        np.zeros(1, np.int64), np.ones(1, np.int64), letter[:0], np.zeros(3, np.int64), letter, np.zeros(2, np.int64),
        flags, nothing,
    )  # fmt: skip
    assert flags[0] == commonruns.AT_END


@pytest.mark.parametrize("same", [True, False])
def test_whole_hashes_tell_texts_apart(same, packed):
    hashes, at = hashed(["one two three", "one two three" if same else "one three two"], packed)
    out = np.empty(2, np.uint64)
    ngrams.whole_hashes(hashes, at, out)
    assert (out[0] == out[1]) == same
