"""What rows share: spans that belong together, rows that hold the same windows, and where a span stands in the text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scanner.kernels._jit import B1R, I32, I32R, I64, I64R, INT, U8R, U64, VOID, helper, kernel
from scanner.kernels._words import BLOCK, code_points
from scanner.kernels.spans import ANSWER, LEAKAGE, Segments, Spans, Windows
from scanner.kernels.tokens import ROOM, next_tokens

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]


def passages(text: Segments, windows: Windows, spans: Spans) -> Int64:
    """(m,) the first span of each span's passage: spans that hold one window in common are of one passage."""
    root = np.arange(len(spans.segment))
    at = text.bounds[spans.segment]
    starts, ends = at + spans.first, at + spans.last + 2 - windows.width
    _connect(starts, ends, windows.id, np.full(len(windows.rows), -1, np.int32), root)
    return root


def pairs_of_rows(text: Segments, windows: Windows, spans: Spans) -> tuple[Int64, Int64]:
    """Places a < b of counted rows that share a window of LEAKAGE: every row with the lead of each such window."""
    chosen = np.flatnonzero((spans.kind == LEAKAGE) & text.counted[spans.segment])
    at = text.bounds[spans.segment[chosen]]
    starts, ends = at + spans.first[chosen], at + spans.last[chosen] + 2 - windows.width
    room = max(1024, 4 * len(chosen))
    while True:
        out = np.empty(room, np.uint64)
        made = _star(starts, ends, text.row[spans.segment[chosen]], windows.id, windows.lead, out)
        if made <= room:
            break
        room = made
    packed = np.unique(out[:made])
    return (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)


def shared_tokens(
    text: Segments, windows: Windows, kind: UInt8, rows: int, a: Int64, b: Int64
) -> npt.NDArray[np.int32]:
    """(p, 4): tokens of a in LEAKAGE windows that b holds too, those of them in answers; the same of b in a.

    Costs as much as the smaller of the two rows holds, so that many pairs with one long row stay cheap.
    """
    at = np.flatnonzero(windows.id >= 0)
    at = at[kind[windows.id[at]] == LEAKAGE]
    segment = np.searchsorted(text.bounds, at, side="right") - 1
    ids, row = windows.id[at], text.row[segment]
    by_row = np.argsort(row << 32 | ids)
    first = np.searchsorted(row, np.arange(rows + 1)).astype(np.int64)
    answer = (text.bits[segment] & ANSWER) > 0
    out = np.zeros(4 * len(a), np.int32)
    stamp = np.zeros(len(at), np.int32)
    _shared(at, answer, ids[by_row], by_row, first, windows.width, a, b, stamp, out)
    return out.reshape(-1, 4)


@helper
def _top(root, a):
    while root[a] != a:
        root[a] = root[root[a]]
        a = root[a]
    return a


@kernel(VOID(I64R, I64R, I32R, I32, I64))
def _connect(starts, ends, ids, owner, root):
    """Union-find over spans: root (m,) becomes the first span of each passage. owner (w,): -1."""
    for m in range(len(starts)):
        for t in range(starts[m], ends[m]):
            i = ids[t]
            if owner[i] < 0:
                owner[i] = m
                continue
            a, b = _top(root, m), _top(root, owner[i])
            if a < b:
                root[b] = a
            elif b < a:
                root[a] = b
    for m in range(len(root)):
        root[m] = _top(root, m)


@kernel(INT(I64R, I64R, I64R, I32R, I32R, U64))
def _star(starts, ends, row, ids, lead, out):
    """Packed pairs (smaller place << 32 | larger) of each span's row and its windows' leads, repeats left in."""
    made = 0
    for m in range(len(starts)):
        before = np.int64(-1)
        for t in range(starts[m], ends[m]):
            first = np.int64(lead[ids[t]])
            if first == row[m] or first == before:
                continue
            before = first
            if made < len(out):
                out[made] = np.uint64(min(first, row[m])) << np.uint64(32) | np.uint64(max(first, row[m]))
            made += 1
    return made


