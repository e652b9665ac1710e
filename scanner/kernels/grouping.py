"""Which rows may share a key: a filter that leaves the few that do, so that only these are sorted and compared.

Most keys of a data set occur once. Every key sets a bit of a small table, which stays in a core's cache; a key that
finds its bit set marks it. Rows whose bit is not marked share their key with nobody. About one row in 16 of the
others passes by chance; nothing that is shared is ever lost.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import I64, INT, U64, U64R, helper, kernel, maker

_SPACIOUS = 16
"""Bits of the table per key, at least: one key in this many meets another's bit by chance."""
_ONE = np.uint64(1)
_LOW = np.uint64(63)


@maker
def _table_for(count):
    """An empty table for `count` keys, (words, 2): seen once and seen again; and how far to shift a key for its bit."""
    bits = 6
    while (1 << bits) < _SPACIOUS * count:
        bits += 1
    return np.zeros((1 << (bits - 6), 2), np.uint64), np.uint64(64 - bits)


@helper
def _note(table, shift, key):
    place = key >> shift
    bit = _ONE << (place & _LOW)
    word = place >> np.uint64(6)
    seen = table[word, 0]
    table[word, 0] = seen | bit
    table[word, 1] |= seen & bit


@helper
def _was_noted_twice(table, shift, key):
    place = key >> shift
    return table[place >> np.uint64(6), 1] >> (place & _LOW) & _ONE


@kernel(INT(U64R, U64))
def keep_repeated(words, out):
    """Copy the words whose upper bits may occur in another word, in order; returns how many.

    words (n,): well-mixed in the upper bits · out: room for n.
    """
    table, shift = _table_for(len(words))
    for i in range(len(words)):
        _note(table, shift, words[i])
    kept = np.int64(0)
    for i in range(len(words)):
        out[np.uint64(kept)] = words[i]  # written always, counted if wanted: faster than a branch that varies
        kept += np.int64(_was_noted_twice(table, shift, words[i]))
    return kept


@kernel(INT(types.Array(types.uint64, 2, "C", readonly=True), I64))
def maybe_repeated(keys, out):
    """Positions of the rows that may share their key (n, c) with another row, ascending; returns how many.

    keys: well-mixed in their first column · out: room for n.
    """
    n = len(keys)
    table, shift = _table_for(n)
    for i in range(n):
        _note(table, shift, keys[i, 0])
    kept = np.int64(0)
    for i in range(n):
        out[np.uint64(kept)] = i
        kept += np.int64(_was_noted_twice(table, shift, keys[i, 0]))
    return kept


def sizes_of_groups(number: np.ndarray) -> np.ndarray:
    """(n,) how many rows have the same number, each by itself included."""
    _, group, size = np.unique(number, return_inverse=True, return_counts=True)
    return size[group.reshape(-1)]
