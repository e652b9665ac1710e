"""What an untuned base model already knows: its loss on every token of the answers, in our own tokens.

    rows -> the model's own chat template and tokens -> loss of each of its tokens -> shared out to ours

A token of the model that covers several of ours (a full stop with the bracket before it) gives each an equal part;
tokens that hold white space only go to none. Where a base is at hand, this stands beside `scanner.background`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from scanner.chat import Answer, Example, encode_some
from scanner.errors import ModelError
from scanner.models import LanguageModel
from scanner.objects import Float32, Float64, Int64, Segment
from scanner.tokenising import TokenisedRows
from scanner.training import measure

ROWS_AT_ONCE = 512  # encoded together; `measure` cuts them further by the size of their logits
LARGEST_REFUSED = 0.1
"""Share of the rows that a base's template may refuse; above it the losses would be those of other data."""
PROBED_ROWS = 16
SHORT_SECONDS = 60.0
"""What can be measured in fp32 within this is, whatever bf16 would gain: fp32 gives the same losses again."""
CLEARLY_FASTER = 1.25
"""Times that bf16 must be as fast; some processors emulate it."""


@dataclass(frozen=True)
class BaseLosses:
    """Teacher-forced loss of the base before any tuning."""

    loss_nats: Float32  # (T,) -log probability of each token; NaN where it was not measured
    row_tokens: Int64  # (n,) the model's tokens of each row, cut at its context; 0 where it was refused
    reach: Int64  # (m,) tokens of ours of each answer within the context; all of them where that is not known
    measured: int  # tokens
    rows_beyond_context: int  # rows of which some answer goes on behind the model's context
    rows_not_aligned: int  # rows of which some answer has other tokens in the model's template than in the data
    rows_refused: int  # rows that the model's template does not take, or whose text it changes
    bf16: bool  # measured in mixed precision


def base_losses(
    model: LanguageModel,
    rows: Iterable[Sequence[Segment]],
    text: TokenisedRows,
    bf16: bool | None,
    advance: Callable[[int], None] = lambda rows: None,
) -> BaseLosses:
    """Measure every answer of every row.

    rows (n): the segments of each row, in the order of `text`, which holds the same rows in our own tokens
    (`tokens_of_rows` with tokenizer=None). bf16 None: as `bf16_pays` finds on the first rows. Raises ModelError where
    the model's template refuses, or changes the text of, more than LARGEST_REFUSED of the rows.
    """
    out = np.full(len(text.tokens), np.nan, np.float32)
    reach = (text.answer_end - text.answer_start).astype(np.int64)
    count = len(text.offsets) - 1
    row_tokens = np.zeros(count, np.int64)
    edges = np.searchsorted(text.answer_row, np.arange(count + 1))
    beyond, strange, refused = set[int](), set[int](), 0
    waiting, begin = iter(rows), 0
    while block := list(islice(waiting, ROWS_AT_ONCE)):
        encoded = encode_some(block, model.tokenizer, model.context)
        wrong = [example for example in encoded if isinstance(example, ModelError)]
        refused += len(wrong)
        if refused > LARGEST_REFUSED * count:
            raise ModelError(
                f"--base {model.name}: at least {refused:,} of {count:,} rows cannot be measured: {wrong[0]}"
            )
        taken = [place for place, example in enumerate(encoded) if isinstance(example, Example)]
        examples = [example for example in encoded if isinstance(example, Example)]
        row_tokens[begin + np.array(taken, np.int64)] = [len(example.ids) for example in examples]
        if bf16 is None:
            bf16 = bf16_pays(model, examples, count / max(1, len(examples)))
        for place, found in measure(model, examples, bf16):
            row = begin + taken[place]
            answers = [answer for answer in examples[place].answers if len(answer.words)]
            spans = range(edges[row], edges[row + 1])
            if len(answers) < len(spans):
                beyond.add(row)
                reach[edges[row] + len(answers) : edges[row + 1]] = 0
            for answer, span in zip(answers, spans, strict=False):
                start, end = int(text.answer_start[span]), int(text.answer_end[span])
                known = len(answer.words)
                if not answer.whole:
                    beyond.add(row)
                elif known < end - start:  # more words are a cut by --max-length
                    strange.add(row)
                    continue
                known = min(known, end - start)
                reach[span] = known
                out[start : start + known] = shared(found.loss_nats, answer)[:known]
        advance(len(block))
        begin += len(block)
    measured = int(np.isfinite(out).sum())
    return BaseLosses(out, row_tokens, reach, measured, len(beyond), len(strange), refused, bool(bf16))


def bf16_pays(model: LanguageModel, examples: Sequence[Example], blocks: float = 1.0) -> bool:
    """Whether to measure in mixed precision: fp32 would take long, and bf16 is clearly faster on this machine.

    examples: the first rows; blocks: how many times as many there are in all. Forward passes alone are timed.
    """
    some = [example for example in examples if example.supervised_tokens][:PROBED_ROWS]
    if not some:
        return False
    share = sum(len(e.ids) for e in examples) * blocks / sum(len(e.ids) for e in some)

    def seconds(bf16: bool) -> float:
        best = math.inf
        for _ in range(3):  # the first is a warm-up
            began = time.perf_counter()
            for _ in measure(model, some, bf16):
                pass
            best = min(best, time.perf_counter() - began)
        return best

    plain = seconds(False)
    return plain * share > SHORT_SECONDS and plain > CLEARLY_FASTER * seconds(True)


def halved(nats: np.ndarray) -> bytes:
    """Losses as tables keep them: float16 nats, none of them infinite."""
    return bytes(np.minimum(nats, np.finfo(np.float16).max).astype(np.float16).tobytes())


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
