"""Sorting words that are well mixed, and gathering what stands in a batch: one pass over memory each."""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import B1R, I32, I32R, I64, I64R, INT, U8, U8R, U64, VOID, kernel

_BITS, _PASSES = 8, 5
_LOW = np.uint64((1 << _BITS) - 1)
B1 = types.Array(types.boolean, 1, "C")


@kernel(VOID(U64, U64))
def sort_words(words, room):
    """Sort words whose upper bits are well mixed; room: as long as words, overwritten.

    Counting sort on the upper _PASSES * _BITS bits, then every word moves past the few greater ones before it. Right
    for any words, but slow where many agree in these bits and are out of order in the others.
    """
    n = len(words)
    first = 64 - _BITS * _PASSES
    place = np.zeros((_PASSES, 1 << _BITS), np.int64)
    for i in range(n):
        for p in range(_PASSES):
            place[p, words[i] >> np.uint64(first + _BITS * p) & _LOW] += 1
    for p in range(_PASSES):
        before = 0
        for digit in range(1 << _BITS):
            count = place[p, digit]
            place[p, digit] = before
            before += count
    source, target = words, room
    for p in range(_PASSES):
        shift = np.uint64(first + _BITS * p)
        for i in range(n):
            digit = source[i] >> shift & _LOW
            target[np.uint64(place[p, digit])] = source[i]
            place[p, digit] += 1
        source, target = target, source
    for i in range(n):  # an odd number of passes: they stand in `room`
        word = room[i]
        at = i
        while at > 0 and words[at - 1] > word:
            words[at] = words[at - 1]
            at -= 1
        words[at] = word


@kernel(INT(I64R, I64R, I64R, I32R, U8R, B1R, INT, INT, I64, I64, I32, U8, B1))
def take_segments(
    rows, row_start, offsets, segment, role, supervised, shift, at, begin, end, out_segment, out_role, out_supervised
):
    """The segments of some rows of a batch, written to the outputs from `at` on; returns where the next ones go.

    rows: in the batch, each with segments row_start[r]:row_start[r + 1] · shift: added to the offsets of the texts.
    """
    for r in rows:
        for s in range(row_start[r], row_start[r + 1]):
            begin[at] = offsets[s] + shift
            end[at] = offsets[s + 1] + shift
            out_segment[at] = segment[s]
            out_role[at] = role[s]
            out_supervised[at] = supervised[s]
            at += 1
    return at
