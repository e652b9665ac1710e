"""Template text against payload: which tokens of a row does its source repeat word for word around its slots?

A token is judged by the CONTEXT tokens before it. Of a context that many distinct rows hold, what follows is counted:

    fixed     nearly all of those rows go on with the same token: it belongs to a template
    slot      they go on in different ways: here the rows differ on purpose, a payload begins
    edit      nearly all go on in one way, and this row alone in another: a changed word in a copied text, no payload

Where no such context stands before a token, the token belongs to the payload, unless fixed text begins there (its
first CONTEXT tokens have the slot before them). Single stretches of fixed text shorter than a line are common phrases
and stay payload. After the last slot a few tokens may follow ("Sentiment:"), too few to be judged by those before them:
in a segment that has a line they are judged from its end. So a set of near copies, edited here and there, has no slot
and is no template.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import (
    I32,
    I32R,
    I64,
    I64R,
    INT,
    U8,
    U8R,
    U32_2D,
    U32R,
    U64,
    U64R,
    VOID,
    helper,
    kernel,
    maker,
)
from scanner.kernels._words import BLOCK
from scanner.kernels.hashing import combine, fmix32, fmix64
from scanner.kernels.minhash import ANSWER_PART, PROMPT_PART, put_shingles
from scanner.kernels.template_counts import (
    BRANCHES,
    CONTEXT,
    END,
    TAIL,
    before,
    context_of,
    continuation_key,
    earlier_tail,
    slot_of,
    tail_of,
)
from scanner.kernels.tokens import ROOM, WORD, code_point_at, next_tokens

F32_2D = types.Array(types.float32, 2, "C")

LINE, COMMON_LINE = 16, 8
"""Tokens of fixed text in a row, the context they follow included, from which they are a template by themselves; less
is enough of what COMMON of the source's rows hold.

Shorter ones hardly make rows look alike: with w fixed tokens per slot and a filler of one token, shingles of three
tokens give a Jaccard similarity of (w - 2) / (w + 4), which reaches .8 at w = 26."""
COMMON = 100_000
"""Share of a source's rows, in millionths."""
PIECE = CONTEXT
"""Tokens of further fixed text in a segment that holds a line, where at least half as many rows hold it: what stands
between two slots may be short, but the phrases of a payload are no part of its template."""
EDIT = 3
"""Most tokens of an edit inside fixed text; longer ones are payload, and so are more than one in LINE fixed tokens."""
PAYLOAD, SLOT, FIXED, EDITED = 0, 1, 2, 3
"""Kinds of tokens. What `classify` leaves as SLOT is payload too."""
_ADDED = 4
PARTS = 3
"""Parts of a row, as in minhash: skipped (system, tools, rejected), prompt, answer."""


@helper
def _is_mark(point):
    """Punctuation of sentences and quotes: a payload that differs in nothing else is the same."""
    if point < 0x80:
        return point in (0x21, 0x22, 0x27, 0x2C, 0x2E, 0x3A, 0x3B, 0x3F, 0x60)  # ! " ' , . : ; ? `
    if point in (0xAB, 0xBB, 0xBF, 0xA1):
        return True
    if 0x2018 <= point <= 0x201F or point == 0x2026 or 0x3001 <= point <= 0x3002 or 0x300A <= point <= 0x300F:
        return True
    return point in (0xFF01, 0xFF0C, 0xFF0E, 0xFF1A, 0xFF1B, 0xFF1F, 0x060C, 0x061B, 0x061F, 0x0964)


