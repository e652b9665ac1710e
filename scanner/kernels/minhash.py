"""One pass over the text: MinHash signatures, content hashes and token counts of every row.

Signatures are bit-identical to datasketch 2.x `MinHash` (scheme "affine32") fed the same 32-bit shingle hashes with
the same permutations. A shingle is `width` consecutive folded tokens of one segment; a shorter segment is one
shingle. System prompts and tool schemas are left out of the shingles (many rows share them word for word), but have
a content hash of their own.
"""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import (
    B1R,
    I32R,
    I64,
    I64R,
    INT,
    U8,
    U8R,
    U32_2D,
    U32R,
    U64,
    U64_2D,
    VOID,
    helper,
    kernel,
    maker,
)
from scanner.kernels._words import (
    BLOCK,
    LANES,
    SHINGLE_STEP,
    SHINGLES,
    code_points,
    load64,
    mix_shingles,
    take_minima,
    word_at,
)
from scanner.kernels.hashing import combine, fmix64, murmur128
from scanner.kernels.tokens import ROOM, ascii_room, ascii_tokens, next_tokens

SKIPPED, PROMPT_PART, ANSWER_PART = 0, 1, 2
IN_PROMPT, IN_ANSWER, IN_BOTH = np.uint64(1), np.uint64(2), np.uint64(3)
"""Lowest bits of a word of `shingle_sets`."""
MAX_WIDTH = 64
_BUFFER = MAX_WIDTH + ROOM + BLOCK
RUN, RUN_SEGMENTS = 1 << 12, 256
"""Bytes and segments of ASCII text whose tokens are cut together: so few that they stay in a core's first cache."""
_RUN_TOKENS = MAX_WIDTH + RUN + 2 * BLOCK
_STEP = np.uint64(SHINGLE_STEP)


@helper
def put_shingles(tokens, count, width, out):
    """out[i] = 64-bit hash of tokens[i:i + width], in order, for every i up to count - width; returns their number.

    A polynomial of the (well-mixed) token hashes, spread by fmix64. Each step runs over all shingles at once, so that
    the processor takes several at a time.
    """
    made = count - width + 1
    for i in range(made):
        out[i] = np.uint64(width) * _STEP + tokens[i]
    for place in range(1, width):
        later = tokens[place : place + made]
        for i in range(made):
            out[i] = out[i] * _STEP + later[i]
    for i in range(made):
        out[i] = fmix64(out[i])
    return made


@helper
def _shingles_so_far(tokens, count, n, at_end, width, out):
    """Put the shingles of tokens[:count], the last of the n tokens read so far; a text shorter than one is one."""
    if count >= width:
        return put_shingles(tokens, count, width, out)
    if at_end and 0 < n == count:
        return put_shingles(tokens, count, count, out)
    return 0