@helper
def _first_of(ids, begin, end, wanted):
    """Place of the first of `wanted` in ids[begin:end], ascending; where it would be if it is not there."""
    while begin < end:
        middle = (begin + end) // 2
        if ids[middle] < wanted:
            begin = middle + 1
        else:
            end = middle
    return begin


@helper
def _cover(at, answer, j, width, stamp, mark, out, place):
    """Add the tokens from window j to the next one with this mark, or to its own end."""
    more = width
    k = j + 1
    while k < len(at) and at[k] - at[j] < width:
        if stamp[k] == mark:
            more = at[k] - at[j]
            break
        k += 1
    out[place] += more
    if answer[j]:
        out[place + 1] += more


@kernel(VOID(I64R, B1R, I32R, I64R, I64R, INT, I64R, I64R, I32, I32))
def _shared(at, answer, ids, by_row, first, width, a, b, stamp, out):
    """See `shared_tokens`. at (l,) starts of windows; ids, by_row: these by row and id; first (n + 1,): rows in both.

    stamp (l,): 0; pair p marks the windows that both rows hold with p + 1.
    """
    for p in range(len(a)):
        swapped = first[a[p] + 1] - first[a[p]] > first[b[p] + 1] - first[b[p]]
        small, large = (b[p], a[p]) if swapped else (a[p], b[p])
        mine, other = (4 * p + 2, 4 * p) if swapped else (4 * p, 4 * p + 2)
        for turn in range(2):  # mark, then count: how far a window reaches depends on the next marked one
            found, before = np.int64(0), np.int32(-1)
            for i in range(first[small], first[small + 1]):
                if ids[i] != before:
                    before = ids[i]
                    found = _first_of(ids, first[large], first[large + 1], before)
                    k = found
                    while k < first[large + 1] and ids[k] == before:
                        if turn == 0:
                            stamp[by_row[k]] = p + 1
                        else:
                            _cover(at, answer, by_row[k], width, stamp, p + 1, out, other)
                        k += 1
                if found < first[large + 1] and ids[found] == before:
                    if turn == 0:
                        stamp[by_row[i]] = p + 1
                    else:
                        _cover(at, answer, by_row[i], width, stamp, p + 1, out, mine)


@kernel(VOID(U8R, I64R, I64R, I64R, I64R, I64R, U8R, I32R, I64, I64))
def locate(data, begin, end_of, segment, first, last, classes, fold, start, end):
    """Where spans stand, in code points of their segments: the first of the first token, the one after the last.

    segment (m,) ascending, segment s is data[begin[s]:end_of[s]] · first, last (m,) tokens within it, inclusive.
    """
    longest = 0
    for m in range(len(segment)):
        longest = max(longest, last[m] + 1)
    opens, closes = np.empty(longest, np.int64), np.empty(longest, np.int64)
    hashes = np.empty(ROOM + BLOCK, np.uint64)
    token, after = np.empty(ROOM + BLOCK, np.int64), np.empty(ROOM + BLOCK, np.int64)
    m = 0
    while m < len(segment):
        s = segment[m]
        stop = m
        needed = 0
        while stop < len(segment) and segment[stop] == s:
            needed = max(needed, last[stop] + 1)
            stop += 1
        at = begin[s]
        before = at  # code points are counted up to this byte
        points = 0
        k = 0
        while k < needed:
            found, at = next_tokens(data, at, end_of[s], classes, fold, 0, hashes, token, after, 0)
            for i in range(min(found, needed - k)):
                points += code_points(data, before, token[i])
                opens[k] = points
                points += code_points(data, token[i], after[i])
                closes[k] = points
                before = after[i]
                k += 1
        while m < stop:
            start[m] = opens[first[m]]
            end[m] = closes[last[m]]
            m += 1
