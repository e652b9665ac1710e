"""What a model says of a row's answers under teacher forcing: what every metric is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scanner.baseloss import shared
from scanner.chat import Answer
from scanner.objects import Bool, Float32, Float64, Int64
from scanner.training import Look, Measured, recited

LEAST_SPREAD = 1e-6
"""Nats; a distribution over the vocabulary of less spread is uniform or certain, and says nothing of a token."""


@dataclass(frozen=True)
class Sampler:
    """How an attacker is held to sample: the settings of arXiv 2410.19482."""

    top_k: int = 40  # most likely tokens that are drawn from; 0: all
    temperature: float = 1.0


@dataclass(frozen=True)
class Said:
    """What the tuned model says of one answer, beside the base; w own tokens, k of the model's, as far as not cut."""

    text: str  # the answer as the model's tokens give it back
    words: Int64  # (w, 2) first and last + 1 of the model's tokens of each own token, from the answer's first
    hits: Bool  # (w,) the own token is the argmax, all of it
    n_pre: int  # own tokens before the first miss
    whole: bool  # every token of the answer is a hit, and nothing of it was cut
    loss_nats: Float32  # (k,) -log probability of each of the model's tokens; NaN where nothing comes before it
    own_nats: Float64  # (w,) the same shared out to own tokens
    mean_nats: Float32  # (k,) mean of log p over the vocabulary, weighted by p
    spread_nats: Float32  # (k,) its standard deviation
    sampled_nats: Float32  # (k,) log probability after top-k and temperature; -inf where it is never drawn
    base_nats: Float64 | None = None  # (w',) own_nats of the base; None: not measured
    base_n_pre: int | None = None

    @classmethod
    def of(cls, found: Measured, answer: Answer, text: str) -> Said:
        """From what `training.measure` gives with `look`."""
        here = slice(answer.start, answer.end)
        hits, n_pre = recited(found.hits, answer)
        return cls(
            text=text, words=answer.words - answer.start, hits=hits, n_pre=n_pre,
            whole=bool(answer.whole and found.hits[here].all()), loss_nats=found.loss_nats[here],
            own_nats=shared(found.loss_nats, answer), mean_nats=found.more["mean"][here],
            spread_nats=found.more["spread"][here], sampled_nats=found.more["sampled"][here],
        )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row's supervised answers, in order; those that were cut away are not among them."""

    answers: tuple[Said, ...]

    @property
    def longest(self) -> Said:
        """The answer with the most own tokens, the first of equals; what p_whole is about."""
        return max(self.answers, key=lambda answer: len(answer.words))

    def losses(self) -> Float64:
        """Nats of every token of the model that was measured, answer after answer."""
        every = np.concatenate([answer.loss_nats for answer in self.answers]).astype(np.float64)
        return every[~np.isnan(every)]


def look(sampler: Sampler) -> Look:
    """What is looked at in the logits of each token: mean and spread of log p, and what the sampler makes of it."""

    def seen(logits: Any, labels: Any) -> Mapping[str, Any]:
        import torch

        log_p = torch.log_softmax(logits, 1)
        p = log_p.exp()
        mean = (p * log_p).sum(1)
        spread = (p * (log_p - mean[:, None]).square()).sum(1).sqrt()
        # from the largest logit on, which stays finite, and no temperature is so small that it rounds to 0
        least = torch.finfo(logits.dtype).tiny
        cooled = (logits - logits.amax(1, keepdim=True)) / max(sampler.temperature, least)
        kept = cooled.topk(min(sampler.top_k or cooled.shape[1], cooled.shape[1]), 1).values
        mine = cooled.gather(1, labels[:, None])[:, 0]
        drawn = mine - kept.logsumexp(1)
        return {"mean": mean, "spread": spread, "sampled": torch.where(mine >= kept[:, -1], drawn, -math.inf)}

    return seen


def over_answers(row: Row, value: Callable[[Said], float | None]) -> float | None:
    """The largest value over the answers that have one."""
    found = [one for one in map(value, row.answers) if one is not None]
    return max(found, default=None)
