"""How well trodden the beginning of an answer is: how often other answers go on in the same way, token by token.

A token of an answer's first HEAD ones goes on as in another answer where it stands there, too, behind the same CONTEXT
tokens, also among the first HEAD; what stands before the beginning is the same everywhere, whatever was asked. The
row's own answers and those of its exact copies are left out, near copies stay in. The opening of an answer is the mean
over these tokens of log2(1 + number of times): 0 for an answer that begins as no other does, n where it shares all of
its first words with 2 ** n - 1 others. Contexts (`contexts.py`) look at one token at a time, and behind a prompt that
is new; rows that share a template or a phrase are learned together all the same.

Stretches are told apart by 64-bit hashes (two of n share one with probability about n^2 / 2^65) and counted in
partitions of the hash space, each in a table that fits a core's cache. Linear time; 20 bytes per token looked at.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numba import types

from scanner import running
from scanner.kernels._jit import I32, I32R, I64R, INT, U8, U64, U64R, VOID, helper, kernel
from scanner.kernels.context_counts import slot_of, table_size
from scanner.kernels.grouping import sizes_of_groups

HEAD = 24
"""Tokens of an answer that are looked at."""
CONTEXT = 4
"""Tokens before one that must be the same."""
OPENING_STEP = 1 / 16
"""Doublings per unit of an opening."""

_PARTITION = 1 << 14  # entries per partition
_ODD, _HIGH = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_U32 = types.Array(types.uint32, 1, "C")

Int64 = npt.NDArray[np.int64]


def openings(
    tokens: npt.NDArray[np.uint64], row: Int64, start: Int64, end: Int64, group: Int64, threads: int = 2
) -> npt.NDArray[np.uint8]:
    """(m,) the opening of each answer, in OPENING_STEP doublings, at most 255; 0 for an answer without a token.

    tokens (T,) hashes; row, start, end (m,): answers as tokens [start, end), `row` ascending; group (n,) equal for rows
    that are exact copies of one another.
    """
    copies = sizes_of_groups(group).astype(np.int32)
    at = np.concatenate(([0], np.cumsum(np.minimum(end - start, HEAD)))).astype(np.int64)
    key, others = np.empty(at[-1], np.uint64), np.empty(at[-1], np.int32)
    blocks = [(part.start, part.stop) for part in running.shares(len(row), running.parts_for(len(key), threads))]
    row, start = np.ascontiguousarray(row, np.int64), np.ascontiguousarray(start, np.int64)
    running.run(lambda block: hash_heads(tokens, start, at, *block, key), blocks, threads)
    bits = max(0, math.ceil(math.log2(max(1, len(key) / _PARTITION))))
    entry, ends = np.empty(len(key), np.uint32), np.zeros((1 << bits) + 1, np.int64)
    partition(key, bits, entry, ends)
    edges = np.linspace(0, 1 << bits, min(1 << bits, 4 * threads) + 1).astype(np.int64)
    running.run(lambda some: count_others(key, entry, ends, row, at, copies, *some, others), pairwise(edges), threads)
    found = np.empty(len(row), np.uint8)
    running.run(lambda block: mean_doublings(others, at, *block, found), blocks, threads)
    return found


@kernel(VOID(U64R, I64R, I64R, INT, INT, U64))
def hash_heads(tokens, start, at, first, last, key):
    """Hash each of the first tokens of answers [first, last) with the CONTEXT before it; never 0.

    at (m + 1,): where the entries of each answer begin.
    """
    for i in range(first, last):
        for j in range(at[i + 1] - at[i]):
            h = np.uint64(0)
            for k in range(j - CONTEXT, j + 1):
                h = (h ^ (tokens[start[i] + k] if k >= 0 else np.uint64(0))) * _ODD
                h ^= h >> _HIGH
            key[at[i] + j] = max(h * _ODD, np.uint64(1))


@kernel(VOID(U64R, INT, _U32, types.Array(types.int64, 1, "C")))
def partition(key, bits, entry, ends):
    """Entries in order within each of 2 ** bits partitions of the hash space: entry[ends[p]:ends[p + 1]]."""
    if bits == 0:  # a shift by 64 is none
        for e in range(len(key)):
            entry[e] = e
        ends[1] = len(key)
        return
    shift = np.uint64(64 - bits)
    for e in range(len(key)):
        ends[(key[e] >> shift) + np.uint64(1)] += 1
    for p in range(1, len(ends)):
        ends[p] += ends[p - 1]
    place = ends[:-1].copy()
    for e in range(len(key)):
        p = key[e] >> shift
        entry[place[p]] = e
        place[p] += 1


@helper
def _answer_of(at, e, low):
    """The answer that an entry is of, `low` or a later one: steps that double, then halves."""
    step = 1
    while low + step < len(at) and at[low + step] <= e:
        low += step
        step *= 2
    high = min(low + step, len(at) - 1)
    while high - low > 1:
        middle = (low + high) // 2
        if at[middle] <= e:
            low = middle
        else:
            high = middle
    return low


@kernel(VOID(U64R, types.Array(types.uint32, 1, "C", readonly=True), I64R, I64R, I64R, I32R, INT, INT, I32))
def count_others(key, entry, ends, row, at, copies, first, last, others):
    """How often the stretch of each entry of partitions [first, last) stands in other rows; others (E,) is filled.

    copies (n,): rows with the very text of each row, itself included.
    """
    largest = 0
    for p in range(first, last):
        largest = max(largest, ends[p + 1] - ends[p])
    capacity = table_size(largest)
    table, count = np.empty(capacity, np.uint64), np.empty(capacity, np.int32)
    own, slot = np.zeros(capacity, np.int32), np.empty(largest, np.int64)
    for p in range(first, last):
        a, b = ends[p], ends[p + 1]
        size = table_size(b - a)
        table[:size] = 0
        for x in range(a, b):
            k = key[entry[x]]
            s = slot_of(table, size - 1, k * _ODD >> np.uint64(24), k)
            if table[s] == 0:
                table[s] = k
                count[s] = 0
            count[s] += 1
            slot[x - a] = s
        begin, answer = a, 0
        while begin < b:  # entries keep the order of answers, so those of one row stand together
            answer = _answer_of(at, np.int64(entry[begin]), answer)
            after = answer + 1
            while after < len(row) and row[after] == row[answer]:
                after += 1
            end = begin
            while end < b and entry[end] < at[after]:
                own[slot[end - a]] += 1
                end += 1
            for x in range(begin, end):
                s = slot[x - a]
                others[entry[x]] = max(0, count[s] - copies[row[answer]] * own[s])
            for x in range(begin, end):
                own[slot[x - a]] = 0
            begin = end


@kernel(VOID(I32R, I64R, INT, INT, U8))
def mean_doublings(others, at, first, last, out):
    """The opening of answers [first, last): the mean of log2(1 + others) over their entries."""
    for i in range(first, last):
        total = 0.0
        for e in range(at[i], at[i + 1]):
            total += math.log2(1.0 + others[e])
        out[i] = np.uint8(min(255.0, np.rint(total / max(1, at[i + 1] - at[i]) / OPENING_STEP)))