@maker
def classify(data, at, stop, voice, classes, fold, table, room):
    """Kinds of the tokens of one segment; returns (tokens, how many of them are FIXED, hash of its template or 0).

    table: keys, values, held, seen, from template_counts.build · room: hashes, starts, ends, kinds, levels, for the
    tokens (at most one per byte). The hash names the segment's fixed stretches by their last tokens, in order. levels:
    the share of rows that hold a fixed token's context, in millionths.
    """
    keys, values, held, seen = table
    hashes, starts, ends, kinds, levels = room
    edge = before(voice)
    a, b, c, d = edge, edge, edge, edge
    last_bit = np.uint64(8 * len(seen) - 1)
    some = np.empty(ROOM + BLOCK, np.uint64)
    begin, after = np.empty(ROOM + BLOCK, np.int64), np.empty(ROOM + BLOCK, np.int64)
    n = 0
    any_fixed = False
    while at < stop:
        found, at = next_tokens(data, at, stop, classes, fold, 1, some, begin, after, 0)
        for i in range(found):
            h = some[i]
            key = context_of(edge, a, b, c, d)
            hashes[n] = h
            starts[n] = begin[i]
            ends[n] = after[i]
            bit = (key >> np.uint64(8)) & last_bit
            kind = PAYLOAD
            level = np.int32(0)
            if seen[bit >> np.uint64(3)] >> (bit & np.uint64(7)) & np.uint8(1):
                place = slot_of(keys, key)
                if keys[place] != 0:
                    if values[place] == h:
                        kind = FIXED
                        level = held[place]
                        any_fixed = True
                    elif values[place] == BRANCHES or keys[slot_of(keys, continuation_key(key, h))] != 0:
                        kind = SLOT
                    else:
                        kind = EDITED
            kinds[n] = kind
            levels[n] = level
            a, b, c, d = b, c, d, h
            n += 1
    key = context_of(edge, a, b, c, d)
    end = slot_of(keys, key)
    closed = keys[end] != 0 and values[end] == END
    if closed and n > 0:
        levels[n - 1] = max(levels[n - 1], held[end])
    if not any_fixed:
        for i in range(n):
            kinds[i] = PAYLOAD
        return n, 0, np.uint64(0)
    fixed, name = _settle(hashes, kinds, levels, n, edge, closed)
    if fixed:
        tail = tail_of(edge)
        for i in range(n - 1, max(0, n - TAIL) - 1, -1):
            place = slot_of(keys, tail)
            if kinds[i] >= FIXED or keys[place] == 0 or values[place] != hashes[i]:
                break
            kinds[i] = FIXED
            fixed += 1
            tail = earlier_tail(tail, hashes[i])
    return n, fixed, name


@helper
def _find_marks(data, end, classes, starts, ends, n, marks):
    """marks[i] = 1 where token i is punctuation that ends or quotes a word; not so in 3.5, a.b and !x."""
    for i in range(n):
        point, after = code_point_at(data, starts[i])
        marks[i] = after == ends[i] and _is_mark(point)
        if marks[i] and point < 0x80 and point not in (0x22, 0x27, 0x60) and after < end:
            marks[i] = classes[code_point_at(data, after)[0]] != WORD


@helper
def _settle(hashes, kinds, levels, n, edge, closed):
    """Make stretches of the single tokens' kinds: what begins a stretch, what is too short, what is an edit."""
    for i in range(n, 0, -1):  # the context of the first token of a stretch belongs to it
        if (closed if i == n else kinds[i] == FIXED) and kinds[i - 1] != FIXED:
            for j in range(max(0, i - CONTEXT), i):
                if kinds[j] == PAYLOAD or kinds[j] == EDITED:
                    kinds[j] = _ADDED
    for i in range(n):
        if kinds[i] == _ADDED:
            kinds[i] = FIXED
    i = 0
    while i < n:  # edits: short gaps in fixed text that begin where it should have gone on
        if kinds[i] == EDITED and i > 0 and (kinds[i - 1] == FIXED or kinds[i - 1] == EDITED):
            j = i
            while j < n and kinds[j] != FIXED and kinds[j] != SLOT and j - i <= EDIT:
                j += 1
            inside = j - i <= EDIT and (j == n or kinds[j] == FIXED)
            for k in range(i, j):
                kinds[k] = EDITED if inside else PAYLOAD
            i = j
        else:
            if kinds[i] == EDITED:
                kinds[i] = PAYLOAD
            i += 1
    least = np.int32(0)  # share of the rarest line
    i = 0
    while i < n:
        j, level, edits = _stretch(kinds, levels, i, n)
        if edits * LINE > j - i:
            for k in range(i, j):
                if kinds[k] == EDITED:
                    kinds[k] = PAYLOAD
            continue  # again from i: the stretch now ends at its first edit
        if j - i >= LINE or (j - i >= COMMON_LINE and level >= COMMON):
            least = level if least == 0 else min(least, level)
        i = j + 1
    fixed = 0
    name = edge
    i = 0
    while i < n:
        j, level, _ = _stretch(kinds, levels, i, n)
        if least > 0 and (j - i >= LINE or (j - i >= PIECE and 2 * level >= least)):
            for k in range(i, j):
                fixed += kinds[k] == FIXED
            for k in range(max(i, j - CONTEXT), j):
                name = combine(name, hashes[k])
        else:
            kinds[i:j] = PAYLOAD
        i = j + 1
    return fixed, fmix64(name) if fixed else np.uint64(0)


