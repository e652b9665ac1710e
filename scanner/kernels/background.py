"""How likely each token is in general text: three hashed tables of n-grams, looked up one token after another.

A token, a pair and a triple of tokens each have a table of buckets of 8 slots. A slot holds a fingerprint of the n-gram
(0: empty) and the number of its log-probability in a short list of levels; words and pairs also hold the number of
the back-off weight of the n-gram as a context, 0 where no longer n-gram begins with it. The probability of a token is
that of the longest n-gram found; for each one not found the back-off weight of its context is added (the form of an
ARPA file). A longer n-gram is looked for only where its context is known to go on, so that unknown text costs one look
per token and fingerprints that agree by chance can do little.

All tokens that are not in the table are one word here, "unknown": it has a probability after every context and is
itself a context. Its probability is shared out evenly among as many kinds as were left out of the table.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import F32, I32, I64R, INT, U8R, U64R, VOID, kernel, shared
from scanner.kernels._words import lowest_bit
from scanner.kernels.hashing import fmix64

SLOTS = 8
"""Slots per bucket: 16 bytes of fingerprints, a quarter of a cache line."""
UNKNOWN_KEY = np.uint64(0x9E3779B97F4A7C15)
"""Stands for every token that is not in the table."""

_F32R = types.Array(types.float32, 1, "C", readonly=True)
_STEP = np.uint64(0xD6E8FEB86659FD93)
_ONE, _R32 = np.uint64(1), np.uint64(32)
_LANES, _HIGHEST = np.uint64(0x0001000100010001), np.uint64(0x8000800080008000)


@shared
def longer_key(context, token):
    """Key of the n-gram that goes on with a token: context and token are keys; a token's key is its hash."""
    return fmix64(context * _STEP + token)


@shared
def _find(slots, bits, key):
    """The slot that holds a key, -1 where none does.

    slots: a slot of 16 bits is fingerprint << bits | level, four of them in a word, two words in a bucket. A lane of
    a word is 0 where the fingerprints agree; the lowest such lane is exact (Warren, Hacker's Delight, 6-1).
    """
    first = np.int64((key >> _R32) * np.uint64(len(slots) >> 1) >> _R32) << 1
    mark = max(key & np.uint64((1 << (16 - bits)) - 1), _ONE)
    wanted = (mark << np.uint64(bits)) * _LANES
    held = np.uint64((1 << 16) - (1 << bits)) * _LANES
    for word in range(first, first + 2):
        differs = (slots[word] ^ wanted) & held
        equal = (differs - _LANES) & ~differs & _HIGHEST
        if equal:
            return (word << 2) + (lowest_bit(equal) >> 4)
    return np.int64(-1)


@shared
def _level(slots, bits, slot):
    """The level in a slot."""
    return slots[slot >> 2] >> np.uint64((slot & 3) << 4) & np.uint64((1 << bits) - 1)


_TABLE = (U64R, U8R, U8R, _F32R, U64R, U8R, _F32R, U64R, _F32R, _F32R, _F32R, INT)


@kernel(VOID(U64R, I64R, *_TABLE, INT, INT, F32, I32))
def look_up(tokens, offsets, words, word_level, word_back, word_levels, pairs, pair_back, pair_levels,
            triples, triple_levels, back_levels, unknown, bits, first, last, out, strange):  # fmt: skip
    """Log-probabilities of the tokens of rows [first, last) and how many of each row's tokens are unknown.

    tokens (T,) exact hashes, offsets (n + 1,) rows · words, pairs, triples: slots of 16 bits, 4 per number, 8 per
    bucket; `bits` of a pair's and a triple's are the level, none of a word's · word_level, word_back, pair_back:
    levels of the same slot · *_levels: nats · unknown: log-probability (nats), back-off weight (nats) and log(kinds)
    of the unknown word · out (T,) nats · strange (n,).
    """
    for i in range(first, last):
        unseen = 0
        before = np.uint64(0)  # key of the word before; followed: whether any pair begins with it
        followed = False
        weight = np.float32(0.0)
        pair = np.uint64(0)  # key of the two words before
        pair_weight = np.int64(0)  # their back-off level, 0: no triple begins with them
        for t in range(offsets[i], offsets[i + 1]):
            key = tokens[t]
            slot = _find(words, 0, key)
            if slot >= 0:
                own = word_levels[word_level[slot]]
                next_weight = back_levels[word_back[slot]]
                next_followed = word_back[slot] != 0
            else:
                key = UNKNOWN_KEY
                own = unknown[0]
                next_weight = unknown[1]
                next_followed = True
            value = own
            next_pair = np.uint64(0)
            next_pair_weight = np.int64(0)
            if followed:
                value = weight + own
                next_pair = longer_key(before, key)
                found = _find(pairs, bits, next_pair)
                if found >= 0:
                    value = pair_levels[_level(pairs, bits, found)]
                    next_pair_weight = np.int64(pair_back[found])
                if pair_weight != 0:
                    found = _find(triples, bits, longer_key(pair, key))
                    if found >= 0:
                        value = triple_levels[_level(triples, bits, found)]
                    else:
                        value += back_levels[pair_weight]
            if slot < 0:
                value -= unknown[2]
                unseen += 1
            out[t] = min(value, np.float32(0.0))
            before = key
            followed = next_followed
            weight = next_weight
            pair = next_pair
            pair_weight = next_pair_weight
        strange[i] = unseen
