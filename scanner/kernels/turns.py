"""Hashes of runs of tokens, and the scripts that rows are written in."""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import I64R, INT, U8, U8R, U64, U64R, VOID, kernel
from scanner.kernels.hashing import combine, fmix64
from scanner.kernels.tokens import code_point_at

HAN, KANA = 1, 2
"""Scripts that the kernel must know: a text with kana in it is Japanese, however many of its characters are Han."""
FIRST_DENSE, LAST_DENSE, DENSE_WEIGHT = 1, 3, 3
"""Han, kana and Hangul say about as much in one character as others do in three letters."""
KANA_SHARE = 10
"""Percent of kana among Han and kana from which a text counts as Japanese."""


@kernel(VOID(U64R, I64R, U64))
def hash_runs(tokens, counts, hashes):
    """Hash of every run of tokens, in order; tokens (t,): their hashes, run after run · counts, hashes (s,)."""
    at = 0
    for s in range(len(counts)):
        h = np.uint64(5)
        for i in range(at, at + counts[s]):
            h = combine(h, tokens[i])
        hashes[s] = fmix64(h)
        at += counts[s]


@kernel(INT(U8R, I64R, I64R, U8R, U8R, INT, U8))
def scripts(data, offsets, row_start, part, script_of, kinds, found):
    """The script that most letters of each row's parts are in; returns how many parts have letters.

    part (s,): 0 skipped, 1 prompt, 2 answer · script_of (0x110000,): script of every code point, 0 for what is no
    letter · kinds: number of scripts, 0 included · found (2 n,): script of each row's prompt and answer, 0 for none.
    """
    counts = np.zeros((2, kinds), np.int64)
    measured = 0
    for r in range(len(row_start) - 1):
        counts[:] = 0
        for s in range(row_start[r], row_start[r + 1]):
            if part[s] == 0:
                continue
            side = np.int64(part[s]) - 1
            at = offsets[s]
            end = offsets[s + 1]
            letters = 0
            rare = 0
            for i in range(at, end):  # subtle: two plain sums, so that the compiler does 32 bytes at a time
                letters += (data[i] | 32 >= 97) & (data[i] | 32 <= 122)
                rare += data[i] >= 0x80
            counts[side, script_of[97]] += letters
            while rare and at < end:
                if data[at] < 0x80:
                    at += 1
                    continue
                point, at = code_point_at(data, at)
                counts[side, script_of[point]] += 1
        for half in range(2):
            counts[half, 0] = 0
            for kind in range(FIRST_DENSE, LAST_DENSE + 1):
                counts[half, kind] *= DENSE_WEIGHT
            kana = counts[half, KANA]
            han = counts[half, HAN]
            if 100 * kana >= KANA_SHARE * (kana + han) and kana:
                counts[half, KANA] = kana + han
                counts[half, HAN] = 0
            best = 0
            for kind in range(1, kinds):
                if counts[half, kind] > counts[half, best]:
                    best = kind
            found[2 * r + half] = best
            measured += best > 0
    return measured
