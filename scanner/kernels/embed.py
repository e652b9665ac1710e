"""Sums of token vectors per row, straight over Arrow buffers: the loops behind the static encoder.

Two passes over the text. `distinct_words` collects each token once (so that a tokenizer splits it once, however often
it occurs); `row_vectors` adds up the vectors of each row's tokens in integers and scales the sum to length 2,048.
A token is known by its folded 64-bit hash: two of w distinct tokens share one, and then a vector, with a chance of
w^2 / 2^65.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import B1R, I32, I32R, I64R, INT, U8R, U64R, VOID, helper, kernel
from scanner.kernels._words import BLOCK
from scanner.kernels.tokens import ROOM, next_tokens

LONGEST_WORD = 400
"""Bytes. WordPiece gives up on words of more than 100 characters (BERT's max_input_chars_per_word)."""
UNIT = 2048
"""Length of a row vector. Entries are whole numbers of at most 2^11, exact in float16; a partial dot product stays
below 2^23, so it is exact in float32 in whatever order it is added up."""
PUNCTUATION, WORD, UNKNOWN = 0, 1, 2
"""Kinds of distinct token: no word, a word with a meaning in the table, a word without one."""

FULL_WEIGHT = 64
"""Weight of a word in a sum; words that most rows hold weigh less, down to 1."""

_FLUSH = 1024  # pieces of at most 32,000 x FULL_WEIGHT that a 32-bit sum holds
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_ONE = np.uint64(1)
_EMPTY = np.uint64(0)  # subtle: every hash gets its lowest bit set, so none is 0
_I16_2D = types.Array(types.int16, 2, "C")
_I16_2D_READ = types.Array(types.int16, 2, "C", readonly=True)


@helper
def _slot(keys, key):
    """Where `key` stands in an open-addressing table, or the empty slot where it would; len(keys) is a power of 2."""
    mask = np.uint64(len(keys) - 1)
    at = ((key * _MULTIPLIER) >> _SHIFT) & mask
    while keys[at] != _EMPTY and keys[at] != key:
        at = (at + _ONE) & mask
    return at


_I64 = types.Array(types.int64, 1, "C")
_FOUND = types.Tuple((types.Array(types.uint64, 1, "C"), _I64, _I64, _I64))


@kernel(_FOUND(U8R, I64R, B1R, I64R, U8R, I32R))
def distinct_words(data, offsets, taken, rows, classes, fold):
    """Every distinct token of the taken segments, in order of first occurrence, and how many rows hold it.

    data, offsets (s + 1,): the segments' text · taken (s,) · rows (r + 1,): first segment of each row · classes, fold:
    tables of scanner.text.
    Returns (w,) hashes, first bytes, bytes after the last, rows. Runs of more than LONGEST_WORD bytes are left out.
    """
    some = np.empty(ROOM + BLOCK, np.uint64)
    starts = np.empty(ROOM + BLOCK, np.int64)
    ends = np.empty(ROOM + BLOCK, np.int64)
    size = 1 << 12
    keys = np.zeros(size, np.uint64)
    place = np.zeros(size, np.int32)
    hashes = np.empty(size >> 1, np.uint64)
    found = np.empty((4, size >> 1), np.int64)  # start, stop, rows, last row that held it
    count = 0
    for row in range(len(rows) - 1):
        for segment in range(rows[row], rows[row + 1]):
            if not taken[segment]:
                continue
            at = offsets[segment]
            end = offsets[segment + 1]
            while at < end:
                read, at = next_tokens(data, at, end, classes, fold, 1, some, starts, ends, 0)
                for i in range(read):
                    if ends[i] - starts[i] > LONGEST_WORD:
                        continue
                    key = some[i] | _ONE
                    slot = _slot(keys, key)
                    if keys[slot] == key:
                        word = place[slot]
                        if found[3, word] != row:
                            found[3, word] = row
                            found[2, word] += 1
                        continue
                    if 2 * count == size:
                        more = np.empty((4, size), np.int64)
                        more_hashes = np.empty(size, np.uint64)
                        for w in range(count):
                            for k in range(4):
                                more[k, w] = found[k, w]
                            more_hashes[w] = hashes[w]
                        found = more
                        hashes = more_hashes
                        size *= 2
                        keys = np.zeros(size, np.uint64)
                        place = np.zeros(size, np.int32)
                        for w in range(count):
                            slot = _slot(keys, hashes[w])
                            keys[slot] = hashes[w]
                            place[slot] = w
                        slot = _slot(keys, key)
                    keys[slot] = key
                    place[slot] = count
                    hashes[count] = key
                    found[0, count] = starts[i]
                    found[1, count] = ends[i]
                    found[2, count] = 1
                    found[3, count] = row
                    count += 1
    return hashes[:count].copy(), found[0, :count].copy(), found[1, :count].copy(), found[2, :count].copy()


@kernel(types.Tuple((types.Array(types.uint64, 1, "C"), types.Array(types.int32, 1, "C")))(U64R, INT))
def word_table(hashes, size):
    """(size,) keys in open addressing and (size,) index of each key in `hashes`; size is a power of 2."""
    keys = np.zeros(size, np.uint64)
    index = np.zeros(size, np.int32)
    for i in range(len(hashes)):
        slot = _slot(keys, hashes[i])
        keys[slot] = hashes[i]
        index[slot] = i
    return keys, index


@kernel(VOID(U8R, I64R, B1R, I64R, U8R, I32R, U64R, I32R, I64R, I32R, U8R, U8R, _I16_2D_READ, _I16_2D, I32, I32))
def row_vectors(
    data, offsets, taken, rows, classes, fold, keys, index, first, pieces, kind, weights, table, out, words, unknown
):
    """Write each row's vector of length UNIT, its number of words, and how many of them the table cannot represent.

    rows (r + 1,): first segment of each row · keys, index: `word_table` · first (w + 1,), pieces: the pieces of token
    i are pieces[first[i]:first[i + 1]], rows of table (v, d) · kind (w,): PUNCTUATION, WORD or UNKNOWN · weights (w,):
    1 to FULL_WEIGHT · out (r, d), words and unknown (r,) are written. Punctuation adds its vector but is no word; a
    row without a vector stays 0.
    """
    d = table.shape[1]
    some = np.empty(ROOM + BLOCK, np.uint64)
    starts = np.empty(ROOM + BLOCK, np.int64)
    ends = np.empty(ROOM + BLOCK, np.int64)
    near = np.zeros(d, np.int32)
    far = np.zeros(d, np.int64)
    for row in range(len(rows) - 1):
        near[:] = 0
        far[:] = 0
        added = 0
        n_words = 0
        n_unknown = 0
        for segment in range(rows[row], rows[row + 1]):
            if not taken[segment]:
                continue
            at = offsets[segment]
            end = offsets[segment + 1]
            while at < end:
                read, at = next_tokens(data, at, end, classes, fold, 1, some, starts, ends, 0)
                for i in range(read):
                    key = some[i] | _ONE
                    slot = _slot(keys, key)
                    if keys[slot] != key:  # longer than LONGEST_WORD
                        n_words += 1
                        n_unknown += 1
                        continue
                    word = index[slot]
                    n_words += kind[word] != PUNCTUATION
                    n_unknown += kind[word] == UNKNOWN
                    weight = np.int32(weights[word])
                    for p in range(first[word], first[word + 1]):
                        vector = table[pieces[p]]
                        for j in range(d):
                            near[j] += weight * vector[j]
                        added += 1
                        if added % _FLUSH == 0:
                            for j in range(d):
                                far[j] += near[j]
                                near[j] = 0
        squares = 0.0
        for j in range(d):
            far[j] += near[j]
            squares += np.float64(far[j]) * np.float64(far[j])
        scale = UNIT / np.sqrt(squares) if squares > 0.0 else 0.0
        for j in range(d):
            out[row, j] = np.int16(np.rint(far[j] * scale))
        words[row] = n_words
        unknown[row] = n_unknown


def slots_for(entries: int) -> int:
    """The power of two that leaves at least half the slots of a table empty."""
    return 1 << max(4, (2 * entries - 1).bit_length())