@maker
def _padded(values):
    """A copy whose length is a multiple of LANES, zeros at the end."""
    out = np.zeros(-(-len(values) // LANES) * LANES, np.uint32)
    for j in range(len(values)):
        out[j] = values[j]
    return out


@helper
def _keep_last(tokens, count, keep):
    """Move the last `keep` of tokens[:count] to the front: the shingles of what follows begin with them."""
    for i in range(keep):
        tokens[i] = tokens[count - keep + i]
    return keep


@kernel(
    INT(U8R, I64R, I64R, U8R, B1R, U8R, I32R, INT, U32R, U32R, U32_2D, U64, U64, U64, U64_2D, I64, I64, I64, I64, I64)
)
def fingerprint(
    data, offsets, row_start, part, supervised, classes, fold, width, a, b, signature, prompts, answers, contexts,
    normal, all_tokens, learned_tokens, shingles, prompt_chars, answer_chars,
):  # fmt: skip
    """Signature, hashes and counts of every row; returns the number of tokens.

    data, offsets (s + 1,): segments · row_start (r + 1,): first segment of each row · part (s,): SKIPPED, PROMPT_PART
    or ANSWER_PART · supervised (s,): learned by the model · a, b (p,): affine32 permutations · the others (r, ...): as
    in objects.Fingerprints, signature (r, p) all 2^32 - 1 for rows without shingles, shingles with repeats.
    """
    tokens = np.empty(_RUN_TOKENS + SHINGLES, np.uint64)[:_RUN_TOKENS]
    starts, ends = np.empty(_RUN_TOKENS, np.int64), np.empty(_RUN_TOKENS, np.int64)
    room = ascii_room(MAX_WIDTH + RUN, RUN_SEGMENTS)
    before = room[2]
    mixed = np.empty(_RUN_TOKENS + SHINGLES, np.uint32)
    columns = len(a)
    a, b = _padded(a), _padded(b)
    low = np.empty(len(a), np.uint32)
    segments = row_start[-1]
    base = known = row_start[0]  # the tokens of segments from the one up to the other are at hand
    count = 0
    reached = offsets[0]
    total = 0
    for r in range(len(row_start) - 1):
        for j in range(len(low)):
            low[j] = np.uint32(0xFFFFFFFF)
        prompt = np.uint64(1)
        answer = np.uint64(2)
        context = np.uint64(3)
        order = np.uint64(7)
        row_tokens = 0
        learned = 0
        made = 0
        prompt_points = 0
        answer_points = 0
        for s in range(row_start[r], row_start[r + 1]):
            begin, end = offsets[s], offsets[s + 1]
            kind = part[s]
            if s == known:
                base, known = s, s + 1
                while known < segments and known - s < RUN_SEGMENTS and offsets[known + 1] - begin <= RUN:
                    known += 1
                stop = min(offsets[known], begin + RUN)
                count, reached, last = ascii_tokens(data, begin, stop, offsets, s, known, tokens, starts, ends, room, 0)
                known = last + 1
                if count >= width:  # those that reach from one segment into the next are passed over
                    mix_shingles(tokens, count - width + 1, width, mixed, 0)
            first = before[s - base]
            if s + 1 < known:
                after, at = before[s + 1 - base], end
            else:
                after, at = count, reached
            n = after - first
            # two chains in turn, so that neither waits for the other
            text, between = np.uint64(5), np.uint64(7)
            for i in range(first, after):
                text, between = between, combine(text, tokens[np.uint64(i)])
            points = at - begin + code_points(data, at, end)
            if supervised[s]:
                answer_points += points
            else:
                prompt_points += points
            new, done = n - width + 1, begin
            while True:
                if kind != SKIPPED:
                    if new > 0:
                        take_minima(low, a, b, mixed, first, new)
                        made += new
                    elif at >= end and 0 < n < width:  # a text shorter than a shingle is one
                        mix_shingles(tokens[first:], 1, n, mixed, count)
                        take_minima(low, a, b, mixed, count, 1)
                        made += 1
                if at >= end:
                    break
                # the last segment at hand is longer than a run, or has other bytes than ASCII
                held = _keep_last(tokens, after, min(n, width - 1))
                is_plain, done = at - done > RUN // 2, at
                if is_plain:
                    stop = min(end, at + RUN)
                    after, at, _ = ascii_tokens(data, at, stop, offsets, s, s + 1, tokens, starts, ends, room, held)
                else:
                    after, at = next_tokens(data, at, end, classes, fold, 1, tokens, starts, ends, held)
                for i in range(held, after):
                    text, between = between, combine(text, tokens[i])
                n += after - held
                first, new = 0, after - width + 1
                if new > 0:
                    mix_shingles(tokens, new, width, mixed, 0)
            if n == 0:
                continue
            text = combine(text, fmix64(between))
            if kind == SKIPPED:
                context = combine(context, fmix64(text))
            elif kind == ANSWER_PART:
                answer = combine(answer, fmix64(text))
            else:
                prompt = combine(prompt, fmix64(text))
            order = combine(order, np.uint64(kind))  # who speaks when: the same turns in another order are another row
            row_tokens += n
            if supervised[s]:
                learned += n
        for j in range(columns):
            signature[r, j] = low[j]
        prompt, answer, context = fmix64(prompt), fmix64(answer), fmix64(context)
        prompts[r] = prompt
        answers[r] = answer
        contexts[r] = context
        normal[r, 0] = fmix64(combine(combine(combine(prompt, answer), context), order))
        normal[r, 1] = fmix64(combine(combine(combine(context, prompt), answer), order))
        all_tokens[r] = row_tokens
        learned_tokens[r] = learned
        shingles[r] = made
        prompt_chars[r] = prompt_points
        answer_chars[r] = answer_points
        total += row_tokens
    return total


@kernel(VOID(U8R, I64R, I64R, I64R, U8R, B1R, U64_2D))
def text_hashes(data, begin, end_of, row_start, role, supervised, out):
    """Two hashes of each row's raw text with roles: equal for rows that train alike.

    Segment s is data[begin[s]:end_of[s]]; row r has segments row_start[r]:row_start[r + 1]. role, supervised (s,) ·
    out (n, 2).
    """
    for r in range(len(row_start) - 1):
        text_a = np.uint64(4)
        text_b = np.uint64(6)
        for s in range(row_start[r], row_start[r + 1]):
            h1, h2 = murmur128(data, begin[s], end_of[s])
            tag = np.uint64(role[s]) << np.uint64(1) | np.uint64(supervised[s])
            text_a = combine(text_a, h1 + tag)
            text_b = combine(text_b, h2 ^ tag)
        out[r, 0] = fmix64(text_a)
        out[r, 1] = fmix64(text_b)


@kernel(VOID(U8R, I64R, I64R, I64R, U8R, B1R, I64R, INT, INT, U8))
def same_texts(data, begin, end_of, row_start, role, supervised, other, first, last, same):
    """Whether each of rows [first, last) has the segments of row other[r], byte for byte, in the same roles.

    Segments as in `text_hashes` · other (n,) · same (n,): 1 or 0.
    """
    for r in range(first, last):
        if other[r] == r:
            same[r] = 1
            continue
        shift = row_start[other[r]] - row_start[r]
        same[r] = row_start[other[r] + 1] - row_start[r + 1] == shift
        for s in range(row_start[r], row_start[r + 1]):
            if not same[r]:
                break
            length = end_of[s] - begin[s]
            t = s + shift
            if end_of[t] - begin[t] != length or role[t] != role[s] or supervised[t] != supervised[s]:
                same[r] = 0
                break
            whole = length & ~7
            for i in range(0, whole, 8):
                if load64(data, begin[s] + i) != load64(data, begin[t] + i):
                    same[r] = 0
                    break
            rest = length - whole
            if word_at(data, begin[s] + whole, rest) != word_at(data, begin[t] + whole, rest):
                same[r] = 0


@kernel(INT(U8R, I64R, I64R, I64R, U8R, U8R, I32R, INT, U64, I64, I64))
def shingle_sets(data, begin, end_of, row_start, part, classes, fold, width, out, bounds, sizes):
    """The distinct shingles of each row as one ascending run of tagged words; returns the number written.

    Segment s is data[begin[s]:end_of[s]]; row r has segments row_start[r]:row_start[r + 1].
    out: at least as long as the rows have tokens; a word is the shingle's hash, but for its lowest two bits: IN_PROMPT
    and IN_ANSWER, where it stands · bounds (n + 1,): row r's set is out[bounds[r]:bounds[r + 1]] · sizes (2 n,): per
    row the shingles that stand in its prompt, and in its answer.
    """
    tokens = np.empty(_BUFFER, np.uint64)
    starts = np.empty(_BUFFER, np.int64)
    ends = np.empty(_BUFFER, np.int64)
    at_out = 0
    bounds[0] = 0
    for r in range(len(row_start) - 1):
        first = at_out
        for s in range(row_start[r], row_start[r + 1]):
            if part[s] == SKIPPED:
                continue
            where = IN_PROMPT if part[s] == PROMPT_PART else IN_ANSWER
            at = begin[s]
            end = end_of[s]
            held = 0
            n = 0
            while at < end:
                count, at = next_tokens(data, at, end, classes, fold, 1, tokens, starts, ends, held)
                n += count - held
                new = _shingles_so_far(tokens, count, n, at >= end, width, out[at_out:])
                for i in range(at_out, at_out + new):
                    out[i] = out[i] & ~IN_BOTH | where
                at_out += new
                held = _keep_last(tokens, count, min(count, width - 1))
        out[first:at_out].sort()
        kept = first
        for i in range(first, at_out):
            if kept > first and (out[i] ^ out[kept - 1]) <= IN_BOTH:
                out[kept - 1] |= out[i]
            else:
                out[kept] = out[i]
                kept += 1
        at_out = kept
        in_prompt, in_answer = np.int64(0), np.int64(0)
        for i in range(first, at_out):
            in_prompt += np.int64(out[i] & IN_PROMPT)
            in_answer += np.int64(out[i] >> IN_PROMPT & IN_PROMPT)
        bounds[r + 1] = at_out
        sizes[2 * r] = in_prompt
        sizes[2 * r + 1] = in_answer
    return at_out
