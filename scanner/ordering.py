"""The order of hashes: what stands where does not depend on the order of rows."""

from __future__ import annotations

import numpy as np

from scanner.objects import Int64, UInt64

_ROWS_AT_ONCE = 4096


def stable_order(keys: UInt64) -> Int64:
    """(n,) positions that sort well-mixed hashes (n, c), equal ones by position.

    The key's upper bits and the position share one word, so that words alone are sorted; should two different keys
    agree in those bits, all columns are sorted instead.
    """
    from scanner.kernels.sorting import sort_words

    n = len(keys)
    bits = np.uint64(max(1, n.bit_length()))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    words, room = keys[:, 0] & ~mask, np.empty(n, np.uint64)
    words |= np.arange(n, dtype=np.uint64)
    sort_words(words, room)
    twins = np.flatnonzero((words[1:] ^ words[:-1]) <= mask)
    words &= mask
    order = words.view(np.int64)
    if (keys[order[twins]] != keys[order[twins + 1]]).any():
        return np.lexsort(tuple(keys[:, c] for c in range(keys.shape[1] - 1, -1, -1))).astype(np.int64)
    return order


def distinct(parts: list[UInt64]) -> UInt64:
    """Sorted distinct words of the parts; for 64-bit words a sort is several times faster than np.unique."""
    values = np.concatenate(parts)
    values.sort()
    return values[np.concatenate(([True], values[1:] != values[:-1]))] if len(values) else values


def row_keys(table: np.ndarray) -> UInt64:
    """(n,) equal for equal rows of whole numbers (n, d): their product with fixed random numbers, modulo 2 ** 64."""
    random = np.random.default_rng(0).integers(1, 1 << 63, table.shape[1], dtype=np.uint64) | np.uint64(1)
    keys = np.empty(len(table), np.uint64)
    for at in range(0, len(table), _ROWS_AT_ONCE):  # a few bytes each become eight
        keys[at : at + _ROWS_AT_ONCE] = table[at : at + _ROWS_AT_ONCE].astype(np.uint64) @ random
    return keys
