"""Flat JSON records to fingerprints in one go, where nobody keeps their text: it never leaves a core's cache.

`flatjson.read_flat` and `minhash.fingerprint`, a few records at a time, without going back to Python in between.
"""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import B1R, I32R, I64, I64R, INT, U8R, U32_2D, U32R, U64, U64_2D, kernel, maker
from scanner.kernels._words import BLOCK
from scanner.kernels.flatjson import SLOW, read_flat
from scanner.kernels.minhash import fingerprint

_ROWS = 256
"""Records read at a time, at most."""
_BEHIND = 4 * BLOCK
"""Bytes behind the text that may be looked at, so that its end is read as fast as the rest."""


@maker
def _repeated(values, times):
    """All values, one after another, so many times."""
    out = np.empty(times * len(values), values.dtype)
    for i in range(times):
        for j in range(len(values)):
            out[i * len(values) + j] = values[j]
    return out


@kernel(
    INT(
        U8R, I64R, I64R, U8R, I64R, I64R, I64R, I64R, U8R, I64R, U8R, B1R, U8R, I32R, INT, U32R, U32R, INT,
        U64_2D, U32_2D, U64, U64, U64, U64_2D, I64, I64, I64, I64, I64,
    )
)  # fmt: skip
def fingerprint_flat(
    buffer, start, end, keys, key_offsets, kinds, column_key, hashed, lead, lead_offsets, part, supervised, classes,
    fold, width, a, b, step, digest, signature, prompts, answers, contexts, normal, all_tokens, learned_tokens,
    shingles, prompt_chars, answer_chars,
):  # fmt: skip
    """Digest and fingerprints of flat records; returns how many were read before one that needs the general parser.

    buffer to lead_offsets: as in `read_flat` · part, supervised (c,): of each output segment, as in `fingerprint`, and
    so are classes to b · step: bytes of records that are read before they are fingerprinted, one record at least · the
    others (n, ...): as in `read_flat` and `fingerprint`.
    """
    columns = len(column_key)
    longest = 0
    for r in range(len(start)):
        longest = max(longest, end[r] - start[r])
    scratch = np.empty(2 * longest + 64 + 2 * len(lead), np.uint8)
    text = np.empty(max(step, longest) + _BEHIND, np.uint8)
    offsets = np.empty(_ROWS * columns + 1, np.int64)
    row_start = np.arange(0, _ROWS * columns + 1, columns)
    part, supervised = _repeated(part, _ROWS), _repeated(supervised, _ROWS)
    status = np.empty(_ROWS, np.uint8)
    first = 0
    while first < len(start):
        after, size = first, 0
        while (
            after < len(start)
            and after - first < _ROWS
            and (after == first or size + end[after] - start[after] <= step)
        ):
            size += end[after] - start[after]
            after += 1
        read_flat(
            buffer, start[first:after], end[first:after], keys, key_offsets, kinds, column_key, hashed, lead,
            lead_offsets, scratch, text, offsets, digest[first:after], status,
        )  # fmt: skip
        for r in range(after - first):
            if status[r] == SLOW:
                return first + r
        fingerprint(
            text, offsets, row_start[: after - first + 1], part, supervised, classes, fold, width, a, b,
            signature[first:after], prompts[first:after], answers[first:after], contexts[first:after],
            normal[first:after], all_tokens[first:after], learned_tokens[first:after], shingles[first:after],
            prompt_chars[first:after], answer_chars[first:after],
        )  # fmt: skip
        first = after
    return first
