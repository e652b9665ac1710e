"""One pass over the text: MinHash signatures, content hashes and token counts of every row.

Signatures are bit-identical to datasketch 2.x `MinHash` (scheme "affine32") fed the same 32-bit shingle hashes with
the same permutations. A shingle is `width` consecutive folded tokens of one segment; a shorter segment is one
shingle. System prompts and tool schemas are left out of the shingles (many rows share them word for word), but have
a content hash of their own.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from scanner.kernels._jit import B1R, I32R, I64, I64R, INT, U8R, U32_2D, U32R, U64, U64_2D, kernel
from scanner.kernels.hashing import combine, fmix32, fmix64, murmur128
from scanner.kernels.tokens import next_token

PROMPT, ANSWER, CONTEXT, NORMAL_A, NORMAL_B, TEXT_A, TEXT_B = 0, 1, 2, 3, 4, 5, 6
HASHES = 7
"""Columns of the row hashes: normalised prompt, answer and context (system, tools, rejected answers); two of the whole
normalised row; two of its raw text with roles."""
COUNTS = 5
SKIPPED, PROMPT_PART, ANSWER_PART = 0, 1, 2
_RING = 64
MAX_WIDTH = _RING


@njit(nogil=True)
def shingle_hash(ring, last, length):
    """64-bit hash of the `length` tokens that end at place `last` of the ring, in order."""
    h = np.uint64(length)
    for i in range(length):
        h = combine(h, ring[(last - length + 1 + i) & (_RING - 1)])
    return fmix64(h)


@njit(nogil=True)
def _code_points(data, start, end):
    points = 0
    for i in range(start, end):
        points += data[i] & 0xC0 != 0x80
    return points


@njit(nogil=True)
def _push(signature, a, b, shingle):
    x = fmix32(np.uint32(shingle & np.uint64(0xFFFFFFFF)))
    for j in range(len(a)):
        value = np.uint32(a[j] * x + b[j])
        signature[j] = min(signature[j], value)


@kernel(INT(U8R, I64R, I64R, U8R, U8R, B1R, U8R, I32R, INT, U32R, U32R, U32_2D, U64_2D, I64))
def fingerprint(
    data, offsets, row_start, role, part, supervised, classes, fold, width, a, b, signature, hashes, counts
):
    """Signature, hashes and counts of every row; returns the number of tokens.

    data, offsets (s + 1,): segments · row_start (n + 1,): first segment of each row · role (s,) · part (s,): SKIPPED,
    PROMPT_PART or ANSWER_PART · supervised (s,): learned by the model · a, b (p,): affine32 permutations · signature
    (n, p): all 2^32 - 1 for rows without shingles · hashes (n, HASHES) · counts (COUNTS n,): per row its tokens, its
    supervised tokens, its shingles (repeats counted), its code points before and in the supervised segments.
    """
    ring = np.empty(_RING, np.uint64)
    total = 0
    for r in range(len(row_start) - 1):
        for j in range(len(a)):
            signature[r, j] = np.uint32(0xFFFFFFFF)
        prompt = np.uint64(1)
        answer = np.uint64(2)
        context = np.uint64(3)
        order = np.uint64(7)
        text_a = np.uint64(4)
        text_b = np.uint64(6)
        row_tokens = 0
        learned = 0
        made = 0
        prompt_points = 0
        answer_points = 0
        for s in range(row_start[r], row_start[r + 1]):
            at = offsets[s]
            end = offsets[s + 1]
            kind = part[s]
            h1, h2 = murmur128(data, at, end)
            tag = np.uint64(role[s]) << np.uint64(1) | np.uint64(supervised[s])
            text_a = combine(text_a, h1 + tag)
            text_b = combine(text_b, h2 ^ tag)
            points = _code_points(data, at, end)
            if supervised[s]:
                answer_points += points
            else:
                prompt_points += points
            n = 0
            text = np.uint64(5)
            while True:
                h, start, at = next_token(data, at, end, classes, fold, 1)
                if start == at:
                    break
                text = combine(text, h)
                if kind != SKIPPED:
                    ring[n & (_RING - 1)] = h
                    if n + 1 >= width:
                        _push(signature[r], a, b, shingle_hash(ring, n, width))
                        made += 1
                n += 1
            if n == 0:
                continue
            if kind != SKIPPED and n < width:
                _push(signature[r], a, b, shingle_hash(ring, n - 1, n))
                made += 1
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
        prompt, answer, context = fmix64(prompt), fmix64(answer), fmix64(context)
        hashes[r, PROMPT] = prompt
        hashes[r, ANSWER] = answer
        hashes[r, CONTEXT] = context
        hashes[r, NORMAL_A] = fmix64(combine(combine(combine(prompt, answer), context), order))
        hashes[r, NORMAL_B] = fmix64(combine(combine(combine(context, prompt), answer), order))
        hashes[r, TEXT_A] = fmix64(text_a)
        hashes[r, TEXT_B] = fmix64(text_b)
        counts[COUNTS * r] = row_tokens
        counts[COUNTS * r + 1] = learned
        counts[COUNTS * r + 2] = made
        counts[COUNTS * r + 3] = prompt_points
        counts[COUNTS * r + 4] = answer_points
        total += row_tokens
    return total


@kernel(INT(U8R, I64R, I64R, I64R, U8R, U8R, I32R, INT, U64, I64))
def shingle_sets(data, begin, end_of, row_start, part, classes, fold, width, out, bounds):
    """The distinct 64-bit shingles of each row, prompt and answer apart, sorted; returns the number written.

    Segment s is data[begin[s]:end_of[s]]; row r has segments row_start[r]:row_start[r + 1].
    out: at least as long as the rows have tokens · bounds (2 n + 1,): row r's prompt set is
    out[bounds[2 r]:bounds[2 r + 1]], its answer set out[bounds[2 r + 1]:bounds[2 r + 2]].
    """
    ring = np.empty(_RING, np.uint64)
    at_out = 0
    bounds[0] = 0
    for r in range(len(row_start) - 1):
        for wanted in (PROMPT_PART, ANSWER_PART):
            first = at_out
            for s in range(row_start[r], row_start[r + 1]):
                if part[s] != wanted:
                    continue
                at = begin[s]
                end = end_of[s]
                n = 0
                while True:
                    h, start, at = next_token(data, at, end, classes, fold, 1)
                    if start == at:
                        break
                    ring[n & (_RING - 1)] = h
                    if n + 1 >= width:
                        out[at_out] = shingle_hash(ring, n, width)
                        at_out += 1
                    n += 1
                if 0 < n < width:
                    out[at_out] = shingle_hash(ring, n - 1, n)
                    at_out += 1
            out[first:at_out].sort()
            kept = first
            for i in range(first, at_out):
                if kept == first or out[i] != out[kept - 1]:
                    out[kept] = out[i]
                    kept += 1
            at_out = kept
            bounds[2 * r + (1 if wanted == PROMPT_PART else 2)] = at_out
    return at_out
