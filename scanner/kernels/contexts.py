"""Leave-one-out context counts in linear time: what do the other rows say about the next token?

For a token t of row i and a context length k, `c_k` counts how often the k tokens before t stand in the *other* rows
followed by anything, and `j_k` how often they are followed by t's own token there. The row and all its exact copies
are left out (total minus copies times the row's own count); near copies stay in. Contexts do not cross rows.

The levels are k = 0, 1, 2, 3, 4, 6, 8, 12. A context that no other row holds cannot become known by growing, neither
here nor elsewhere, so its tokens take no part in the higher levels. `context_counts.py` has the loops: words are
numbered, so that a word by itself and the word before it are counted in plain arrays; pairs of words are counted over
slices of their hash space, and then, over such slices again, all contexts of two words and more that end in one pair.
Every token belongs to exactly one partition of a slice, so neither the number of threads nor the order of rows can
change a result.

What stays is fixed-width per token: the interpolated log-probability, the longest known context, the longest context
that went on with this very token, how rare the token is, and whether the row copies itself. Counts of a level are
handed out only on request. Pairs are told apart exactly, longer contexts by 64-bit hashes: two share one with
probability about n^2 / 2^65.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner import running
from scanner.kernels.context_counts import (
    COPIED,
    LONGER,
    RARITY_STEP,
    SEEN,
    UNIFORM,
    count_pairs,
    longer_contexts,
    mark_copied,
    number_words,
    single_words,
    sizes,
)
from scanner.kernels.grouping import sizes_of_groups

__all__ = ["COPIED", "LEVELS", "RARITY_STEP", "SEEN", "UNIFORM", "ContextFeatures", "LevelCounts", "context_features"]

LEVELS = (0, 1, *LONGER)
"""Context lengths in tokens; 0 is the token by itself."""

_SLICE = 1 << 22  # entries of 16 bytes counted at once, at most 67 MB per thread
_PARTITION = 1 << 11  # entries per partition: its tables of 4,096 slots, about 150 kB, stay in a core's second cache

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
    # not of its contexts: None where it is not known (see scanner.contextual.token_features)
    width: npt.NDArray[np.uint8] | None = None  # UTF-8 bytes
    background: npt.NDArray[np.float32] | None = None  # nats, log-probability in general text
    base: npt.NDArray[np.float32] | None = None  # probability that the untuned base gives it; None without --base
    opening: npt.NDArray[np.uint8] | None = None  # of the answer that it stands in, in OPENING_STEP doublings


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
    watch: Callable[[int, LevelCounts], None] | None = None,
) -> ContextFeatures:
    """Count all levels over all rows.

    tokens (T,) exact 64-bit token hashes of every segment of every row, row after row; offsets (n + 1,) into tokens;
    group (n,) rows with the same number are exact copies of one another (any integers). `watch(k, counts)` sees the
    counts of each level; it costs 96 bytes per token, so it is meant for small inputs.
    """
    if len(tokens) >= 1 << 31:
        raise ValueError(f"{len(tokens)} tokens: more than the counts can index ({1 << 31})")
    tokens = np.ascontiguousarray(tokens, dtype=np.uint64)
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    if len(tokens) == 0:
        return _nothing(len(offsets) - 1)
    copies = sizes_of_groups(group).astype(np.int32)
    total = len(tokens)
    word, others = np.empty(total, np.int32), np.empty(total, np.int32)
    known, agreed, rarity, within = (np.zeros(total, np.uint8) for _ in range(4))
    chance = others.view(np.float32)  # a token's count of pairs is read before its probability is written
    entropy = np.full(len(offsets) - 1, np.nan, np.float32)
    watched = np.full((len(LEVELS), 3, total if watch else 0), -1, np.int32)
    slices = _Slices(max(1, threads), word, offsets, known)
    with running.submitting(slices.threads) as submit:
        numbered = submit(number_words, tokens, word)
        slices.over_rows(mark_copied, tokens, offsets, after=(within,))
        count = numbered.result()
    last = word[offsets[1:][offsets[1:] > offsets[:-1]] - 1]  # followed by nothing
    followed = count - np.bincount(last, minlength=len(count)).astype(np.int32)
    kinds = np.zeros(len(count), np.int32)
    adding = Lock()

    def pairs(part: int, bits: int, ends: Int64, room: UInt64) -> None:
        mine = np.zeros(len(count), np.int32)
        count_pairs(word, offsets, copies, part, bits, ends, known, room, others, mine)
        with adding:
            np.add(kinds, mine, out=kinds)

    def longer(part: int, bits: int, ends: Int64, room: UInt64) -> None:
        longer_contexts(word, offsets, copies, part, bits, ends, room, chance, known, agreed, watched)

    slices.each(0, 0, pairs)
    found = (chance, known, agreed, rarity, within, entropy)
    slices.over_rows(single_words, word, offsets, copies, count, followed, kinds, others, after=(*found, watched))
    slices.each(1, 1, longer)
    if watch:
        for k, counts in zip(LEVELS, watched, strict=True):
            watch(k, LevelCounts(*counts))
    return ContextFeatures(np.log(chance, out=chance), *found[1:])


class _Slices:
    """Work shared among threads: by blocks of rows, or by slices of the hash space of word pairs."""

    def __init__(self, threads: int, word: npt.NDArray[np.int32], offsets: Int64, known: npt.NDArray[np.uint8]) -> None:
        self.threads, self.bounds = threads, _row_blocks(offsets, threads)
        self.word, self.offsets, self.known = word, offsets, known
        self.rooms: SimpleQueue[UInt64] = SimpleQueue()  # kept: a fresh one costs a page fault every 256 entries
        for _ in range(threads):
            self.rooms.put(np.empty((0, 2), np.uint64))

    def over_rows(self, kernel: Callable[..., Any], *before: Any, after: tuple[Any, ...] = ()) -> list[Any]:
        """Call a kernel for every block of rows: its first and last row stand between the arguments."""
        return running.run(lambda bound: kernel(*before, *bound, *after), self.bounds, self.threads)

    def each(self, back: int, least: int, work: Callable[[int, int, Int64, UInt64], None]) -> None:
        """Call work(part, bits, ends, room) for every slice of the pairs `back` before the tokens that are known."""
        slice_bits, bits = _bits(int(np.count_nonzero(self.known >= least)) if least else len(self.word))
        found = self.over_rows(sizes, self.word, self.offsets, back, bits, least, self.known)
        ends = np.cumsum(np.sum(found, axis=0).reshape(1 << slice_bits, -1), axis=1)

        def one(part: int) -> None:
            room = self.rooms.get()
            if len(room) <= ends[part, -1]:  # and one more, which takes what is of other slices
                room = np.empty((ends[part, -1] + 1, 2), np.uint64)
            work(part, bits, ends[part], room)
            self.rooms.put(room)

        running.run(one, range(len(ends)), self.threads)


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
