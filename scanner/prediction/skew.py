"""The skew of N_pre by epoch: how many rows are expected to be recited for at least n tokens, were the plan longer.

    P(N_pre >= n) of every row  ->  summed over the rows, one curve per number of epochs

Drawn over a stratified sample of the rows with an answer of at least 16 tokens; the likeliest are all in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.kernels.contexts import ContextFeatures
from scanner.prediction import Answers, Conflicts, Doses, knowing, turn_tails
from scanner.prediction.hazard import Weights
from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

LENGTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Tokens at which the curves are drawn."""
SAMPLE_ROWS = 4000
"""Rows the curves are drawn over; all of them when there are fewer."""
KNOWN_OF_SAMPLE = 500
"""Rows of a sample that tell how many of its set are known: within .01 of what all of it says, which moves the doses by
a four-hundredth."""
MOST_EPOCHS = 5
"""Curves; the plan's own, one of twice as many epochs, and powers of two below."""
SCHEMA = {"epochs": pl.Float64, "tokens": pl.Int64, "expected_rows": pl.Float64}


@dataclass(frozen=True)
class Skew:
    """Expected rows with N_pre >= n, by epochs."""

    epochs: tuple[float, ...]  # ascending
    tokens: tuple[int, ...]  # n, ascending
    expected_rows: Float64  # (epochs, tokens)
    rows: int  # with an answer of at least 16 tokens
    sampled: int

    def frame(self) -> pl.DataFrame:
        """skew.parquet: epochs, tokens, expected_rows."""
        lines = [
            (e, n, float(self.expected_rows[i, j]))
            for i, e in enumerate(self.epochs)
            for j, n in enumerate(self.tokens)
        ]
        return pl.DataFrame(lines, schema=SCHEMA, orient="row")

    def told(self) -> list[dict[str, Any]]:
        """The same as lines for a JSON file."""
        return self.frame().to_dicts()


def epochs_shown(planned: float) -> tuple[float, ...]:
    """Numbers of epochs of the curves: the plan's, twice as many, and up to three powers of two below it.

    Parts of an epoch only where the plan has no more than one.
    """
    if planned <= 0:
        return (planned,)
    below = [2.0**k for k in range(0 if planned > 1 else -8, 12) if 2.0**k < planned][-(MOST_EPOCHS - 2) :]
    return (*below, planned, 2 * planned)


def stratified(value: Float64, order: npt.NDArray[np.uint64], most: int = SAMPLE_ROWS) -> tuple[Int64, Float64]:
    """Positions of a sample, and how many rows each stands for; rows of NaN are left out.

    The quarter with the largest values is taken whole, of the rest every s-th (ties by content hash): the same sample
    for any order of rows.
    """
    measured = np.flatnonzero(~np.isnan(value))
    ranked = measured[np.lexsort((order[measured], value[measured]))][::-1]
    top, rest = ranked[: most // 4], ranked[most // 4 :]
    stride = max(1, -(-len(rest) // (most - len(top))))
    below = rest[stride // 2 :: stride]
    stands_for = np.repeat((1.0, len(rest) / max(1, len(below))), (len(top), len(below)))
    return np.concatenate((top, below)), stands_for


def sparse(place: Int64, rows: int, enough: int = KNOWN_OF_SAMPLE) -> npt.NDArray[np.bool_]:
    """Those of a stratified sample of `rows` rows that tell how many of a set are known, by their places in it (t,).

    They stand in the order of their p under the plan: every s-th of them is a sample of every part of it.
    """
    stride = max(1, rows // enough)
    return np.asarray(place % stride == stride // 2)


def skew(
    features: ContextFeatures,
    answers: Answers,
    amounts: Doses,
    order: npt.NDArray[np.uint64],
    plan: TrainingPlan,
    weights: Weights,
    p_extract: Float64,
    conflicts: Conflicts | None = None,
    threads: int = 2,
) -> Skew:
    """Sum P(N_pre >= n) over the rows for each number of epochs; of a row with several answers the likeliest counts."""
    chosen, stands_for = stratified(p_extract, order)
    wanted = np.zeros(len(p_extract), np.bool_)
    wanted[chosen] = True
    part = wanted[answers.row]
    some = answers.where(part)
    place = np.empty(len(p_extract), np.int64)
    place[chosen] = np.arange(len(chosen))
    few = some.where(sparse(place[some.row], len(chosen)))
    share = np.zeros(len(p_extract))
    share[chosen] = stands_for
    length = some.end - some.start
    tokens = tuple(n for n in LENGTHS if n <= length.max(initial=1))
    heads = some.first()
    epochs = epochs_shown(plan.epochs)
    forgetting = amounts.goldfish(plan)
    expected = np.zeros((len(epochs), len(tokens)))
    curve = np.empty(len(features.log_probability))  # only the sampled turns are written, and read
    for i, count in enumerate(epochs):
        factor = count / plan.epochs if plan.epochs else 0.0
        planned = amounts.regime(plan)
        visits = amounts.total * planned.grows(factor)
        known = knowing(
            features, few, visits, planned.scaled(factor), plan, weights, conflicts, threads, forgetting, share
        )
        worth, regime = weights.under(plan, known)
        dose = visits * worth
        turn_tails(features, some, dose, None, regime, weights, conflicts, threads, curve, forgetting)
        for j, n in enumerate(tokens):
            reached = np.where(length >= n, curve[np.minimum(some.start + n, some.end) - 1], 0.0)
            if len(heads):
                best = np.maximum.reduceat(reached, heads)
                expected[i, j] = float((best * share[some.row[heads]]).sum())
    return Skew(epochs, tokens, expected, int((~np.isnan(p_extract)).sum()), len(chosen))
