"""Text to tokens: boundaries and 64-bit hashes straight from UTF-8 bytes.

The definition of a token stands in `scanner.text`. Hashes come in two kinds: exact (the token's own code points)
and folded (each code point replaced by its one-code-point lower case).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from scanner.kernels._jit import I32R, I64, I64R, INT, U8R, U64, kernel
from scanner.kernels.hashing import fmix64

SEPARATOR, WORD, SINGLE = 0, 1, 2
_SEED = np.uint64(0x51ED270B27B4F3CF)
_MULTIPLIER = np.uint64(0x9FB21C651E98DF25)
_FOLDED = 0x20000


@njit(nogil=True)
def code_point_at(data, at):
    """The code point that starts at byte `at` of valid UTF-8, and the byte after it."""
    byte = np.int64(data[at])
    if byte < 0x80:
        return byte, at + 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), at + 2
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | (np.int64(data[at + 2]) & 0x3F), at + 3
    return (
        (byte & 0x07) << 18
        | (np.int64(data[at + 1]) & 0x3F) << 12
        | (np.int64(data[at + 2]) & 0x3F) << 6
        | (np.int64(data[at + 3]) & 0x3F)
    ), at + 4


@njit(nogil=True)
def next_token(data, at, end, classes, fold, folded):
    """The next token of data[at:end]: (its hash, the byte where it starts, the byte after it); start == end: none."""
    kind = np.uint8(SEPARATOR)
    point = np.int64(0)
    after = at
    while at < end:
        point, after = code_point_at(data, at)
        kind = classes[point]
        if kind != SEPARATOR:
            break
        at = after
    if at >= end:
        return np.uint64(0), end, end
    start = at
    if folded and point < _FOLDED:
        point = np.int64(fold[point])
    h = (_SEED ^ np.uint64(point)) * _MULTIPLIER
    at = after
    if kind == WORD:
        while at < end:
            byte = data[at]
            if byte < 0x80:  # subtle: the same arithmetic as below; most text is ASCII and this way twice as fast
                if classes[byte] != WORD:
                    break
                value = np.uint64(byte)
                if folded and np.uint8(byte - 65) < 26:
                    value += np.uint64(32)
                after = at + 1
            else:
                point, after = code_point_at(data, at)
                if classes[point] != WORD:
                    break
                if folded and point < _FOLDED:
                    point = np.int64(fold[point])
                value = np.uint64(point)
            # as in FNV-1a: the shortest chain per character; fmix64 spreads it at the end
            h = (h ^ value) * _MULTIPLIER
            at = after
    return fmix64(h), start, at


@kernel(INT(U8R, I64R, U8R, I32R, INT, U64, I64, I64))
def tokenise(data, offsets, classes, fold, folded, hashes, starts, counts):
    """Hash every token of every text; returns their number.

    data, offsets (s + 1,): texts · classes, fold: tables of `scanner.text` · folded: 1 for lower-cased hashes ·
    hashes (t,), starts (t,): one entry per token, `starts` its first byte in data (both may be longer than needed; a
    text has at most as many tokens as bytes) · counts (s,): tokens of each text.
    """
    total = 0
    for s in range(len(offsets) - 1):
        at = offsets[s]
        end = offsets[s + 1]
        before = total
        while True:
            h, start, at = next_token(data, at, end, classes, fold, folded)
            if start == at:
                break
            hashes[total] = h
            starts[total] = start
            total += 1
        counts[s] = total - before
    return total
