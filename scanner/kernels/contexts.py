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
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt
from numba import types

from scanner.kernels._jit import F32, I64, I64R, INT, U8, U64_2D, U64R, VOID, helper, kernel
from scanner.kernels.hashing import combine, fmix64, power

LEVELS = (0, 1, 2, 3, 4, 6, 8, 12)
"""Context lengths in tokens; 0 is the token by itself."""
UNIFORM = 1 / 50_000
"""Probability of a token no other row holds, before interpolation: one of about 50,000 words."""
RARITY_STEP = 1 / 8
"""Nats per unit of `ContextFeatures.rarity`."""
SEEN, COPIED = 1, 2
"""Bits of `ContextFeatures.within`: the token stood earlier in its row; so did the three tokens that end with it."""

_SLICE = 1 << 22  # entries of 24 bytes counted at once, at most 100 MB per thread
_PARTITION = 1 << 11  # entries per partition: two tables of 4,096 slots, about 150 kB, stay in a core's second cache

_ROW, _PLACE = np.uint64(32), np.uint64(0xFFFFFFFF)
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
    # of the token itself, not of its contexts: None where it is not known (see scanner.contextual.token_features)
    width: npt.NDArray[np.uint8] | None = None  # UTF-8 bytes
    background: npt.NDArray[np.float32] | None = None  # nats, log-probability in general text
    base: npt.NDArray[np.float32] | None = None  # probability that the untuned base gives it; None without --base


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
    if len(tokens) == 0:
        return _nothing(len(offsets) - 1)
    _, inverse, size = np.unique(group, return_inverse=True, return_counts=True)
    copies = size[inverse].astype(np.int64).reshape(-1)
    total = len(tokens)
    chance = np.zeros(total, np.float32)
    known, agreed, rarity, within = (np.zeros(total, np.uint8) for _ in range(4))
    entropy = np.full(len(offsets) - 1, np.nan, np.float32)
    alive = np.ones(total, np.uint8)
    threads = max(1, threads)
    rooms: SimpleQueue[npt.NDArray[np.uint64]] = SimpleQueue()
    with ThreadPoolExecutor(threads) as pool:
        bounds = _row_blocks(offsets, threads)
        for job in [pool.submit(_copying, tokens, offsets, a, b, within, entropy) for a, b in bounds]:
            job.result()
        for k in levels:
            slice_bits, bits = _bits(int(np.count_nonzero(alive)))
            watched = np.full((3, total if watch else 0), -1, np.int32)
            jobs = [pool.submit(_sizes, tokens, offsets, k, bits, alive, a, b) for a, b in bounds]
            sizes = np.sum([job.result() for job in jobs], axis=0)
            ends = np.cumsum(sizes.reshape(1 << slice_bits, -1), axis=1)

            for _ in range(threads - rooms.qsize()):
                rooms.put(np.empty((0, 3), np.uint64))

            def count(
                part: int, k: int = k, bits: int = bits, ends: Int64 = ends, watched: npt.NDArray[np.int32] = watched
            ) -> int:
                room = rooms.get()  # kept from level to level: a fresh one costs a page fault every 170 entries
                if len(room) < ends[part, -1]:
                    room = np.empty((ends[part, -1], 3), np.uint64)
                found = _level(
                    tokens, offsets, copies, k, part, bits, ends[part], room, alive, chance, known, agreed, watched
                )
                rooms.put(room)
                return int(found)

            kinds = sum(pool.map(count, range(len(ends))))
            if k == 0:
                jobs = [pool.submit(_unigram, offsets, copies, kinds, total, a, b, chance, rarity) for a, b in bounds]
                for job in jobs:
                    job.result()
            if watch:
                watch(k, LevelCounts(*watched))
    return ContextFeatures(np.log(chance, out=chance), known, agreed, rarity, within, entropy)


def _nothing(rows: int) -> ContextFeatures:
    none = np.zeros(0, np.uint8)
    return ContextFeatures(np.zeros(0, np.float32), none, none, none, none, np.full(rows, np.nan, np.float32))


def _bits(entries: int) -> tuple[int, int]:
    """log2 of the number of hash slices (at least two, so that two threads have work) and of partitions in all."""
    slices = max(1, math.ceil(math.log2(max(1, entries / _SLICE))))
    return slices, slices + min(11, max(0, math.ceil(math.log2(max(1, (entries >> slices) / _PARTITION)))))


def _row_blocks(offsets: Int64, parts: int) -> list[tuple[int, int]]:
    """Rows [a, b) per thread, about equal in tokens."""
    cuts = np.searchsorted(offsets, np.linspace(0, offsets[-1], parts + 1)[1:-1]).tolist()
    edges = [0, *cuts, len(offsets) - 1]
    return [(a, b) for a, b in pairwise(edges) if b > a]


_BASE = np.uint64(0x9E3779B97F4A7C13)  # odd, and 3 modulo 4: swapped tokens differ


@helper
def _roll(h, tokens, t, k, begin, leaving):
    """Rolling hash of the k tokens before t + 1, from that before t; tokens are hashes already, so a sum does."""
    h = h * _BASE + tokens[t]
    return h - leaving * tokens[t - k] if t - k >= begin else h


