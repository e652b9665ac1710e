"""The order of hashes: what stands where does not depend on the order of rows."""

from __future__ import annotations

import numpy as np

from scanner.objects import Int64, UInt64


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
