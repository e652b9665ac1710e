"""Windows of N tokens that stand in more than one place, exactly and in linear time, and the spans they make up.

    tokens -> rolling 64-bit hash of every window -> those that occur twice (sort, slice by slice of the hash space)
           -> an id for every window of theirs -> compared token by token -> counted -> classed -> runs = spans

A window never crosses the end of a segment. Hashes propose, the tokens dispose: a window that shares a hash with
another text loses its id, so that the result is that of comparing all windows with one another (two texts whose tokens
agree hash by hash are taken for equal; two different tokens share a hash with probability 2^-64).

Memory is 8 bytes per token for the tokens, 4 for the ids, and one slice of window hashes per thread. Every window
belongs to one slice and ids are ranks among the sorted hashes, so neither threads nor slices change a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from scanner import running
from scanner.kernels._jit import B1R, I32, I32R, I64, I64R, INT, U8, U8R, U64, U64R, VOID, helper, kernel
from scanner.kernels.hashing import fmix64, power

ONCE, BOILERPLATE, LEAKAGE, FILLER, ECHO, WITHIN = 0, 1, 2, 3, 4, 5
"""Class of a window: in one place only; in many rows or a system prompt; in few rows; anywhere, but made of so few
different tokens that it says nothing; in different segments of one row; twice in one segment of one row."""
SYSTEM, ANSWER, TWICE, MONOTONE = 1, 2, 4, 8
"""What is known of a segment: it is a system prompt or tool schema, it is learned; and of a window: it stands in such a
segment, twice in one segment, is made of few different tokens."""
DISTINCT_SHARE = 5
"""A window has at least one different token for so many of its tokens, or it is MONOTONE: a ruled line, padding, a word
said over and over."""

_SLICE = 1 << 23  # window hashes sorted at once, 64 MB per thread
_BASE = np.uint64(0x9E3779B97F4A7C13)  # odd, so that no token is multiplied away

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Segments:
    """The segments that are long enough to hold a window, one after another; s segments of t tokens in all."""

    tokens: UInt64  # (t,) folded token hashes
    bounds: Int64  # (s + 1,) into tokens
    row: Int64  # (s,) place of the row, ascending
    counted: Bool  # (s,) the row takes part in counting; the others are only looked up
    bits: UInt8  # (s,) SYSTEM | ANSWER


@dataclass(frozen=True)
class Windows:
    """The repeated windows: id (t,) of the window that starts at each token, -1 for none; the rest by id, (w,)."""

    width: int
    id: Int32
    occurrences: Int32  # places in counted rows
    rows: Int32  # counted rows
    lead: Int32  # the row among them that comes first by `rank`
    bits: UInt8  # SYSTEM | ANSWER | TWICE | MONOTONE


@dataclass(frozen=True)
class Spans:
    """Maximal runs of windows of one class, (m,), in the order of segments and of their first tokens."""

    segment: Int64  # index in Segments
    first: Int64  # first token within the segment
    last: Int64  # last token, inclusive
    kind: Int32  # BOILERPLATE to WITHIN
    rows: Int32  # counted rows that hold the window of it which the most of them hold
    covered: Int32  # (s,) tokens of each segment in any span
    leaked: Int32  # (s,) tokens of each segment in spans of LEAKAGE


def find_windows(text: Segments, width: int, rank: Int64, threads: int) -> Windows:
    """Every window of `width` tokens that stands in two places of counted rows or more, and all places of it.

    rank (n,): order of the rows by content, from which `lead` follows.
    """
    if len(text.tokens) >= 1 << 31:
        raise ValueError(f"{len(text.tokens)} tokens: more than the windows can be numbered for ({1 << 31})")
    repeated = _repeated(text, width, threads)
    keys, slots = np.zeros(_capacity(len(repeated)), np.uint64), np.empty(_capacity(len(repeated)), np.int32)
    _table(repeated, keys, slots)
    ids = np.full(len(text.tokens), -1, np.int32)
    cuts = np.searchsorted(text.bounds, np.linspace(0, len(text.tokens), 4 * threads + 1)[1:-1]).tolist()
    blocks = [(a, b) for a, b in pairwise([0, *cuts, len(text.row)]) if a < b]
    running.run(lambda at: _look_up(text.tokens, text.bounds, width, keys, slots, *at, ids), blocks, threads)
    count = len(repeated)
    occurrences, rows = np.zeros(count, np.int32), np.zeros(count, np.int32)
    lead, bits = np.full(count, -1, np.int32), np.zeros(count, np.uint8)
    _count(text.tokens, text.bounds, width, text.row, text.counted, text.bits, rank, ids, occurrences, rows, lead, bits)
    return Windows(width, ids, occurrences, rows, lead, bits)


def classes(windows: Windows, many: int) -> UInt8:
    """(w,) class of each window; `many`: rows from which it counts as boilerplate."""
    everywhere = (windows.rows >= many) | ((windows.bits & SYSTEM) > 0)
    kind = np.select(
        [
            windows.occurrences < 2,
            (windows.bits & MONOTONE) > 0,
            everywhere,
            windows.rows > 1,
            (windows.bits & TWICE) > 0,
        ],
        [ONCE, FILLER, BOILERPLATE, LEAKAGE, WITHIN],
        ECHO,
    )
    return kind.astype(np.uint8)


def find_spans(text: Segments, windows: Windows, kind: UInt8) -> Spans:
    """The spans of all segments, those of rows that were not counted too."""
    covered, leaked = np.zeros(len(text.row), np.int32), np.zeros(len(text.row), np.int32)
    room = max(1024, len(text.row))
    while True:
        out = np.empty(5 * room, np.int64)
        made = _runs(text.bounds, windows.width, windows.id, kind, windows.rows, out, covered, leaked)
        if made <= room:
            break
        room = made
    segment, first, last, what, rows = out[: 5 * made].reshape(-1, 5).T
    return Spans(
        segment.copy(), first.copy(), last.copy(), what.astype(np.int32), rows.astype(np.int32), covered, leaked
    )


def _repeated(text: Segments, width: int, threads: int) -> UInt64:
    """The sorted hashes of the windows that occur twice or more in counted rows."""
    windows = int(np.maximum(np.diff(text.bounds)[text.counted] - width + 1, 0).sum())
    bits = max(1, math.ceil(math.log2(max(1, windows / _SLICE))))  # two slices at least: two threads have work

    def find(part: int) -> UInt64:
        room: int = windows // (1 << bits) + (windows >> (bits + 3)) + 64
        while True:
            found = np.empty(room, np.uint64)
            made = _hashes(text.tokens, text.bounds, text.counted, width, part, bits, found)
            if made <= room:
                break
            room = made  # a window that stands everywhere falls into one slice
        found = found[:made]
        found.sort()
        same = found[1:] == found[:-1]
        second = same.copy()
        second[1:] &= ~same[:-1]
        twice: UInt64 = found[1:][second]
        return twice

    return np.concatenate(running.run(find, range(1 << bits), threads))


def _capacity(keys: int) -> int:
    """Slots of an open-addressing table that is at most half full."""
    return 1 << max(4, (2 * keys).bit_length())


@helper
def _next(h, tokens, t, first, width, leaving):
    """Rolling hash of the `width` tokens that end with t, from that of those before; 0 is kept for empty slots."""
    h = h * _BASE + tokens[t]
    if t - width >= first:
        h -= leaving * tokens[t - width]
    key = fmix64(h)
    return h, (key if key != 0 else np.uint64(1))


@kernel(INT(U64R, I64R, B1R, INT, INT, INT, U64))
def _hashes(tokens, bounds, counted, width, part, bits, out):
    """Window hashes of the counted segments in one of 2 ** bits slices; returns how many, writing as many as fit."""
    shift = np.uint64(64 - bits)
    leaving = power(_BASE, width)
    made = 0
    for s in range(len(counted)):
        if not counted[s]:
            continue
        h = np.uint64(0)
        for t in range(bounds[s], bounds[s + 1]):
            h, key = _next(h, tokens, t, bounds[s], width, leaving)
            if t - bounds[s] + 1 >= width and np.int64(key >> shift) == part:
                if made < len(out):
                    out[made] = key
                made += 1
    return made


@kernel(VOID(U64R, U64, I32))
def _table(repeated, keys, slots):
    """Put each key and its number into an open-addressing table (keys: zeros)."""
    mask = len(keys) - 1
    for i in range(len(repeated)):
        at = np.int64(repeated[i] & np.uint64(mask))
        while keys[at] != 0:
            at = (at + 1) & mask
        keys[at] = repeated[i]
        slots[at] = i


@kernel(VOID(U64R, I64R, INT, U64R, I32R, INT, INT, I32))
def _look_up(tokens, bounds, width, keys, slots, first, last, ids):
    """Number the repeated windows of segments [first, last), at their first tokens."""
    mask = len(keys) - 1
    leaving = power(_BASE, width)
    for s in range(first, last):
        h = np.uint64(0)
        for t in range(bounds[s], bounds[s + 1]):
            h, key = _next(h, tokens, t, bounds[s], width, leaving)
            if t - bounds[s] + 1 >= width:
                at = np.int64(key & np.uint64(mask))
                while keys[at] != key and keys[at] != 0:
                    at = (at + 1) & mask
                if keys[at] == key:
                    ids[t - width + 1] = slots[at]


@helper
def _is_monotone(tokens, at, width, some):
    """Whether a window has fewer different tokens than width // DISTINCT_SHARE; most are known after a few."""
    distinct = 0
    for t in range(at, at + width):
        if distinct >= width // DISTINCT_SHARE:
            return False
        new = True
        for k in range(distinct):
            if some[k] == tokens[t]:
                new = False
                break
        if new:
            some[distinct] = tokens[t]
            distinct += 1
    return distinct < width // DISTINCT_SHARE


