"""What an untuned base model already knows: its loss on every token of the answers, in our own tokens.

    rows -> the model's own chat template and tokens -> loss of each of its tokens -> shared out to ours

A token of the model that covers several of ours (a full stop with the bracket before it) gives each an equal part;
tokens that hold white space only go to none. Where a base is at hand, this stands in for `scanner.background`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from scanner.chat import Answer, encode
from scanner.models import LanguageModel
from scanner.objects import Float32, Float64, Int64, Segment
from scanner.tokenising import TokenisedRows
from scanner.training import measure

ROWS_AT_ONCE = 512  # encoded together; `measure` cuts them further by the size of their logits


@dataclass(frozen=True)
class BaseLosses:
    """Teacher-forced loss of the base before any tuning."""

    loss_nats: Float32  # (T,) -log probability of each token; NaN where it was not measured
    measured: int  # tokens
    rows_beyond_context: int  # rows of which some answer goes on behind the model's context
    rows_not_aligned: int  # rows of which some answer has other tokens in the model's template than in the data


def base_losses(
    model: LanguageModel,
    rows: Sequence[Sequence[Segment]],
    text: TokenisedRows,
    bf16: bool,
    advance: Callable[[int], None] = lambda rows: None,
) -> BaseLosses:
    """Measure every answer of every row.

    rows (n): the segments of each row, in the order of `text`, which holds the same rows in our own tokens
    (`tokens_of_rows` with tokenizer=None). Raises ModelError where the model's template or tokenizer changes the text.
    """
    out = np.full(len(text.tokens), np.nan, np.float32)
    edges = np.searchsorted(text.answer_row, np.arange(len(rows) + 1))
    beyond, strange = set[int](), set[int]()
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        examples = encode(list(islice(rows, begin, begin + ROWS_AT_ONCE)), model.tokenizer, model.context)
        for place, found in measure(model, examples, bf16):
            row = begin + place
            answers = [answer for answer in examples[place].answers if len(answer.words)]
            spans = range(edges[row], edges[row + 1])
            if len(answers) < len(spans):
                beyond.add(row)
            for answer, span in zip(answers, spans, strict=False):
                start, end = int(text.answer_start[span]), int(text.answer_end[span])
                known = len(answer.words)
                if not answer.whole:
                    beyond.add(row)
                elif known < end - start:  # more words are a cut by --max-length
                    strange.add(row)
                    continue
                known = min(known, end - start)
                out[start : start + known] = shared(found.loss_nats, answer)[:known]
        advance(len(examples))
    return BaseLosses(out, int(np.isfinite(out).sum()), len(beyond), len(strange))


def shared(loss_nats: Float32, answer: Answer) -> Float64:
    """(w,) nats: the loss of the model's tokens, shared out to our own tokens of an answer.

    loss_nats (t,) of every token of the row; a row's very first token has none (nothing comes before it): NaN.
    """
    first, last = answer.words[:, 0], answer.words[:, 1]
    change: Int64 = np.zeros(len(loss_nats) + 1, np.int64)
    np.add.at(change, first, 1)
    np.add.at(change, last, -1)
    part = loss_nats.astype(np.float64) / np.maximum(1, np.cumsum(change)[:-1])
    return np.array([part[a:b].sum() for a, b in answer.words.tolist()])
