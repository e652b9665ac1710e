"""Answers that stand inside another row's: every one, however much longer the other is.

    answers -> shingle sets -> those of whose shingles enough stand in other answers -> their rarest shingles
            -> the answers that hold one of these -> compared shingle by shingle

Sketches find what is as long as its copy; a short answer within a long one has too little of it. But where t of an
answer's n shingles must be found, any n - t + 1 of them hold one that is (the prefix filter of Chaudhuri, Ganti and
Kaushik 2006): the rarest, so that there is little to look at. Nothing is missed but of phrases that stand in more
than HOLDERS answers; such answers are counted. One row stands for all rows with the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scanner import running
from scanner.fingerprints import PART_OF_ROLE
from scanner.kernels import holders, similarity
from scanner.kernels import minhash as shingling
from scanner.objects import Fingerprints, Float32, Int64, Rows, SegmentBatch, UInt8, UInt64
from scanner.pairing import CONTAINED, packed, unpacked
from scanner.ranges import laid_out, place_within
from scanner.signals._measures import CONTAINED_SHINGLES
from scanner.storedtext import TextReader
from scanner.text import code_point_classes, folded_code_points

HOLDERS = 64
"""Most answers with one shingle that are all looked at; more make it a common phrase."""
PARTNERS = 16
"""Answers that one is told to stand in: those that it makes up the most of."""
_PAIRS_AT_ONCE = 1 << 20
_LOW = 0xFFFFFFFF
_LEAST_BITS = 8
_BUCKETS_PER_SHINGLE = 4
"""For counting: shingles that share a bucket look more frequent than they are, which only adds candidates."""


@dataclass(frozen=True)
class Inside:
    """Pairs of rows of which the first one's answer stands inside the second one's, and not the other way round too."""

    inner: Int64  # (p,) positions; the likest pair of each answer first, in content order, then the next ones
    outer: Int64  # (p,)
    left_out: int  # pairs beyond PARTNERS
    common: int  # answers with a phrase that more than HOLDERS hold: of these further pairs may be missing


@dataclass(frozen=True)
class _Sets:
    """Shingles of distinct answers; answer i has shingle[bounds[i]:bounds[i + 1]], ascending."""

    position: Int64  # (m,) of the row that stands for the answer
    rank: Int64  # (m,) its place in content order
    shingle: UInt64
    bounds: Int64  # (m + 1,)
    counts: UInt8  # (2^b,) at most so many answers hold the shingles whose hash begins with these bits

    @property
    def shift(self) -> int:
        """Lower bits of a hash that its bucket does not depend on."""
        return 65 - len(self.counts).bit_length()

    def bucket(self, shingle: UInt64) -> Int64:
        """Its place in `counts`."""
        return (shingle >> np.uint64(self.shift)).astype(np.int64)


def needed(size: Int64) -> Int64:
    """How many of so many shingles make an answer contained."""
    exact = np.ceil(np.round(CONTAINED * size, 6))  # subtle: .95 * 60 is 57, and not the next number above it
    return exact.astype(np.int64)


def find(rows: Rows, prints: Fingerprints, reader: TextReader, width: int, threads: int) -> Inside:
    """Answers of CONTAINED_SHINGLES or more of which CONTAINED stand inside another answer."""
    sets = _sets(rows, prints, reader, width, threads)
    size = np.diff(sets.bounds)
    found = np.empty(len(size), np.int64)
    holders.held_twice(sets.shingle, sets.bounds, sets.shift, sets.counts, found)
    some = np.flatnonzero((size >= CONTAINED_SHINGLES) & (found >= needed(size)))
    answer, shingle = _rarest(sets, some)
    of, outer, common = _held_by(sets, answer, shingle)
    inner = answer[of]
    apart = (inner != outer) & (size[outer] >= needed(size[inner]))
    pairs = np.unique(packed(inner[apart], outer[apart]))
    share = _shares(sets, pairs, threads)
    one_way = (share[:, 0] >= CONTAINED) & (share[:, 1] < CONTAINED)
    share = share[one_way]
    inner, outer = unpacked(pairs[one_way])
    order = np.lexsort((sets.rank[outer], -share[:, 1], inner))
    place = place_within(np.bincount(inner, minlength=len(size)))
    told = order[place < PARTNERS]
    told = told[np.lexsort((sets.rank[inner[told]], place[place < PARTNERS]))]
    return Inside(sets.position[inner[told]], sets.position[outer[told]], len(order) - len(told), common)


def _shares(sets: _Sets, packed: UInt64, threads: int) -> Float32:
    """(c, 2) share of the first answer's shingles that stand in the second, and the other way round."""
    nothing = np.zeros(2 * (len(sets.bounds) - 1), np.int64)
    measured = np.empty((len(packed), 2), np.float32)

    def work(at: int) -> None:
        here = packed[at : at + _PAIRS_AT_ONCE]
        out = np.empty((len(here), 5), np.float32)
        similarity.verify(here, sets.shingle, sets.bounds, nothing, out)
        measured[at : at + len(here)] = out[:, 1:3]

    running.run(work, range(0, len(packed), _PAIRS_AT_ONCE), threads)
    return measured


