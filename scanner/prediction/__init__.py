"""What a fine-tune under the plan would memorize, row by row, from the data alone.

    tokens -> context features ┐
    plan   -> exposures (dose) ┴-> hazard per token -> distribution of N_pre per answer -> Prediction per row

`predict` is the whole way from token arrays; `predict_rows` starts where features and doses are known already (judging
again under other weights or epochs reads no text). `given.py` says what both are given, `hazard.py` holds the model,
`words.py` the reasons, `whatif.py` the same for other plans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner import running
from scanner.batching import SEQUENCE_TOKENS
from scanner.contextual import ContextSummary, summarise, with_openings
from scanner.kernels.contexts import ContextFeatures, context_features
from scanner.kernels.hazard import USUAL_WIDTH, tails
from scanner.prediction.calibration import load_weights
from scanner.prediction.dropping import Goldfish
from scanner.prediction.freeing import known_share
from scanner.prediction.given import Answers, Conflicts, Doses, NearCopies
from scanner.prediction.hazard import (
    EXTRACTED,
    Hazard,
    HazardWithBase,
    Priors,
    Regime,
    TurnTails,
    Weights,
    quadrature,
)
from scanner.prediction.words import reasons, taxon
from scanner.sampling import asked_alone, copies_of, dose_of_set, simulate, with_copies
from scanner.settings import TrainingPlan

__all__ = [
    "EXTRACTED",
    "Answers",
    "Conflicts",
    "Doses",
    "Goldfish",
    "Hazard",
    "HazardWithBase",
    "NearCopies",
    "Prediction",
    "Priors",
    "Regime",
    "Weights",
    "doses",
    "knowing",
    "load_weights",
    "predict",
    "predict_rows",
    "turn_tails",
    "with_known",
]

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]


KNOWN_ROWS = 4000
"""Rows by which is told how many of a set are known; their mean is within .008 of that of all (one standard error)."""


@dataclass(frozen=True)
class Prediction:
    """prediction.parquet without severity, risk and band; (n,) over rows, NaN where not measured (see `reasons`)."""

    p_extract: Float64  # P(N_pre >= 16), the maximum over the supervised turns; NaN when all are shorter
    p_whole: Float64  # P(the whole of the longest supervised turn)
    p_counterfactual: Float64  # the part of p_extract that would vanish without this row
    expected_tokens: Float64  # E[N_pre], of the turn where it is largest
    tokens_q50: Float64  # quantiles of N_pre of that turn
    tokens_q95: Float64
    exposures: Float64  # dose, in visits at 3e-4 in an average step, copies included
    taxon: pl.Series
    reasons: pl.Series
    calibrated: bool
    summary: ContextSummary

    def frame(self) -> pl.DataFrame:
        """The columns of prediction.parquet that stand here, without row_id."""
        names = (
            "p_extract", "p_whole", "p_counterfactual", "expected_tokens", "tokens_q50", "tokens_q95", "exposures"
        )  # fmt: skip
        frame = pl.DataFrame({name: getattr(self, name) for name in names})
        return frame.with_columns(
            self.taxon.alias("taxon"), self.reasons.alias("reasons"), pl.lit(self.calibrated).alias("calibrated")
        )


def predict(
    tokens: UInt64,
    offsets: Int64,
    answers: Answers,
    group: Int64,
    order: UInt64,
    plan: TrainingPlan,
    weights: Weights,
    near: NearCopies | None = None,
    conflicts: Conflicts | None = None,
    sampling_weight: Float64 | None = None,
    sequence_tokens: int = SEQUENCE_TOKENS,
    seed: int = 0,
    threads: int = 2,
) -> Prediction:
    """From token hashes to the prediction of every row.

    tokens (T,) exact 64-bit hashes of all segments of each row in order; offsets (n + 1,) into them; group (n,) equal
    for exact copies; order (n,) content hashes, equal for exact copies; sampling_weight (n,) 1 where not given.
    """
    turns = (answers.row, answers.start, answers.end)
    features = with_openings(context_features(tokens, offsets, group, threads), tokens, turns, group, threads)
    amounts = doses(plan, np.diff(offsets), answers, group, order, near, sampling_weight, sequence_tokens, seed)
    amounts = with_known(features, answers, amounts, order, plan, weights, conflicts, threads)
    return predict_rows(features, answers, amounts, plan, weights, conflicts, threads)


def doses(
    plan: TrainingPlan,
    length: Int64,
    answers: Answers,
    group: Int64,
    order: UInt64,
    near: NearCopies | None = None,
    sampling_weight: Float64 | None = None,
    sequence_tokens: int = SEQUENCE_TOKENS,
    seed: int = 0,
) -> Doses:
    """Simulate the sampler and add up the exposures; length (n,) tokens of each row as the trainer sees it."""
    supervised = answers.tokens(len(length))
    pairs = (None, None, (), 3) if near is None else (near.a, near.b, near.jaccard, near.shingle)
    copies = copies_of(group, *pairs)
    exposure = simulate(plan, supervised, length, order, sampling_weight, seed, sequence_tokens, copies)
    total = with_copies(exposure.own, copies, exposure.together)
    alone = asked_alone(plan, exposure.own, total)
    number = copies.number
    of_set = dose_of_set(exposure.own, supervised, number, plan.goldfish_k)
    return Doses(exposure.own, total * alone, exposure.together, number, of_set, exposure.steps, alone)


def with_known(
    features: ContextFeatures,
    answers: Answers,
    amounts: Doses,
    order: UInt64,
    plan: TrainingPlan,
    weights: Weights,
    conflicts: Conflicts | None = None,
    threads: int = 2,
) -> Doses:
    """The doses with the share of the rows that the plan's training teaches: of KNOWN_ROWS rows, by content hash."""
    long = answers.where(answers.end - answers.start >= EXTRACTED)
    rows = long.row[long.first()]
    drawn = np.zeros(len(order), np.bool_)
    drawn[rows[np.argsort(order[rows], kind="stable")[:KNOWN_ROWS]]] = True
    some, forgetting = long.where(drawn[long.row]), amounts.goldfish(plan)
    regime = knowing(features, some, amounts.total, amounts.regime(plan), plan, weights, conflicts, threads, forgetting)
    return replace(amounts, known=regime.known)


