"""What the rows of a source say about contexts: how many hold one, and in how many ways they go on after it.

A context is the hash of the CONTEXT tokens before a token and of the voice that speaks: the role, in one source. What
a tool schema says after `"name":` tells nothing of an answer, and one source nothing of another.
`kernels/templates.py` says what follows from the counts.
"""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import I32, I32R, I64R, INT, U8, U8R, U64, U64R, VOID, helper, kernel
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
def _bucket(context, tally):
    """Place of a context in a tally, by bits that no hash table uses first."""
    return np.int64(context >> np.uint64(20) & np.uint64(len(tally) - 1))


@kernel(INT(U8R, I64R, I64R, I64R, I32R, U8R, I32R, U64, U64, I32, I32))
def contexts(data, begin, end_of, row_start, voice, classes, fold, context, following, row, tally):
    """Every token and segment end of the rows with the context before it; returns how many there are.

    Segment s is data[begin[s]:end_of[s]] of voice[s]; row r has segments row_start[r]:row_start[r + 1]. context,
    following, row: one entry per token, and 1 + TAIL at most per segment: its end, and its last tokens read backwards,
    where BACKWARDS is added to the row ·
    tally (2^t,): how many entries have a context of each bucket, added to what is there. A context reaches over a
    segment's beginning as its voice.
    """
    hashes = np.empty(ROOM + BLOCK, np.uint64)
    starts, ends = np.empty(ROOM + BLOCK, np.int64), np.empty(ROOM + BLOCK, np.int64)
    total = 0
    for r in range(len(row_start) - 1):
        for s in range(row_start[r], row_start[r + 1]):
            at = begin[s]
            edge = before(voice[s])
            a, b, c, d = edge, edge, edge, edge
            first = total
            while at < end_of[s]:
                found, at = next_tokens(data, at, end_of[s], classes, fold, 1, hashes, starts, ends, 0)
                for i in range(found):
                    context[total] = context_of(edge, a, b, c, d)
                    following[total] = hashes[i]
                    row[total] = r
                    total += 1
                    a, b, c, d = b, c, d, hashes[i]
            if total == first:  # an empty string is no way in which the others might have begun
                continue
            context[total] = context_of(edge, a, b, c, d)
            following[total] = END
            row[total] = r
            total += 1
            tail = tail_of(edge)
            for k in range(min(TAIL, total - 1 - first)):
                token = d if k == 0 else c if k == 1 else b if k == 2 else a
                context[total] = tail
                following[total] = token
                row[total] = r + BACKWARDS
                total += 1
                tail = earlier_tail(tail, token)
    for i in range(total):
        tally[_bucket(context[i], tally)] += 1
    return total


@kernel(INT(U64, U64, I32, I32R, INT))
def keep_common(context, following, row, tally, least):
    """Move the entries whose bucket has at least `least` of them to the front, in order; returns how many.

    Most contexts are rare, and most of these go here; no context in `least` rows does.
    """
    kept = 0
    for i in range(len(context)):
        context[kept] = context[i]
        following[kept] = following[i]
        row[kept] = row[i]
        kept += tally[_bucket(context[i], tally)] >= least
    return kept


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


@kernel(INT(U64R, U64R, I32R, U64R, U64R, I32R, INT, U64, U64, I32, I32))
def choose(context, following, row, keys, tokens, counts, least, out_context, out_token, out_rows, out_with):
    """The continuations of contexts in at least `least` rows, one entry per distinct pair; returns how many.

    keys, tokens, counts: from `count` · out: context, what follows, rows with the context, rows with both.
    """
    done = np.zeros(len(keys), np.bool_)
    made = 0
    for i in range(len(context)):
        at = slot_of(keys, context[i])
        if keys[at] == 0 or counts[at] < least:
            continue
        pair = slot_of(keys, continuation_key(context[i], following[i]))
        if not done[pair]:
            done[pair] = True
            out_context[made] = context[i]
            out_token[made] = following[i]
            out_rows[made] = counts[at]
            out_with[made] = counts[pair]
            made += 1
    return made


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
