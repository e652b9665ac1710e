"""A row's quality for keep policies: complete, longer, more varied answers first. The one place of the formula.

    quality = complete + log2(1 + answer tokens) / 10 + distinct answer tokens / answer tokens

complete is 1 when the answer ends as finished text ends (sentence punctuation, a closing bracket or quote, or a code
fence), else 0. The weights are a choice, not a measurement: completeness outranks length, length outranks variety
between answers of similar size.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.kernels.tokens import tokenise
from scanner.objects import Float64
from scanner.text import code_point_classes, folded_code_points

NEEDS = ("pairs",)

CLOSING = ".!?。！？…;:)]}>\"'”’»】）」`"


def qualities(answers: pl.Series) -> Float64:
    """(n,) quality of each answer (see above); 0 for an answer without tokens. Tokens are lower-cased."""
    data = np.frombuffer(b"".join(text.encode() for text in answers), np.uint8)
    offsets = np.concatenate(([0], np.cumsum(answers.str.len_bytes().to_numpy().astype(np.int64)))).astype(np.int64)
    hashes, starts = np.empty(len(data), np.uint64), np.empty(len(data), np.int64)
    counts = np.empty(len(answers), np.int64)
    found = tokenise(data, offsets, code_point_classes(), folded_code_points(), 1, hashes, starts, counts)
    owner = np.repeat(np.arange(len(answers)), counts)
    order = np.lexsort((hashes[:found], owner))
    ranked, owners = hashes[:found][order], owner[order]
    new = np.concatenate(([True], (np.diff(owners) > 0) | (ranked[1:] != ranked[:-1]))) if found else np.zeros(0, bool)
    distinct = np.bincount(owners[new], minlength=len(answers))
    complete = answers.str.strip_chars_end().str.slice(-1).is_in(list(CLOSING)).to_numpy()
    some = np.maximum(counts, 1)
    return np.where(counts > 0, complete + np.log2(1 + counts) / 10 + distinct / some, 0.0)
