"""What the rows of a source say about contexts: how many hold one, and in how many ways they go on after it.

A context is the hash of the CONTEXT tokens before a token and of the voice that speaks: the role, in one source. What
a tool schema says after `"name":` tells nothing of an answer, and one source nothing of another.
`kernels/templates.py` says what follows from the counts.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import I32, I32R, I64, I64R, INT, U8, U8R, U64, U64R, VOID, helper, kernel
from scanner.kernels._words import BLOCK
from scanner.kernels.hashing import combine, fmix64
from scanner.kernels.tokens import ROOM, next_tokens

CONTEXT = 4
"""Tokens before a token that judge it; CJK characters are tokens, so there it is two words."""
TAIL = CONTEXT
"""Last tokens of a segment that are judged from its end, too: so few after a slot have it before them."""
END = np.uint64(0xE4D)
"""Stands for the end of a segment among the tokens that follow a context."""
BACKWARDS = -(1 << 31)
"""Added to the row of an entry that is read backwards."""
BRANCHES = np.uint64(1)
"""Main continuation of a context that has none: a slot."""
_STEP = np.uint64(0x9FB21C651E98DF25)


@helper
def context_of(edge, a, b, c, d):
    """Hash of the CONTEXT tokens, the last one last, after `edge`."""
    return fmix64((((edge * _STEP + a) * _STEP + b) * _STEP + c) * _STEP + d) | np.uint64(4)  # never 0, END or BRANCHES


@helper
def before(voice):
    """What stands before the first token of a segment of this voice."""
    return fmix64(np.uint64(voice) + np.uint64(0x5E6))


@helper
def tail_of(edge):
    """Context of the last token of a segment, where it is read backwards from its end."""
    return fmix64(edge ^ END) | np.uint64(4)


@helper
def earlier_tail(tail, token):
    """Context of the token before this one, read backwards."""
    return fmix64(combine(tail, token)) | np.uint64(4)


@helper
def _bucket(context, held):
    """Place of a context in a tally, by bits that no hash table uses first."""
    return np.int64(context >> np.uint64(20) & np.uint64(len(held) - 1))


@helper
def _entries(hashes, n, voice, context, following):
    """Contexts of a segment's tokens and end, then of its last tokens read backwards; returns how many there are."""
    if n == 0:  # an empty string is no way in which the others might have begun
        return 0
    edge = before(voice)
    a, b, c, d = edge, edge, edge, edge
    for i in range(n):
        context[i] = context_of(edge, a, b, c, d)
        following[i] = hashes[i]
        a, b, c, d = b, c, d, hashes[i]
    context[n] = context_of(edge, a, b, c, d)
    following[n] = END
    made = n + 1
    tail = tail_of(edge)
    for k in range(min(TAIL, n)):
        token = hashes[n - 1 - k]
        context[made] = tail
        following[made] = token
        made += 1
        tail = earlier_tail(tail, token)
    return made


@kernel(INT(U8R, I64R, I64R, I32R, U8R, I32R, U64, I64, I32))
def tally(data, begin, end_of, voice, classes, fold, hashes, counts, held):
    """Tokens of every segment, and how many of their contexts fall into each bucket; returns how many tokens there are.

    Segment s is data[begin[s]:end_of[s]] of voice[s] · hashes: one per token · counts (s,): tokens of each segment ·
    held (2^t,): entries, see `contexts`, by a part of their context, added to what is there.
    """
    longest = 0
    for s in range(len(begin)):
        longest = max(longest, end_of[s] - begin[s])
    context, following = np.empty(longest + 1 + TAIL, np.uint64), np.empty(longest + 1 + TAIL, np.uint64)
    some = np.empty(ROOM + BLOCK, np.uint64)
    starts, ends = np.empty(ROOM + BLOCK, np.int64), np.empty(ROOM + BLOCK, np.int64)
    total = 0
    for s in range(len(begin)):
        at = begin[s]
        n = 0
        while at < end_of[s]:
            found, at = next_tokens(data, at, end_of[s], classes, fold, 1, some, starts, ends, 0)
            for i in range(found):
                hashes[total + n + i] = some[i]
            n += found
        for i in range(_entries(hashes[total : total + n], n, voice[s], context, following)):
            held[_bucket(context[i], held)] += 1
        counts[s] = n
        total += n
    return total


@kernel(INT(U64R, I64R, I64R, I32R, I64R, I32R, INT, U64, U64, I32, INT))
def contexts(hashes, counts, row_start, voice, number, held, least, context, following, row, made):
    """Every token and segment end of the rows with the context before it, but for most of the rare ones.

    hashes, counts (s,), held: from `tally`; contexts of buckets with fewer than `least` entries are left out: most
    are rare, and no context in `least` rows is among them · row r has segments row_start[r]:row_start[r + 1] of voice
    (s,) · number (r,): what row r is called · context, following, row: written from `made` on: an entry per token, one
    for each segment's end, and one for each of its last TAIL tokens read backwards, where BACKWARDS is added to the
    row. A context reaches over a segment's beginning as its voice. Returns where the next entry goes.
    """
    longest = 0
    for s in range(len(counts)):
        longest = max(longest, counts[s])
    one, next_one = np.empty(longest + 1 + TAIL, np.uint64), np.empty(longest + 1 + TAIL, np.uint64)
    first = 0
    for r in range(len(row_start) - 1):
        for s in range(row_start[r], row_start[r + 1]):
            n = counts[s]
            for i in range(_entries(hashes[first : first + n], n, voice[s], one, next_one)):
                if held[_bucket(one[i], held)] >= least:
                    context[made] = one[i]
                    following[made] = next_one[i]
                    row[made] = number[r] + (BACKWARDS if i > n else 0)
                    made += 1
            first += n
    return made


