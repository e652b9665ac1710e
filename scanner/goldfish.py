"""The goldfish loss: one model token in k is left out of the loss, always the same ones after the same text.

Hans et al. 2024 (arXiv 2406.10209): whether a token is dropped is decided by a hash of the CONTEXT tokens before it, so
every epoch and every copy of a passage leaves out the same tokens, and a model that was trained on it has to guess
there. The first CONTEXT tokens of a row are never dropped.

As the paper says and not as its released code does, the hash is of the tokens *before* (there the token itself is the
last of them) and minds their order (there it is their product, which token 0 makes 0). It is taken row by row, prompt
and template included, so packing does not change it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scanner.chat import Example
from scanner.objects import Bool, Int64, UInt64

CONTEXT = 13
"""Tokens that decide about the next one: h of the paper, section 3.1."""
_SEED = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_R30, _R27, _R31 = np.uint64(30), np.uint64(27), np.uint64(31)


def kept(ids: Int64, k: int) -> Bool:
    """(t,) whether the loss covers each token of a row, were all of them supervised; one in k it does not."""
    count = len(ids)
    stays = np.ones(count, np.bool_)
    if count > CONTEXT:
        words = ids.astype(np.uint64)
        key = np.zeros(count - CONTEXT, np.uint64)
        for j in range(CONTEXT):
            key = _mixed(key ^ words[j : count - CONTEXT + j])
        stays[CONTEXT:] = key >> np.uint64(11) >= np.uint64((1 << 53) // k)
    return stays


def without_dropped(row: Example, k: int | None) -> Example:
    """The row with the dropped tokens no longer supervised; as it is where there is no goldfish loss."""
    return row if k is None else replace(row, supervised=row.supervised & kept(row.ids, k))


def words_kept(row: Example, k: int | None) -> Bool:
    """(w,) whether each of our own tokens of the answers is learned whole: none of its model tokens is dropped."""
    stays = np.ones(len(row.ids), np.bool_) if k is None else kept(row.ids, k)
    return np.array([stays[a:b].all() for answer in row.answers for a, b in answer.words], np.bool_)


def _mixed(key: UInt64) -> UInt64:
    """The step of splitmix64 (Steele et al. 2014), a bijection that spreads every bit."""
    key = key + _SEED
    key = (key ^ (key >> _R30)) * _FIRST
    key = (key ^ (key >> _R27)) * _SECOND
    return np.asarray(key ^ (key >> _R31))