@kernel(VOID(U64R, I64R, INT, I64R, B1R, U8R, I64R, I32, I32, I32, I32, U8))
def _count(tokens, bounds, width, row, counted, bits, rank, ids, occurrences, rows, lead, known):
    """Take the id from windows whose tokens differ from those of its first place, and count the others."""
    total = len(rows)
    place = np.full(total, -1, np.int32)
    last_row, last_segment = np.full(total, -1, np.int32), np.full(total, -1, np.int32)
    some = np.empty(width // DISTINCT_SHARE + 1, np.uint64)
    for s in range(len(row)):
        if counted[s]:
            for t in range(bounds[s], bounds[s + 1]):
                if ids[t] >= 0 and place[ids[t]] < 0:
                    place[ids[t]] = t
                    if _is_monotone(tokens, t, width, some):
                        known[ids[t]] |= MONOTONE
    for s in range(len(row)):
        before = np.int64(-2)  # the place whose window equals the one before this, -2 for none
        for t in range(bounds[s], bounds[s + 1] - width + 1):
            i = ids[t]
            if i < 0:
                before = np.int64(-2)
                continue
            home = np.int64(place[i])
            # subtle: where the windows before were equal too, only the last token is left to compare
            begin = width - 1 if home == before + 1 else 0
            equal = True
            if home != t:
                for j in range(begin, width):
                    if tokens[home + j] != tokens[t + j]:
                        equal = False
                        break
            if not equal:
                ids[t] = -1
                before = np.int64(-2)
                continue
            before = home
            if not counted[s]:
                continue
            occurrences[i] += 1
            known[i] |= bits[s]
            if last_row[i] != row[s]:
                rows[i] += 1
                last_row[i] = row[s]
                if lead[i] < 0 or rank[row[s]] < rank[lead[i]]:
                    lead[i] = row[s]
            if last_segment[i] == s:
                known[i] |= TWICE
            last_segment[i] = s


@kernel(INT(I64R, INT, I32R, U8R, I32R, I64, I32, I32))
def _runs(bounds, width, ids, kind, rows, out, covered, leaked):
    """Maximal runs of windows of one class per segment; returns how many, writing as many as fit.

    A window of another class than BOILERPLATE counts only where it has no token in common with a window of that class:
    what few rows share must be long enough without the boilerplate before and after it.
    """
    room = len(out) // 5
    longest = 0
    for s in range(len(covered)):
        longest = max(longest, bounds[s + 1] - bounds[s])
    here = np.empty(longest, np.uint8)
    made = 0
    for s in range(len(covered)):
        begin = bounds[s]
        count = bounds[s + 1] - begin - width + 1
        last = -width
        some = False
        for t in range(count):
            i = ids[begin + t]
            here[t] = kind[i] if i >= 0 else ONCE
            some = some or here[t] != ONCE
            if here[t] == BOILERPLATE:
                last = t
            elif t - last < width:
                here[t] = ONCE
        covered[s] = 0
        leaked[s] = 0
        if not some:
            continue
        last = count + width
        for t in range(count - 1, -1, -1):
            if here[t] == BOILERPLATE:
                last = t
            elif last - t < width:
                here[t] = ONCE
        reach, reach_leaked = 0, 0  # first token that is not covered yet
        t = 0
        while t < count:
            if here[t] == ONCE:
                t += 1
                continue
            start = t
            most = 0
            while t < count and here[t] == here[start]:
                most = max(most, rows[ids[begin + t]])
                t += 1
            end = t + width - 2
            covered[s] += end + 1 - max(start, reach)
            reach = end + 1
            if here[start] == LEAKAGE:
                leaked[s] += end + 1 - max(start, reach_leaked)
                reach_leaked = end + 1
            if made < room:
                out[5 * made] = s
                out[5 * made + 1] = start
                out[5 * made + 2] = end
                out[5 * made + 3] = here[start]
                out[5 * made + 4] = most
            made += 1
    return made
