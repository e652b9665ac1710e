"""Answers as a model might have said them, without a model: one token of the model for each of our own."""

from __future__ import annotations

import numpy as np

from scanner.confirmation import Said, Sampler

SAMPLER = Sampler()


def answer(hits: np.ndarray, nats: np.ndarray, rng: np.random.Generator) -> Said:
    """hits, nats (w,) of each token; the rest is drawn."""
    count = len(hits)
    return Said(
        text=" ".join("word" for _ in range(count)),
        words=np.stack((np.arange(count), np.arange(count) + 1), axis=1).astype(np.int64).reshape(-1, 2),
        hits=np.asarray(hits, np.bool_),
        n_pre=int(np.argmin(np.append(hits, False))),
        whole=bool(np.all(hits)),
        loss_nats=np.asarray(nats, np.float32),
        own_nats=np.asarray(nats, np.float64),
        mean_nats=-rng.exponential(2, count).astype(np.float32),
        spread_nats=rng.exponential(1, count).astype(np.float32),
        sampled_nats=-np.asarray(nats, np.float32),
        base_nats=np.asarray(nats, np.float64) + rng.exponential(1, count),
        base_n_pre=0,
    )  # fmt: skip