@kernel(I64(U64R, I64R, INT, INT, U8, INT, INT))
def _sizes(tokens, offsets, k, bits, alive, first, last):
    """Entries of rows [first, last) in each of 2 ** bits partitions of the hash space."""
    sizes = np.zeros(1 << bits, np.int64)
    shift = np.uint64(64 - bits)
    leaving = power(_BASE, k)
    for i in range(first, last):
        h = np.uint64(0)
        for t in range(offsets[i], offsets[i + 1]):
            if alive[t] and t - k >= offsets[i]:
                sizes[np.int64(fmix64(h if k > 0 else tokens[t]) >> shift)] += 1
            h = _roll(h, tokens, t, k, offsets[i], leaving)
    return sizes


@helper
def _slot(keys, mask, key):
    """Slot of a key, or of the first empty place (key 0) on its way."""
    s = np.int64(key & np.uint64(mask))
    while keys[s] != key and keys[s] != 0:
        s = (s + 1) & mask
    return s


@kernel(INT(U64R, I64R, I64R, INT, INT, INT, I64R, U64_2D, U8, F32, U8, U8, _I32_2D))
def _level(tokens, offsets, copies, k, part, bits, ends, entry, alive, chance, known, agreed, watched):
    """Count one level in one slice of the hash space and fold it into the features; returns the distinct contexts.

    The slice is partitions [part * len(ends), (part + 1) * len(ends)) of 2 ** bits; ends: last entry + 1 of each.
    entry: room for one record per entry (context, token, place | row << 32), so that scattering writes to one page per
    partition. At level 0 a token is its own context, so that its frequency is counted.
    """
    partitions = len(ends)
    shift = np.uint64(64 - bits)
    lowest = part * partitions
    place = np.zeros(partitions, np.int64)
    largest = ends[0]
    for q in range(1, partitions):
        place[q] = ends[q - 1]
        largest = max(largest, ends[q] - ends[q - 1])
    leaving = power(_BASE, k)
    for i in range(len(offsets) - 1):
        h = np.uint64(0)
        for t in range(offsets[i], offsets[i + 1]):
            if alive[t] and t - k >= offsets[i]:
                context = fmix64(h if k > 0 else tokens[t])
                q = np.int64(context >> shift) - lowest
                if 0 <= q < partitions:
                    e = place[q]
                    place[q] = e + 1
                    entry[e, 0] = context if context != 0 else np.uint64(1)  # 0 marks an empty slot
                    entry[e, 1] = tokens[t]
                    entry[e, 2] = np.uint64(t) | np.uint64(i) << np.uint64(32)
            h = _roll(h, tokens, t, k, offsets[i], leaving)

    capacity = 16
    while capacity < 2 * largest:
        capacity *= 2
    keys, pair_keys = np.empty(capacity, np.uint64), np.empty(capacity, np.uint64)
    count, own, kinds = np.empty(capacity, np.int32), np.zeros(capacity, np.int32), np.empty(capacity, np.int32)
    pair_count, pair_own = np.empty(capacity, np.int32), np.zeros(capacity, np.int32)
    slot, pair_slot = np.empty(largest, np.int32), np.empty(largest, np.int32)
    was, many = np.empty(largest, np.float32), np.empty(largest, np.int32)
    distinct = 0
    for q in range(partitions):
        a, b = (ends[q - 1] if q else 0), ends[q]
        size = 16
        while size < 2 * (b - a):
            size *= 2
        mask = size - 1
        for s in range(size):
            keys[s] = 0
            pair_keys[s] = 0
        for e in range(a, b):
            context = entry[e, 0]
            s = _slot(keys, mask, context)
            if keys[s] == 0:
                keys[s] = context
                count[s] = 0
                kinds[s] = 0
                distinct += 1
            count[s] += 1
            slot[e - a] = s
            if k == 0:
                continue  # the token is its own context: there is nothing after it to tell apart
            pair = fmix64(context ^ (entry[e, 1] * np.uint64(0xD6E8FEB86659FD93)))
            if pair == 0:
                pair = np.uint64(1)
            p = _slot(pair_keys, mask, pair)
            if pair_keys[p] == 0:
                pair_keys[p] = pair
                pair_count[p] = 0
                kinds[s] += 1
            pair_count[p] += 1
            pair_slot[e - a] = p
        for e in range(a, b):  # read at once what lies far apart: among the branches below, each would be waited for
            was[e - a] = chance[np.int64(entry[e, 2] & _PLACE)]
            many[e - a] = copies[np.int64(entry[e, 2] >> _ROW)]
        begin = a
        while begin < b:  # entries keep the order of tokens, so those of one row stand together
            owner = entry[begin, 2] >> _ROW
            end = begin
            while end < b and entry[end, 2] >> _ROW == owner:
                end += 1
            several = end - begin > 1  # most rows have one entry in a partition
            if several:
                for e in range(begin, end):
                    own[slot[e - a]] += 1
                    if k > 0:
                        pair_own[pair_slot[e - a]] += 1
            multiple = many[begin - a]
            for e in range(begin, end):
                s = slot[e - a]
                at = np.int64(entry[e, 2] & _PLACE)
                c = max(0, count[s] - multiple * (own[s] if several else 1))
                j = c
                if k > 0:
                    p = pair_slot[e - a]
                    j = max(0, pair_count[p] - multiple * (pair_own[p] if several else 1))
                d = kinds[s] - (1 if j == 0 else 0)
                if watched.shape[1] > 0:
                    watched[0, at], watched[1, at], watched[2, at] = c, j, d
                if k == 0:
                    chance[at] = j  # made a probability once the number of words is known
                elif c > 0:
                    known[at] = k
                    if j > 0:
                        agreed[at] = k
                    chance[at] = (j + d * was[e - a]) / (c + d)
                else:
                    alive[at] = 0
            if several:
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
