"""A row's quality for keep policies: complete, longer, more varied answers first. The one place of the formula.

    quality.score = complete + log2(1 + answer tokens) / 10 + distinct answer tokens / answer tokens

It is NaN where a row has no copy and no pair, since nothing has to be chosen there.

complete is 1 when the answer ends as finished text ends (sentence punctuation, a closing bracket or quote, or a code
fence), else 0. The weights are a choice, not a measurement: completeness outranks length, length outranks variety
between answers of similar size.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.kernels.tokens import count_distinct
from scanner.objects import Float64
from scanner.text import code_point_classes, folded_code_points

CLOSING = ".!?。！？…;:)]}>\"'”’»】）」`"


def qualities(answers: pl.Series) -> Float64:
    """(n,) quality of each answer (see above); 0 for an answer without tokens. Tokens are lower-cased."""
    array = answers.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, text = array.buffers()
    places = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset) if len(array) else np.zeros(1, np.int64)
    data = np.frombuffer(text, np.uint8) if text is not None and text.size else np.zeros(0, np.uint8)
    counts, distinct = np.empty(len(answers), np.int64), np.empty(len(answers), np.int64)
    count_distinct(data, places, code_point_classes(), folded_code_points(), counts, distinct)
    last = pl.col(answers.name).str.strip_chars_end().str.slice(-1)
    complete = answers.to_frame().select(last.is_in(list(CLOSING))).to_series().to_numpy()
    some = np.maximum(counts, 1)
    return np.where(counts > 0, complete + np.log2(1 + counts) / 10 + distinct / some, 0.0)