@helper
def slot_of(keys, key):
    """Place of a key in an open-addressing table, or of the empty place where it belongs."""
    mask = np.uint64(len(keys) - 1)
    at = key & mask
    while keys[at] != 0 and keys[at] != key:
        at = (at + np.uint64(1)) & mask
    return np.int64(at)


@helper
def continuation_key(context, token):
    """Key of a context with what follows it."""
    return fmix64(combine(context, token)) | np.uint64(4)  # never 0


@kernel(INT(U64R, U64R, I32R, U64, U64, I32, I32))
def count(context, following, row, keys, tokens, counts, last):
    """Rows that hold each context, and each context with what follows; returns how many places are taken.

    keys, tokens, counts, last (2^t,): zeros, an open-addressing table; a context stands in it with token 0, a
    continuation under continuation_key(context, token). Entries of a row follow one another. Gives up with -1 when
    more than half of the places are taken.
    """
    taken = 0
    for i in range(len(context)):
        for token in (np.uint64(0), following[i]):
            key = context[i] if token == 0 else continuation_key(context[i], token)
            at = slot_of(keys, key)
            if keys[at] == 0:
                taken += 1
                if 2 * taken > len(keys):
                    return -1
                keys[at] = key
                tokens[at] = token
                last[at] = -1
            if last[at] != row[i]:
                last[at] = row[i]
                counts[at] += 1
    return taken


@kernel(
    types.UniTuple(INT, 2)(
        U64R, U64R, I32R, U64R, U64R, I32R, INT, INT, types.float64, INT, types.float64, U64, U64, I32, U8, I32
    )
)
def judge(
    context, following, row, keys, tokens, counts, least, sample, fixed_share, rare_rows, rare_share,
    out_context, out_token, out_share, out_rare, out_row,
):  # fmt: skip
    """What contexts in at least `least` rows say; returns how many verdicts there are, and how many rows follow one.

    context, following, row: from `contexts`, rows ascending · keys, tokens, counts: from `count` · sample: how many
    rows were looked at · fixed_share, rare_rows, rare_share: see `templating` · out_context, out_token, out_share,
    out_rare: as `build` takes them, at most as many as places are taken · out_row: the rows with a token that goes on
    as a fixed context does, ascending.
    """
    n = len(context)
    best = np.zeros(len(keys), np.int64)  # at a context's place: that of its most frequent continuation, plus 1
    known, says = np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.bool_)
    pair_of, pairs, owners = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)  # pair_of: plus 1
    distinct = 0
    for i in range(n):
        at = slot_of(keys, context[i])
        if counts[at] < least:
            continue
        pair = slot_of(keys, continuation_key(context[i], following[i]))
        pair_of[i] = pair + 1
        if known[pair]:
            continue
        known[pair] = True
        pairs[distinct] = pair
        owners[distinct] = at
        distinct += 1
        main = best[at] - 1
        if main < 0 or counts[pair] > counts[main] or (counts[pair] == counts[main] and tokens[pair] < tokens[main]):
            best[at] = pair + 1
    made = 0
    for i in range(distinct):
        at, pair = owners[i], pairs[i]
        is_fixed = counts[best[at] - 1] >= fixed_share * counts[at]
        is_main = best[at] == pair + 1
        is_rare = is_fixed and not is_main and counts[pair] >= max(np.float64(rare_rows), rare_share * counts[at])
        if is_main or is_rare:
            out_context[made] = keys[at]
            out_token[made] = tokens[pair] if is_fixed else BRANCHES
            out_share[made] = np.int32(counts[at] / sample * 1e6)
            out_rare[made] = is_rare
            made += 1
            says[pair] = is_fixed and is_main and tokens[pair] != END
    holding = 0
    for i in range(n):
        if row[i] >= 0 and pair_of[i] > 0 and says[pair_of[i] - 1] and (holding == 0 or out_row[holding - 1] != row[i]):
            out_row[holding] = row[i]
            holding += 1
    return made, holding


@kernel(VOID(U64R, U64R, I32R, U8R, U64, U64, I32, U8))
def build(context, token, share, rare, keys, values, held, seen):
    """Fill the table that `classify` reads.

    context, token, share, rare (c,): rare 0: the context's main continuation, or BRANCHES, and the share of its
    source's rows that hold the context, in millionths; 1: a continuation that is not the main one but no exception
    either · keys, values, held (2^t,): zeros · seen: zeros, bits by a part of the context's key.
    """
    for i in range(len(context)):
        if rare[i]:
            keys[slot_of(keys, continuation_key(context[i], token[i]))] = continuation_key(context[i], token[i])
            continue
        at = slot_of(keys, context[i])
        keys[at] = context[i]
        values[at] = token[i]
        held[at] = share[i]
        bit = (context[i] >> np.uint64(8)) & np.uint64(8 * len(seen) - 1)
        seen[bit >> np.uint64(3)] |= np.uint8(1 << (bit & np.uint64(7)))
