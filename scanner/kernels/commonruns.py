"""Runs of words that a row and a text of a benchmark have in common; decides on what `ngrams.probe` proposes.

Both are hashes of words (`ngrams.words`).
"""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import I64R, U8, U8R, U64R, VOID, helper, kernel, maker
from scanner.kernels.hashing import fmix64, power
from scanner.kernels.ngrams import ASKED, BASE, GRAM, SAID, SHINGLE, UNSEARCHED

EQUAL, WITHIN, AT_END = 1, 2, 4
"""Flags of `compare`: the text is a whole turn of the row (a question: one that asks); it stands in the row word for
word; an answer opens or ends a turn."""
SHINGLE_FOUND, GRAM_FOUND, GRAM_ASKED = 1, 2, 4
"""Marks of `compare`, per word of the text: the shingle, the n-gram that starts there stands in the row, in an asking
turn or plain text."""
LONGEST = 1 << 16
"""Words of a text that are compared; the rest is passed over."""
_PLACE = np.uint64(LONGEST - 1)


@maker
def _packed(hashes, begin, end, width, out):
    """Rolling hashes of the runs in hashes[begin:end], each with the run's place in its low bits, sorted."""
    leaving = power(BASE, width)
    h = np.uint64(0)
    n = 0
    for i in range(begin, end):
        h = h * BASE + hashes[i]
        if i - begin >= width:
            h -= hashes[i - width] * leaving
        if i - begin >= width - 1:
            out[n] = (fmix64(h) & ~_PLACE) | np.uint64(i - begin - width + 1)
            n += 1
    out[:n].sort()
    return n


@helper
def _mark(hashes, begin, end, width, known, count, mark, marks, at):
    """Mark the places of the sorted runs `known` that stand in hashes[begin:end]."""
    leaving = power(BASE, width)
    h = np.uint64(0)
    for i in range(begin, end):
        h = h * BASE + hashes[i]
        if i - begin >= width:
            h -= hashes[i - width] * leaving
        if i - begin < width - 1:
            continue
        wanted = fmix64(h) & ~_PLACE
        low = 0
        high = count
        while low < high:
            middle = (low + high) >> 1
            if known[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        while low < count and known[low] & ~_PLACE == wanted:
            marks[at + np.int64(known[low] & _PLACE)] |= mark
            low += 1


@helper
def _stands_in(text, begin, end, hashes, first, last):
    """Whether the words text[begin:end] stand one after another in hashes[first:last]; no words stand nowhere."""
    length = end - begin
    if not length:
        return False
    for start in range(first, last - length + 1):
        i = 0
        while i < length and hashes[start + i] == text[begin + i]:
            i += 1
        if i == length:
            return True
    return False


@kernel(VOID(U64R, I64R, I64R, I64R, U8R, I64R, I64R, U64R, I64R, U64R, I64R, U8, U8))
def compare(
    row_words,
    segment_at,
    row_start,
    group,
    side,
    pair_row,
    pair_text,
    text_words,
    text_at,
    letter,
    marks_at,
    flags,
    marks,
):
    """What each pair of a row and a text has in common, on the words themselves.

    row_words, segment_at (s + 1,): words of the rows' segments · row_start (n + 1,): first segment of each row ·
    group (s,): equal for the segments of one turn and role · side (s,): as in `ngrams.probe` · pair_row, pair_text
    (p,): places · text_words, text_at (t + 1,) · letter (t / 2,): the right choice's letter, 0 for none · marks_at
    (p + 1,): first mark of each pair, one per word of its text · flags (p,): EQUAL, WITHIN, AT_END · marks:
    SHINGLE_FOUND, GRAM_FOUND, GRAM_ASKED; both come filled with 0.
    """
    shingles = np.empty(LONGEST, np.uint64)
    grams = np.empty(LONGEST, np.uint64)
    for p in range(len(pair_row)):
        t = pair_text[p]
        begin = text_at[t]
        end = min(text_at[t + 1], begin + LONGEST)
        n_shingles = _packed(text_words, begin, end, SHINGLE, shingles)
        n_grams = _packed(text_words, begin, end, GRAM, grams)
        s = row_start[pair_row[p]]
        after = row_start[pair_row[p] + 1]
        while s < after:
            first = s
            while s < after and group[s] == group[first]:
                s += 1
            low, high = segment_at[first], segment_at[s]
            is_answer = t & 1 == 1
            if low == high or side[first] == UNSEARCHED or (side[first] == ASKED and is_answer):
                continue
            length = end - begin
            if _stands_in(text_words, begin, end, row_words, low, high):
                flags[p] |= WITHIN
                if high - low == length and (side[first] != SAID or is_answer):
                    flags[p] |= EQUAL
                if is_answer and (
                    _stands_in(text_words, begin, end, row_words, low, low + length)
                    or _stands_in(text_words, begin, end, row_words, high - length, high)
                ):
                    flags[p] |= AT_END
            if is_answer and letter[t >> 1] and row_words[high - 1] == letter[t >> 1]:
                flags[p] |= AT_END
            _mark(row_words, low, high, SHINGLE, shingles, n_shingles, SHINGLE_FOUND, marks, marks_at[p])
            mark = GRAM_FOUND if side[first] == SAID else GRAM_FOUND | GRAM_ASKED
            _mark(row_words, low, high, GRAM, grams, n_grams, mark, marks, marks_at[p])