def knowing(
    features: ContextFeatures,
    answers: Answers,
    dose: Float64,
    regime: Regime,
    plan: TrainingPlan,
    weights: Weights,
    conflicts: Conflicts | None = None,
    threads: int = 2,
    goldfish: Goldfish | None = None,
    stands_for: Float64 | None = None,
) -> Regime:
    """The training of a set with the share of its rows that it is predicted to teach (freeing.known_share).

    dose (n,), regime: without the factors of the weights. answers: of rows that stand for the set; stands_for (n,): for
    how many of its rows each one does, 1 where not given. Rows without an answer of 16 tokens are not counted.
    """
    long = answers.where(answers.end - answers.start >= EXTRACTED)
    first = replace(long, end=long.start + EXTRACTED)

    def recited(known: float) -> float:
        worth, felt = weights.under(plan, replace(regime, known=known))
        found = turn_tails(
            features, first, dose * worth, None, felt, weights, conflicts, threads, goldfish=goldfish
        ).extract
        return share_of_rows(first, found, stands_for)

    return replace(regime, known=known_share(recited))


def share_of_rows(answers: Answers, of_turns: Float64, stands_for: Float64 | None = None) -> float:
    """Mean over rows of the largest value among their turns; 0 of none. stands_for (n,): rows that each stands for."""
    heads = answers.first()
    each = np.ones(len(heads)) if stands_for is None else stands_for[answers.row[heads]]
    rows = math.fsum(each)
    return math.fsum(np.maximum.reduceat(of_turns, heads) * each) / rows if rows else 0.0


def predict_rows(
    features: ContextFeatures,
    answers: Answers,
    amounts: Doses,
    plan: TrainingPlan,
    weights: Weights,
    conflicts: Conflicts | None = None,
    threads: int = 2,
) -> Prediction:
    """The prediction from features and doses; no text, no counting."""
    count = len(amounts.own)
    worth, regime = weights.under(plan, amounts.regime(plan))
    found = turn_tails(
        features, answers, amounts.total * worth, amounts.without(plan) * worth, regime, weights, conflicts, threads,
        goldfish=amounts.goldfish(plan),
    )  # fmt: skip
    length = answers.end - answers.start
    longest = _best(answers.row, length.astype(np.float64), count)
    fullest = _best(answers.row, found.mean, count)
    likeliest = _best(answers.row, found.extract, count)
    p_extract = _take(found.extract, likeliest)
    # leaving a row out lowers the dose of all its turns, so the maximum over turns is taken with and without it
    without = _take(found.extract_without, _best(answers.row, found.extract_without, count))
    longest_tokens = np.where(longest >= 0, length[longest], 0) if len(length) else np.zeros(count, np.int64)
    capped = None if conflicts is None else np.where(conflicts.place >= 0, conflicts.share, np.nan)
    summary = summarise(features, answers.row, answers.start, answers.end)
    return Prediction(
        p_extract=p_extract,
        p_whole=_take(found.whole, longest),
        p_counterfactual=np.clip(p_extract - without, 0.0, p_extract),
        expected_tokens=_take(found.mean, fullest),
        tokens_q50=_take(found.q50, fullest),
        tokens_q95=_take(found.q95, fullest),
        exposures=amounts.total,
        taxon=taxon(amounts.copies, summary),
        reasons=reasons(
            amounts.copies, amounts.near, amounts.total, amounts.together, summary, longest_tokens, EXTRACTED, capped
        ),
        calibrated=weights.calibrated,
        summary=summary,
    )