@helper
def _stretch(kinds, levels, i, n):
    """End of the fixed text that begins at token i, edits included; the share of rows that hold it; its edits."""
    level = np.int32(0)
    edits = 0
    while i < n and kinds[i] >= FIXED:
        level = max(level, levels[i])
        edits += kinds[i] == EDITED and kinds[i - 1] == FIXED
        i += 1
    return i, level, edits


@maker
def _room(begin, end_of):
    """What `classify` writes to: as long as the longest segment has bytes."""
    most = 0
    for s in range(len(begin)):
        most = max(most, end_of[s] - begin[s])
    hashes, starts, ends = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int64)
    return hashes, starts, ends, np.empty(most, np.uint8), np.empty(most, np.int32)


@kernel(INT(U8R, I64R, I64R, I64R, I32R, U8R, U8R, I32R, U64R, U64R, I32R, U8R, I32, I32, U64, I32))
def mark(
    data, begin, end_of, row_start, voice, part, classes, fold, keys, values, held, seen, fixed, sizes, name, inside
):
    """Template tokens of every row and segment; returns their number.

    Segments as in `contexts`; part (s,): as in minhash · fixed, sizes (PARTS n,): template tokens and all tokens of
    each row by part · name, inside (s,): which template the segment follows, 0 for none, and its template tokens.
    """
    table, room = (keys, values, held, seen), _room(begin, end_of)
    total = 0
    for r in range(len(row_start) - 1):
        for p in range(PARTS):
            fixed[PARTS * r + p] = 0
            sizes[PARTS * r + p] = 0
        for s in range(row_start[r], row_start[r + 1]):
            n, found, template = classify(data, begin[s], end_of[s], voice[s], classes, fold, table, room)
            name[s] = template
            inside[s] = found
            fixed[PARTS * r + part[s]] += found
            sizes[PARTS * r + part[s]] += n
            total += found
    return total


@kernel(INT(U8R, INT, INT, INT, U8R, I32R, U64R, U64R, I32R, U8R, I64, I64, U8))
def kinds_of(data, begin, end, voice, classes, fold, keys, values, held, seen, starts, ends, kinds):
    """Kinds of the tokens of the segment data[begin:end] and the bytes where they start and end; returns how many."""
    hashes, levels = np.empty(end - begin, np.uint64), np.empty(end - begin, np.int32)
    table, room = (keys, values, held, seen), (hashes, starts, ends, kinds, levels)
    n, _, _ = classify(data, begin, end, voice, classes, fold, table, room)
    return n


@helper
def _payload_shingles(hashes, kinds, marks, n, width, stretch, out, at):
    """Append the hashes of the shingles of each stretch of payload, punctuation marks left out; returns the new end.

    A stretch of fewer than `width` tokens is one shingle, and the fixed token before it says which slot it fills.
    """
    i = 0
    before = np.uint64(0)
    while i < n:
        if kinds[i] >= FIXED:
            before = hashes[i]
            i += 1
            continue
        kept = 0
        while i < n and kinds[i] <= SLOT:
            if not marks[i]:
                stretch[kept] = hashes[i]
                kept += 1
            i += 1
        if kept >= width:
            at += put_shingles(stretch, kept, width, out[at:])
        elif kept:
            put_shingles(stretch, kept, kept, out[at:])
            out[at] = fmix64(combine(out[at], before))
            at += 1
    return at


