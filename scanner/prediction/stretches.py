"""The heat of an answer, token by token, and the stretches of it that would come out word for word.

    heat       chance that a token comes out, the text before it being the true one (teacher forcing)
    stretch    at least LEAST_TOKENS tokens that come out in a row with a chance of at least CHANCE, likewise

Both come from the hazard of `hazard.py`, the row effect integrated out: over the whole stretch, not per token. What
comes out from the beginning of an answer follows the weights of p_extract, so its score is P(N_pre >= its length); the
heat, and the stretches further on, follow weights of their own. One thing is finer than in p_extract: where other rows
go on differently after the same DEPARTS tokens (the slot of a template, the word that a near copy replaced), many near
copies teach the token no better than few, so there they count for no more than the row and its exact copies. Stretches
do not overlap; what comes out from the beginning is taken first, then the longest of what is left, and so on
(`kernels/stretches.py`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt

from scanner.kernels.contexts import ContextFeatures
from scanner.kernels.hazard import RUBS_OFF, SAME_BEFORE, odds
from scanner.kernels.stretches import stretches as kernel
from scanner.prediction import Answers, Conflicts, Goldfish, of_tokens
from scanner.prediction.hazard import Hazard, HeatWeights, Regime, Weights, quadrature
from scanner.ranges import laid_out

LEAST_TOKENS = 8
"""Tokens of the shortest stretch: shorter ones are phrases that any model says."""
CHANCE = 0.5
"""Chance from which on a stretch counts: more likely than not to come out as it stands."""
DEPARTS = 3
"""Tokens of context known elsewhere from which on another continuation there says that near copies differ here."""
LESSON = 2.0
"""Dose of such a token at most, in doses of the row and its exact copies. In the rehearsals, epoch 8, such tokens were
hit in .81 where near copies add 10 to 50 %, predicted .76 with them and .60 without; in .79 where they add 120 % and
more, predicted .60 without them, .87 with all of them and .83 up to this dose."""
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
    first_odds: Float64  # (t,) the same by the weights of p_extract, for what comes out from the beginning
    kept: Float64  # (t,) chance that a goldfish loss lets the token be learned; (0,) where there is none
    lost: Float64  # (t,) odds where it drops it; (0,)
    first_lost: Float64  # (t,) by the weights of p_extract; (0,)
    cap: Float64  # (t,) what the probability cannot exceed; 1 but where identical prompts have other answers
    probability: Float64  # (t,) the heat
    node: Float64  # (q,) exp(-effect) at the nodes of the row effect
    first_node: Float64  # (q,) the same by the weights of p_extract
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
    exact: Float64 | None = None,
    goldfish: Goldfish | None = None,
) -> Heat:
    """The heat of the chosen answers (indexes).

    dose (n,) is the effective dose of the rows, copies and near copies included; exact (n,) without the near copies,
    `dose` where not given.
    """
    row, start, end = (
        np.ascontiguousarray(part[chosen], np.int64) for part in (answers.row, answers.start, answers.end)
    )
    place = laid_out(start, end)
    owner = np.repeat(row, end - start)
    departs = (features.known[place] >= DEPARTS) & (features.agreed[place] < features.known[place])
    taught = np.where(departs, (dose if exact is None else np.minimum(dose, LESSON * exact))[owner], dose[owner])
    heated = weights.heat or weights.hazard
    both = (heated, weights.hazard)
    missed, first_missed = (_odds(features, start, end, taught, regime, weights, by) for by in both)
    kept = lost = first_lost = np.zeros(0)
    if goldfish is not None:
        kept = goldfish.kept(features)[of_tokens(features)[0][place]]
        rest = np.where(departs, 0.0, (dose * goldfish.share)[owner])  # near copies teach another token there
        rubs_off = np.where(features.known[place] >= SAME_BEFORE, RUBS_OFF, 1.0)
        lost, first_lost = (_odds(features, start, end, rest * rubs_off, regime, weights, by, rubs_off) for by in both)
    cap = np.ones(len(place))
    if conflicts is not None:
        first = answers.first()
        at = answers.start[first] + conflicts.place[answers.row[first]]
        torn = (conflicts.place[answers.row[first]] >= 0) & (at < answers.end[first])
        limit = dict(zip(at[torn].tolist(), conflicts.share[answers.row[first][torn]].tolist(), strict=True))
        for t in np.flatnonzero(np.isin(place, at[torn])):
            cap[t] = max(SURE, limit[int(place[t])])
    node, share = quadrature(heated.spread)
    probability = np.zeros(len(place))
    for effect, weight in zip(node, share, strict=True):
        one = 1 / (1 + missed * effect)
        if goldfish is not None:
            one = kept * one + (1 - kept) / (1 + lost * effect)
        probability += weight * np.minimum(cap, one)
    first_node, _ = quadrature(weights.hazard.spread)
    return Heat(
        row, start, end, missed, first_missed, kept, lost, first_lost, cap, probability, node, first_node, share
    )


def _odds(
    features: ContextFeatures, start: Int64, end: Int64, dose: Float64, regime: Regime, weights: Weights, by: Hazard,
    taught: Float64 | None = None,
) -> Float64:  # fmt: skip
    """(t,) odds of a miss by some weights; dose (t,); taught (t,): share of what other rows teach, all if not given."""
    values = dict.fromkeys((f.name for f in fields(HeatWeights)), 0.0) | asdict(by)
    vector = np.array(list(values.values()))
    vector[0] += weights.priors.offset
    width, background, base, opening = of_tokens(features)
    found = np.empty(len(dose))
    odds(
        start, end, dose, np.ones(len(dose)) if taught is None else taught, math.log2(1 + regime.set_dose),
        regime.progress(weights.priors.most_steps), regime.visit, features.log_probability, features.known,
        features.rarity, width, features.within, background, base, opening, vector, found,
    )  # fmt: skip
    return np.asarray(np.clip(found, SURE, 1 / SURE))


def stretches(found: Heat, least: int = LEAST_TOKENS, chance: float = CHANCE) -> Stretches:
    """Every stretch of at least `least` tokens and `chance`."""
    bounds = found.bounds
    room = len(found.odds) // least + 1
    answer, begin, stop = (np.zeros(room, np.int64) for _ in range(3))
    score = np.zeros(room)
    count = kernel(
        bounds[:-1].copy(), bounds[1:].copy(), found.odds, found.node, found.first_odds, found.first_node, found.cap,
        found.kept, found.lost, found.first_lost, found.share, least, chance, answer, begin, stop, score,
    )  # fmt: skip
    order = np.argsort(begin[:count], kind="stable")
    answer, begin, stop, score = answer[order], begin[order], stop[order], score[order]
    shift = found.start[answer] - bounds[answer]
    return Stretches(answer, begin + shift, stop + shift, score, begin == bounds[answer])