def _sets(rows: Rows, prints: Fingerprints, reader: TextReader, width: int, threads: int) -> _Sets:
    """The shingle sets of all distinct answers."""
    order = rows.content_order[prints.supervised_tokens[rows.content_order] > 0]
    chosen = np.zeros(len(rows), np.bool_)
    chosen[order[np.unique(prints.answer[order], return_index=True)[1]]] = True
    classes, fold = code_point_classes(), folded_code_points()

    def work(batch: SegmentBatch) -> tuple[UInt64, Int64]:
        starts = batch.row_starts()
        mine = chosen[np.searchsorted(rows.row_id, batch.row_id)]
        mine &= PART_OF_ROLE[batch.role] == shingling.ANSWER_PART
        part = np.where(mine, shingling.ANSWER_PART, shingling.SKIPPED).astype(np.uint8)
        out, bounds = np.empty(int(batch.offsets[-1] - batch.offsets[0]), np.uint64), np.empty(len(starts), np.int64)
        written = shingling.shingle_sets(
            batch.data, batch.offsets[:-1], batch.offsets[1:], starts, part, classes, fold, width, out, bounds,
            np.empty(2 * (len(starts) - 1), np.int64),
        )  # fmt: skip
        return out[:written].copy(), np.diff(bounds)

    made = list(running.in_order(work, (batch for batch in reader if len(batch)), threads))
    lengths = np.concatenate([np.zeros(0, np.int64), *(lengths for _, lengths in made)])
    shingle = np.concatenate([np.zeros(0, np.uint64), *(shingle for shingle, _ in made)])
    some = np.flatnonzero(lengths)
    bits = max(_LEAST_BITS, (_BUCKETS_PER_SHINGLE * len(shingle)).bit_length())
    counts = np.zeros(1 << bits, np.uint8)
    holders.tally(shingle, 64 - bits, counts)
    return _Sets(
        some, rows.content_rank[some], shingle, np.append(0, np.cumsum(lengths[some])).astype(np.int64), counts
    )


def _rarest(sets: _Sets, some: Int64) -> tuple[Int64, UInt64]:
    """(p,), (p,) these answers and their n - t + 1 rarest shingles, without those that no other answer holds.

    The rarest of each answer comes first.
    """
    size = np.diff(sets.bounds)[some]
    at = laid_out(sets.bounds[some], sets.bounds[some + 1])
    held = sets.counts[sets.bucket(sets.shingle[at])]
    # one word each, for these sort ten times as fast as three columns do: 32 bits of answer, 8 of count, 24 of place
    words = np.repeat(np.arange(len(some)), size) << 32 | held.astype(np.int64) << 24 | place_within(size)
    words.sort()
    words = words[place_within(size) <= np.repeat(size - needed(size), size)]
    words = words[(words >> 24 & holders.MANY) > 1]
    answer = some[words >> 32]
    return answer, sets.shingle[sets.bounds[answer] + (words & 0xFFFFFF)]


def _held_by(sets: _Sets, answer: Int64, wanted: UInt64) -> tuple[Int64, Int64, int]:
    """(h,), (h,) places of wanted shingles and answers that hold them; of how many answers not all were looked at.

    answer (p,): whose shingles they are, the rarest of each first. Of a shingle in more than HOLDERS answers only the
    first PARTNERS are looked at, and only where an answer has no rarer one.
    """
    distinct, of = np.unique(wanted, return_inverse=True)
    buckets = np.zeros(len(sets.counts), np.bool_)
    buckets[sets.bucket(distinct)] = True
    room = 4 * len(wanted)
    while True:
        hits = np.empty(room, np.int64)
        made = holders.places(sets.shingle, sets.shift, buckets, hits)
        if made <= room:
            break
        room = made
    hits = hits[:made]
    number = np.searchsorted(distinct, sets.shingle[hits])
    known = number < len(distinct)
    known[known] = distinct[number[known]] == sets.shingle[hits[known]]
    hits, number = hits[known], number[known]
    by_rank = np.zeros(int(sets.rank.max(initial=0)) + 1, np.int64)
    by_rank[sets.rank] = np.arange(len(sets.rank))
    words = number << 32 | sets.rank[np.searchsorted(sets.bounds, hits, side="right") - 1]
    words.sort()
    count = np.bincount(number, minlength=len(distinct))
    start = np.cumsum(count) - count
    first = np.diff(answer, prepend=-1) != 0
    taken = np.where(count[of] <= HOLDERS, count[of], np.where(first, PARTNERS, 0))
    outer = by_rank[words[laid_out(start[of], start[of] + taken)] & _LOW]
    return np.repeat(np.arange(len(wanted)), taken), outer, len(np.unique(answer[count[of] > taken]))