@kernel(INT(U8R, I64R, I64R, I64R, I32R, U8R, U8R, I32R, INT, U64R, U64R, I32R, U8R, U64, I64))
def payload_sets(
    data, begin, end_of, row_start, voice, part, classes, fold, width, keys, values, held, seen, out, bounds
):
    """The distinct shingles of each row's payload, prompt and answer apart, sorted; returns the number written.

    As minhash.shingle_sets, but only shingles that hold a payload token, after punctuation marks were left out.
    """
    table, room = (keys, values, held, seen), _room(begin, end_of)
    hashes, starts, ends, kinds, _ = room
    marks, stretch = np.empty(len(hashes), np.uint8), np.empty(len(hashes), np.uint64)
    at = 0
    bounds[0] = 0
    for r in range(len(row_start) - 1):
        for wanted in (PROMPT_PART, ANSWER_PART):
            first = at
            for s in range(row_start[r], row_start[r + 1]):
                if part[s] != wanted:
                    continue
                n, _, _ = classify(data, begin[s], end_of[s], voice[s], classes, fold, table, room)
                _find_marks(data, end_of[s], classes, starts, ends, n, marks)
                at = _payload_shingles(hashes, kinds, marks, n, width, stretch, out, at)
            out[first:at].sort()
            kept = first
            for i in range(first, at):
                if kept == first or out[i] != out[kept - 1]:
                    out[kept] = out[i]
                    kept += 1
            at = kept
            bounds[2 * r + (1 if wanted == PROMPT_PART else 2)] = at
    return at


@kernel(VOID(U64R, I64R, U32R, U32R, U32_2D))
def sign(sets, bounds, a, b, signature):
    """MinHash signatures (n, p) of rows from their two sets of shingles; all 2^32 - 1 for rows without any.

    sets, bounds (2 n + 1,): see payload_sets · a, b (p,): affine32 permutations.
    """
    for r in range(len(signature)):
        for j in range(len(a)):
            signature[r, j] = np.uint32(0xFFFFFFFF)
        for i in range(bounds[2 * r], bounds[2 * r + 2]):
            x = fmix32(np.uint32(sets[i] & np.uint64(0xFFFFFFFF)))
            for j in range(len(a)):
                value = np.uint32(a[j] * x + b[j])
                signature[r, j] = min(signature[r, j], value)


@helper
def _shared(sets, a, a_end, b, b_end):
    shared = 0
    while a < a_end and b < b_end:
        if sets[a] == sets[b]:
            shared += 1
            a += 1
            b += 1
        elif sets[a] < sets[b]:
            a += 1
        else:
            b += 1
    return shared


@kernel(VOID(I64R, I64R, U64R, I64R, F32_2D))
def compare(left, right, sets, bounds, out):
    """Jaccard similarity of each pair of rows: of both parts together, of the answers; NaN where both are empty.

    left, right (p,): places in `bounds` · sets, bounds (2 n + 1,): see payload_sets · out (p, 2).
    """
    for i in range(len(left)):
        all_shared = 0
        all_sizes = 0
        for part in range(2):
            a, a_end = bounds[2 * left[i] + part], bounds[2 * left[i] + part + 1]
            b, b_end = bounds[2 * right[i] + part], bounds[2 * right[i] + part + 1]
            shared = _shared(sets, a, a_end, b, b_end)
            sizes = a_end - a + b_end - b
            if part == 1:
                out[i, 1] = np.float32(shared / (sizes - shared)) if sizes else np.float32(np.nan)
            all_shared += shared
            all_sizes += sizes
        out[i, 0] = np.float32(all_shared / (all_sizes - all_shared)) if all_sizes else np.float32(np.nan)
