"""Leave-one-out context counts in linear time: what do the other rows say about the next token?

For a token t of row i and a context length k, `c_k` counts how often the k tokens before t stand in the *other* rows
followed by anything, and `j_k` how often they are followed by t's own token there. The row and all its exact copies
are left out (total minus copies times the row's own count); near copies stay in. Contexts do not cross rows.

The levels k = 0, 1, 2, 3, 4, 6, 8, 12 are gone through upwards. A context that no other row holds cannot become known
by growing, neither here nor elsewhere, so its tokens take no part in the higher levels. Each level runs over slices of
the hash space, a slice is scattered into partitions that fit a core's cache, and a partition is counted in two
open-addressing tables (contexts, and contexts with their continuation). Every token belongs to exactly one partition,
so neither the number of threads nor the order of rows can change a result.

What stays is fixed-width per token: the interpolated log-probability, the longest known context, the longest context
that went on with this very token, how rare the token is, and whether the row copies itself. Counts of a level are
handed out only on request. Keys are 64-bit hashes; two contexts share one with probability about n^2 / 2^65.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numba import njit, types

from scanner.kernels._jit import F32, I64R, INT, U8, U64R, VOID, kernel
from scanner.kernels.hashing import combine, fmix64

LEVELS = (0, 1, 2, 3, 4, 6, 8, 12)
"""Context lengths in tokens; 0 is the token by itself."""
UNIFORM = 1 / 50_000
"""Probability of a token no other row holds, before interpolation: one of about 50,000 words."""
RARITY_STEP = 1 / 8
"""Nats per unit of `ContextFeatures.rarity`."""
SEEN, COPIED = 1, 2
"""Bits of `ContextFeatures.within`: the token stood earlier in its row; so did the three tokens that end with it."""

_SLICE = 1 << 22  # entries of 24 bytes counted at once, about 100 MB per thread
_PARTITION = 1 << 12  # entries per partition: two tables of 8,192 slots, about 300 kB, stay in a core's second cache

_I32_2D = types.Array(types.int32, 2, "C")

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ContextFeatures:
    """What the other rows, and the row itself, say about each token: (T,) over all tokens unless said."""

    log_probability: npt.NDArray[np.float32]  # nats, interpolated leave-one-out probability (Witten-Bell)
    known: npt.NDArray[np.uint8]  # longest of LEVELS whose context stands in another row; 0: none
    agreed: npt.NDArray[np.uint8]  # longest of LEVELS whose context went on with this token in another row; 0: none
    rarity: npt.NDArray[np.uint8]  # -log of the token's own leave-one-out frequency, in RARITY_STEP nats, at most 255
    within: npt.NDArray[np.uint8]  # SEEN | COPIED
    entropy: npt.NDArray[np.float32]  # (n,) of the row's tokens over its maximum log(length); NaN under 2 tokens


@dataclass(frozen=True)
class LevelCounts:
    """The counts behind one level, (T,) each; -1 where the context does not exist or no other row can hold it."""

    contexts: npt.NDArray[np.int32]  # c_k
    successes: npt.NDArray[np.int32]  # j_k
    kinds: npt.NDArray[np.int32]  # distinct continuations of the context (without this token if it is the row's alone)


def context_features(
    tokens: UInt64,
    offsets: Int64,
    group: Int64,
    threads: int = 2,
    levels: tuple[int, ...] = LEVELS,
    watch: Callable[[int, LevelCounts], None] | None = None,
) -> ContextFeatures:
    """Count all levels over all rows.

    tokens (T,) exact 64-bit token hashes of every segment of every row, row after row; offsets (n + 1,) into tokens;
    group (n,) rows with the same number are exact copies of one another (any integers). `watch(k, counts)` sees the
    counts of each level; it costs 12 bytes per token, so it is meant for small inputs.
    """
    if len(tokens) >= 1 << 31:
        raise ValueError(f"{len(tokens)} tokens: more than the counts can index ({1 << 31})")
    tokens = np.ascontiguousarray(tokens, dtype=np.uint64)
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    _, inverse, size = np.unique(group, return_inverse=True, return_counts=True)
    copies = size[inverse].astype(np.int64).reshape(-1)
    total = len(tokens)
    chance = np.zeros(total, np.float32)
    known, agreed, rarity, within = (np.zeros(total, np.uint8) for _ in range(4))
    entropy = np.full(len(offsets) - 1, np.nan, np.float32)
    alive = np.ones(total, np.uint8)
    threads = max(1, threads)
    with ThreadPoolExecutor(threads) as pool:
        bounds = _row_blocks(offsets, threads)
        for job in [pool.submit(_copying, tokens, offsets, a, b, within, entropy) for a, b in bounds]:
            job.result()
        for k in levels:
            bits = _slice_bits(total)
            watched = np.full((3, total if watch else 0), -1, np.int32)

            def count(part: int, k: int = k, bits: int = bits, watched: npt.NDArray[np.int32] = watched) -> int:
                return int(_level(tokens, offsets, copies, k, part, bits, alive, chance, known, agreed, watched))

            kinds = sum(pool.map(count, range(1 << bits)))
            if k == 0:
                jobs = [pool.submit(_unigram, offsets, copies, kinds, total, a, b, chance, rarity) for a, b in bounds]
                for job in jobs:
                    job.result()
            if watch:
                watch(k, LevelCounts(*watched))
    return ContextFeatures(np.log(chance, out=chance), known, agreed, rarity, within, entropy)


def _slice_bits(entries: int) -> int:
    """log2 of the number of hash slices; at least two, so that two threads have work."""
    return max(1, math.ceil(math.log2(max(1, entries / _SLICE))))


def _row_blocks(offsets: Int64, parts: int) -> list[tuple[int, int]]:
    """Rows [a, b) per thread, about equal in tokens."""
    cuts = np.searchsorted(offsets, np.linspace(0, offsets[-1], parts + 1)[1:-1]).tolist()
    edges = [0, *cuts, len(offsets) - 1]
    return [(a, b) for a, b in pairwise(edges) if b > a]


@njit(nogil=True)
def _context(tokens, t, k):
    """Hash of the k tokens before t; at level 0 of the token itself, whose own frequency is counted there."""
    if k == 0:
        return fmix64(tokens[t])
    h = np.uint64(k)
    for s in range(t - k, t):
        h = combine(h, tokens[s])
    return fmix64(h)


@njit(nogil=True)
def _slot(keys, mask, key):
    """Slot of a key, or of the first empty place (key 0) on its way."""
    s = np.int64(key & np.uint64(mask))
    while keys[s] != key and keys[s] != 0:
        s = (s + 1) & mask
    return s


@kernel(INT(U64R, I64R, I64R, INT, INT, INT, U8, F32, U8, U8, _I32_2D))
def _level(tokens, offsets, copies, k, part, bits, alive, chance, known, agreed, watched):
    """Count one level in one slice of the hash space and fold it into the features; returns the distinct contexts."""
    rows = len(offsets) - 1
    shift = np.uint64(64 - bits)
    mine = np.uint64(part)

    expected = 0
    for t in range(len(tokens)):
        expected += alive[t]
    expected >>= bits
    partition_bits = 0
    while (expected >> partition_bits) > _PARTITION and partition_bits < 14:
        partition_bits += 1
    partitions = 1 << partition_bits
    place = np.zeros(partitions + 1, np.int64)
    fine = np.uint64(64 - bits - partition_bits)
    low = np.uint64(partitions - 1)
    for i in range(rows):
        for t in range(offsets[i] + k, offsets[i + 1]):
            if alive[t]:
                h = _context(tokens, t, k)
                if h >> shift == mine:
                    place[np.int64((h >> fine) & low) + 1] += 1
    largest = 0
    for q in range(partitions):
        largest = max(largest, place[q + 1])
        place[q + 1] += place[q]
    entries = place[partitions]

    context = np.empty(entries, np.uint64)
    word = np.empty(entries, np.uint64)
    where = np.empty(entries, np.int32)
    row = np.empty(entries, np.int32)
    at = place[:-1].copy()
    for i in range(rows):
        for t in range(offsets[i] + k, offsets[i + 1]):
            if alive[t]:
                h = _context(tokens, t, k)
                if h >> shift == mine:
                    q = np.int64((h >> fine) & low)
                    e = at[q]
                    at[q] = e + 1
                    context[e] = h if h != 0 else np.uint64(1)  # 0 marks an empty slot
                    word[e] = tokens[t]
                    where[e] = t
                    row[e] = i

    capacity = 16
    while capacity < 2 * largest:
        capacity *= 2
    keys, pair_keys = np.empty(capacity, np.uint64), np.empty(capacity, np.uint64)
    count, own, kinds = np.empty(capacity, np.int32), np.zeros(capacity, np.int32), np.empty(capacity, np.int32)
    pair_count, pair_own = np.empty(capacity, np.int32), np.zeros(capacity, np.int32)
    slot, pair_slot = np.empty(largest, np.int32), np.empty(largest, np.int32)
    distinct = 0
    for q in range(partitions):
        a, b = place[q], place[q + 1]
        size = 16
        while size < 2 * (b - a):
            size *= 2
        mask = size - 1
        for s in range(size):
            keys[s] = 0
            pair_keys[s] = 0
        for e in range(a, b):
            s = _slot(keys, mask, context[e])
            if keys[s] == 0:
                keys[s] = context[e]
                count[s] = 0
                kinds[s] = 0
                distinct += 1
            count[s] += 1
            slot[e - a] = s
            if k == 0:
                continue  # the token is its own context: there is nothing after it to tell apart
            pair = fmix64(context[e] ^ (word[e] * np.uint64(0xD6E8FEB86659FD93)))
            if pair == 0:
                pair = np.uint64(1)
            p = _slot(pair_keys, mask, pair)
            if pair_keys[p] == 0:
                pair_keys[p] = pair
                pair_count[p] = 0
                kinds[s] += 1
            pair_count[p] += 1
            pair_slot[e - a] = p
        begin = a
        while begin < b:  # entries keep the order of tokens, so those of one row stand together
            i = row[begin]
            end = begin
            while end < b and row[end] == i:
                own[slot[end - a]] += 1
                if k > 0:
                    pair_own[pair_slot[end - a]] += 1
                end += 1
            for e in range(begin, end):
                s, t = slot[e - a], where[e]
                c = max(0, count[s] - copies[i] * own[s])
                j = c
                if k > 0:
                    p = pair_slot[e - a]
                    j = max(0, pair_count[p] - copies[i] * pair_own[p])
                d = kinds[s] - (1 if j == 0 else 0)
                if watched.shape[1] > 0:
                    watched[0, t], watched[1, t], watched[2, t] = c, j, d
                if k == 0:
                    chance[t] = j  # made a probability once the number of words is known
                elif c > 0:
                    known[t] = k
                    if j > 0:
                        agreed[t] = k
                    chance[t] = (j + d * chance[t]) / (c + d)
                else:
                    alive[t] = 0
            for e in range(begin, end):
                own[slot[e - a]] = 0
                if k > 0:
                    pair_own[pair_slot[e - a]] = 0
            begin = end
    return distinct


@kernel(VOID(I64R, I64R, INT, INT, INT, INT, F32, U8))
def _unigram(offsets, copies, kinds, total, first, last, chance, rarity):
    """Turn each token's leave-one-out count into its probability and its rarity."""
    for i in range(first, last):
        others = total - copies[i] * (offsets[i + 1] - offsets[i])
        for t in range(offsets[i], offsets[i + 1]):
            p = (chance[t] + kinds * UNIFORM) / (others + kinds)
            chance[t] = p
            rarity[t] = np.uint8(min(255.0, -math.log(p) / RARITY_STEP))


