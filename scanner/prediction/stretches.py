"""The heat of an answer, token by token, and the stretches of it that would come out word for word.

    heat       chance that a token comes out, the text before it being the true one (teacher forcing)
    stretch    at least LEAST_TOKENS tokens that come out in a row with a chance of at least CHANCE, likewise

Both come from the hazard of `hazard.py`, the row effect integrated out: over the whole stretch, not per token, so the
score of a stretch from the beginning of an answer is P(N_pre >= its length). Stretches do not overlap; what comes out
from the beginning is taken first, then the longest of what is left, and so on (`kernels/stretches.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from scanner.kernels.contexts import ContextFeatures
from scanner.kernels.stretches import stretches as kernel
from scanner.prediction import Answers, Conflicts, turn_tails
from scanner.prediction.hazard import Regime, Weights, quadrature

LEAST_TOKENS = 8
"""Tokens of the shortest stretch: shorter ones are phrases that any model says."""
CHANCE = 0.5
"""Chance from which on a stretch counts: more likely than not to come out as it stands."""
SURE = 1e-12  # odds are kept this far from 0 and infinity, so that their logarithms add up

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Heat:
    """The tokens of some answers, one answer after the other; t tokens, m answers."""

    row: Int64  # (m,) position of the row
    start: Int64  # (m,) the answer's tokens [start, end) among those of all rows
    end: Int64  # (m,)
    odds: Float64  # (t,) of a miss where the row effect is 0
    cap: Float64  # (t,) what the probability cannot exceed; 1 but where identical prompts have other answers
    probability: Float64  # (t,) the heat
    node: Float64  # (q,) exp(-effect) at the nodes of the row effect
    share: Float64  # (q,) their weights

    @property
    def bounds(self) -> Int64:
        """(m + 1,) first token of each answer among these t."""
        return np.concatenate(([0], np.cumsum(self.end - self.start))).astype(np.int64)


@dataclass(frozen=True)
class Stretches:
    """Stretches by answer and place, (s,) each."""

    answer: Int64  # index into Heat.row
    begin: Int64  # tokens [begin, end) among those of all rows
    end: Int64
    score: Float64  # chance that all of its tokens come out in a row
    from_start: npt.NDArray[np.bool_]  # it begins where the answer begins


def heat(
    features: ContextFeatures,
    answers: Answers,
    chosen: Int64,
    dose: Float64,
    regime: Regime,
    weights: Weights,
    conflicts: Conflicts | None = None,
    threads: int = 2,
) -> Heat:
    """The heat of the chosen answers (indexes); dose (n,) is the effective dose of the rows, copies included."""
    row, start, end = (
        np.ascontiguousarray(part[chosen], np.int64) for part in (answers.row, answers.start, answers.end)
    )
    bounds = np.concatenate(([0], np.cumsum(end - start))).astype(np.int64)
    place = np.arange(bounds[-1]) + np.repeat(start - bounds[:-1], end - start)
    # each token as an answer of its own, without row effect: its chance gives the odds, by the very kernel of p_extract
    single = Answers(np.repeat(row, end - start), place, place + 1)
    plain = replace(weights, hazard=replace(weights.hazard, spread=0.0))
    known = turn_tails(features, single, dose, dose * 0, regime, plain, None, threads).whole
    known = np.clip(known, SURE, 1 - SURE)
    odds = (1 - known) / known
    cap = np.ones(len(place))
    if conflicts is not None:
        first = np.flatnonzero(np.diff(answers.row, prepend=-1))
        at = answers.start[first] + conflicts.place[answers.row[first]]
        torn = (conflicts.place[answers.row[first]] >= 0) & (at < answers.end[first])
        limit = dict(zip(at[torn].tolist(), conflicts.share[answers.row[first][torn]].tolist(), strict=True))
        for t in np.flatnonzero(np.isin(place, at[torn])):
            cap[t] = max(SURE, limit[int(place[t])])
    node, share = quadrature(weights.hazard.spread)
    probability = np.zeros(len(place))
    for effect, weight in zip(node, share, strict=True):
        probability += weight * np.minimum(cap, 1 / (1 + odds * effect))
    return Heat(row, start, end, odds, cap, probability, node, share)


def stretches(found: Heat, least: int = LEAST_TOKENS, chance: float = CHANCE) -> Stretches:
    """Every stretch of at least `least` tokens and `chance`."""
    bounds = found.bounds
    room = len(found.odds) // least + 1
    answer, begin, stop = (np.zeros(room, np.int64) for _ in range(3))
    score = np.zeros(room)
    count = kernel(
        bounds[:-1].copy(), bounds[1:].copy(), found.odds, found.cap, found.node, found.share, least, chance,
        answer, begin, stop, score,
    )  # fmt: skip
    order = np.argsort(begin[:count], kind="stable")
    answer, begin, stop, score = answer[order], begin[order], stop[order], score[order]
    shift = found.start[answer] - bounds[answer]
    return Stretches(answer, begin + shift, stop + shift, score, begin == bounds[answer])