def turn_tails(
    features: ContextFeatures,
    answers: Answers,
    dose: Float64,
    without: Float64 | None,
    regime: Regime,
    weights: Weights,
    conflicts: Conflicts | None = None,
    threads: int = 2,
    curve: Float64 | None = None,
    goldfish: Goldfish | None = None,
) -> TurnTails:
    """Distribution of N_pre of each turn.

    dose, without (n,): effective doses of the rows, with and without their own visits; None where the second is not
    asked for, which takes half the time. curve (T,): filled with
    P(N_pre >= n) at the n-th token of each turn, where given.
    """
    turns = len(answers.row)
    out = np.full((6, turns), np.nan)
    if turns:
        hazard = weights.hazard.vector()
        hazard[0] += weights.priors.offset
        node, share = quadrature(weights.hazard.spread)
        cap_at, cap = np.full(turns, -1, np.int64), np.ones(turns)
        if conflicts is not None:
            first = answers.first()
            cap_at[first], cap[first] = conflicts.place[answers.row[first]], conflicts.share[answers.row[first]]
        start, end = np.ascontiguousarray(answers.start, np.int64), np.ascontiguousarray(answers.end, np.int64)
        dropped, kept = np.zeros(0), np.zeros(0)
        if goldfish is not None:
            dropped, kept = (dose * goldfish.share)[answers.row], goldfish.kept(features)
        less = np.zeros(0) if without is None else np.clip(without, 0, dose)[answers.row]
        factor, likely = weights.drifts(regime)
        args = (
            start, end, dose[answers.row], less, cap_at, cap, dropped, kept,
            factor, likely,
            np.log2(1 + regime.set_dose * factor), regime.progress(weights.priors.most_steps), regime.visit * factor,
            features.log_probability, features.known, features.rarity,
            *of_tokens(features), hazard, node, share,
        )  # fmt: skip
        traced = np.zeros(0) if curve is None else curve
        edges = np.linspace(0, turns, threads * 4 + 1).astype(np.int64)
        running.run(lambda part: tails(*args, *part, out, traced), pairwise(edges), threads)
    return TurnTails(*out)


def of_tokens(
    features: ContextFeatures,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Features of each token (T,) for the kernel: width, background, probability by the base, opening of its answer.

    Where not known: the width of a common word, the log probability by the data set itself, an empty array, 0.
    """
    width = np.full(len(features.rarity), USUAL_WIDTH, np.uint8) if features.width is None else features.width
    background = features.log_probability if features.background is None else features.background
    base = np.zeros(0, np.float32) if features.base is None else features.base
    opening = np.zeros(len(features.rarity), np.uint8) if features.opening is None else features.opening
    return width, background, base, opening


def _best(row: Int64, value: Float64, count: int) -> Int64:
    """(n,) for each row its turn with the largest value, the first of equals; -1 if all are NaN or it has no turn."""
    best = np.full(count, -1, np.int64)
    usable = np.flatnonzero(~np.isnan(value))
    if (np.diff(row[usable]) > 0).all():  # one of each row, as nearly everywhere: nothing to choose from
        best[row[usable]] = usable
        return best
    ranked = usable[np.lexsort((usable, -value[usable], row[usable]))]
    first = ranked[np.flatnonzero(np.diff(row[ranked], prepend=-1))]
    best[row[first]] = first
    return best


def _take(value: Float64, turn: Int64) -> Float64:
    """Values of the chosen turns, NaN for rows without one."""
    if len(value) == 0:
        return np.full(len(turn), np.nan)
    return np.where(turn >= 0, value[turn], np.nan)