@kernel(VOID(U64R, I64R, INT, INT, U8, F32))
def _copying(tokens, offsets, first, last, within, entropy):
    """Mark tokens that stood earlier in their row, and tokens that end three tokens which did; the row's entropy."""
    longest = 1
    for i in range(first, last):
        longest = max(longest, offsets[i + 1] - offsets[i])
    capacity = 16
    while capacity < 4 * longest:
        capacity *= 2
    keys, count = np.zeros(capacity, np.uint64), np.zeros(capacity, np.int32)
    used = np.empty(2 * longest, np.int64)
    for i in range(first, last):
        a, b = offsets[i], offsets[i + 1]
        size = 16
        while size < 4 * (b - a):
            size *= 2
        filled = 0
        repeated = 0.0  # sum of c log c over the distinct tokens
        for t in range(a, b):
            for length in (1, 3):
                if t - length + 1 < a:
                    continue
                h = np.uint64(length)
                for s in range(t - length + 1, t + 1):
                    h = combine(h, tokens[s])
                h = fmix64(h)
                if h == 0:
                    h = np.uint64(1)
                s = _slot(keys, size - 1, h)
                if keys[s] == 0:
                    keys[s] = h
                    count[s] = 1
                    used[filled] = s
                    filled += 1
                else:
                    within[t] |= SEEN if length == 1 else COPIED
                    c = count[s]
                    count[s] = c + 1
                    if length == 1:
                        repeated += (c + 1) * math.log(c + 1.0) - c * math.log(float(c))
        for f in range(filled):
            keys[used[f]] = 0
        if b - a > 1:
            most = math.log(float(b - a))
            entropy[i] = np.float32(max(0.0, (most - repeated / (b - a)) / most))
