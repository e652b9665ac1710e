"""The items of the benchmarks as words, and the index of their runs that the data is streamed past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanner.kernels import ngrams
from scanner.objects import Int32, Int64, SegmentBatch, UInt8, UInt64
from scanner.text import code_point_classes, folded_code_points

Int8 = npt.NDArray[np.int8]

PROPOSED_ITEMS = 8
"""A run of SHINGLE words in more items of one benchmark than this is a phrase or a template and proposes nothing ..."""
OWN_ITEMS = 2
"""... and an n-gram counts only if one of its runs stands in at most so many."""
FEWEST_RUNS = 5
"""Distinct runs in common from which a pair is looked at: an n-gram of 13 words in common gives nine ..."""
PROPOSED_SHARE = 0.25
"""... or this share of the item's own runs, whichever is less."""
_BITS_PER_ENTRY = 16
_NEVER = 1 << 30


@dataclass(frozen=True)
class Items:
    """Evaluation items; texts 2 i and 2 i + 1 are question and answer of item i, as words (see kernels.ngrams)."""

    benchmarks: tuple[str, ...]
    benchmark: Int32  # (i,) index into benchmarks, ascending
    item: tuple[str, ...]  # its name in reports: its line or, where a line holds several, its number
    line: Int64  # (i,) from 1
    row_id: Int64  # (i,) the item's row among the evaluation rows
    words: UInt64  # (w,) hashes of the words of all texts
    text_at: Int64  # (2 i + 1,) into words
    letter: UInt64  # (i,) hash of the right choice's letter; 0 where the item is no multiple choice
    of_segment: Int64  # (s,) item of every segment of the evaluation rows
    part: Int8  # (s,) 0 where the segment belongs to its item's question, 1 to its answer, -1 to neither

    def __len__(self) -> int:
        return len(self.item)

    def lengths(self) -> Int64:
        """(2 i,) words of each text."""
        return np.diff(self.text_at)


@dataclass(frozen=True)
class Index:
    """Runs of words and whole texts of the items, by hash; made for kernels.ngrams.probe."""

    bits: UInt64
    keys: UInt64
    entry: Int32
    post_at: Int64
    post: Int32
    need: Int32  # (t,) distinct runs in common from which a text is proposed
    proposing: UInt8  # (w,) 1 where the run that starts here stands in few items
    own: UInt8  # (w,) 1 where the n-gram that starts here is the item's own
    entries: int

    @property
    def bytes(self) -> int:
        """Memory that the index takes while the data is streamed past it."""
        return sum(a.nbytes for a in (self.bits, self.keys, self.entry, self.post_at, self.post))


def words_of(batch: SegmentBatch) -> tuple[UInt64, Int64]:
    """(w,) word hashes of a batch's segments, and (s + 1,) where each segment's begin."""
    size = int(batch.offsets[-1] - batch.offsets[0]) if len(batch) else 0
    out = np.empty(size // 2 + len(batch) + 1, np.uint64)
    counts = np.empty(len(batch), np.int64)
    total = ngrams.words(batch.data, batch.offsets, code_point_classes(), folded_code_points(), out, counts)
    return out[:total], np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def ranges(begin: Int64, end: Int64) -> Int64:
    """All places of several ranges, one range after another."""
    size = end - begin
    return np.repeat(begin - np.concatenate(([0], np.cumsum(size)[:-1])), size) + np.arange(size.sum())


def build_index(items: Items, shortest_answer: int) -> Index:
    """The index of all runs of the items; answers of fewer words than `shortest_answer` are not looked for alone."""
    lengths = items.lengths()
    texts, total = len(lengths), len(items.words)
    whole = np.empty(texts, np.uint64)
    ngrams.whole_hashes(items.words, items.text_at, whole)
    benchmark = np.repeat(items.benchmark, 2)
    slots = _power_of_two(2 * (total + texts) + 16)
    bits = np.zeros(_power_of_two(_BITS_PER_ENTRY * (total + texts)) // 64 + 1, np.uint64)
    bits = np.zeros(_power_of_two(len(bits)), np.uint64)
    keys, entry = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
    of_run, in_items = np.empty(total, np.int32), np.zeros(total + 1, np.int32)
    counted = _first_of_kind(whole, benchmark)
    runs = ngrams.register(items.words, items.text_at, benchmark, counted, bits, keys, entry, of_run, in_items)
    kept = (in_items[:runs] <= PROPOSED_ITEMS).astype(np.uint8)
    is_run = of_run >= 0
    proposing = np.zeros(total, np.uint8)
    proposing[is_run] = kept[of_run[is_run]]
    rare = np.zeros(total + ngrams.GRAM, np.int64)
    rare[:total][is_run] = in_items[of_run[is_run]] <= OWN_ITEMS
    inside = np.concatenate(([0], np.cumsum(rare)))
    reach = ngrams.GRAM - ngrams.SHINGLE + 1
    own = (inside[reach : reach + total] - inside[:total] > 0).astype(np.uint8)
    remaining = np.repeat(items.text_at[1:], lengths) - np.arange(total)
    own[remaining < ngrams.GRAM] = 0

    post_at = np.zeros(runs + 1, np.int64)
    post = np.empty(total, np.int32)
    count = ngrams.post_runs(of_run, items.text_at, kept, post_at, post)
    is_answer = np.arange(texts) % 2 == 1
    wanted = np.flatnonzero((lengths > 0) & ~(is_answer & (lengths < shortest_answer)))
    distinct, of_text = np.unique(whole[wanted], return_inverse=True)
    ngrams.register_wholes(distinct, runs, bits, keys, entry)
    by_hash = np.argsort(of_text, kind="stable")
    post = np.concatenate((post[:count], (2 * wanted[by_hash] + 1).astype(np.int32)))
    post_at = np.concatenate((post_at, count + np.cumsum(np.bincount(of_text, minlength=len(distinct)))))

    sums = np.concatenate(([0], np.cumsum(proposing, dtype=np.int64)))
    usable = sums[items.text_at[1:]] - sums[items.text_at[:-1]]
    need = np.minimum(FEWEST_RUNS, np.maximum(1, np.ceil(PROPOSED_SHARE * usable)))
    need[is_answer & (lengths < shortest_answer)] = _NEVER
    return Index(bits, keys, entry, post_at, post, need.astype(np.int32), proposing, own, runs + len(distinct))


def _first_of_kind(whole: UInt64, benchmark: Int32) -> UInt8:
    """(t,) 1 for the first of equal texts in a benchmark."""
    order = np.lexsort((whole, benchmark))
    repeated = np.zeros(len(whole), np.bool_)
    same = (whole[order[1:]] == whole[order[:-1]]) & (benchmark[order[1:]] == benchmark[order[:-1]])
    repeated[order[1:]] = same
    return (~repeated).astype(np.uint8)


def _power_of_two(least: int) -> int:
    return 1 << max(4, (least - 1).bit_length())
