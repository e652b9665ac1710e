"""The level of a base model, fitted to measured rows: an offset on the logit, and where it pays a factor on the dose.

    N_pre of each answer (tokens recited before the first miss) x features and doses of its row
        -> likelihood under the shipped hazard -> with the prior: posterior mode and standard error of the level

The likelihood comes from the hazard model itself: P(N_pre = n) = S(n) - S(n + 1), where S(n) is the survival function
that `turn_tails` gives, with the row effect integrated out. Answers of one row at several epochs, and copies of one
row, are not independent, so the likelihood is tempered by a sandwich estimate clustered by row (magnitude adjustment:
Ribatet et al. 2012, Statistica Sinica 22:813): k = parameters / trace(H^-1 J), at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from scanner.kernels.contexts import ContextFeatures
from scanner.prediction import (
    Answers,
    Conflicts,
    Goldfish,
    Regime,
    Weights,
    doubting,
    knowing,
    share_of_rows,
    turn_tails,
)
from scanner.prediction.climbing import STEP, Derivatives, Prior, derivatives, mode
from scanner.prediction.doubting import Place
from scanner.prediction.hazard import EXTRACTED
from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

LEAST_CHANCE = 1e-12
"""Lower bound of every likelihood, so that a single surprising answer cannot move the level without bound."""
FACTOR_SD = 0.08
"""Prior standard deviation of the log of the dose factor, for full fine-tuning of a base of about the fitted size. Late
in training the bases of benchmarks/prediction differ by .2, but in their first epochs, when they mostly learn the
language, by more. With levels fitted to epochs 1 to 4, three bases that recited 24, 47 and 85 rows at epoch 8 were
predicted to recite 22, 34 and 63 with a prior of .15, 30, 41 and 67 with .08, 42, 55 and 76 with .04. Chosen on
these."""
FAR_FACTOR_SD = math.log(3)
"""The same for LoRA, or a size far from the fitted one (Priors.far): wide, so that the measured rows decide."""
ENOUGH_HITS = 10
"""Independent rows that recited 16 tokens or more; with fewer, part of the prior variance stays. In the grid of
benchmarks/prediction, levels fitted on 1 to 3 such rows of 150 (epochs 1 and 2) predicted 0.5 to 0.8 times the rows of
epoch 8 with a dose factor, 1.3 to 1.6 times without; those fitted on 7 (epochs 1 to 4) 0.9 to 1.1 times."""
STARTS = (-4.0, -2.0, -1.0, 0.0, 1.0), (-2.5, -1.2, -0.5, 0.0, 0.5)
"""Start values of offset and log factor, relative to the prior, of which Newton's method begins with the best: far from
the mode nearly every likelihood is at its bound LEAST_CHANCE, and so flat."""


@dataclass(frozen=True)
class Observed:
    """One state of a fine-tune: how far each answer was recalled, and what its row had been given by then."""

    features: ContextFeatures
    answers: Answers  # (m,) as far as they were measured
    n_pre: Int64  # (m,) tokens recalled before the first miss
    dose: Float64  # (n,) over rows: visits, copies included, without the factors of the weights
    set_dose: float  # of the rows that were trained on (sampling.dose_of_set)
    steps: int  # optimizer steps so far
    plan: TrainingPlan  # with the true size of the base
    unit: Int64  # (m,) equal for answers that are not independent: of one row, of copies of one row
    epoch: float  # whole but where the plan ends within one
    known: float  # share of the set's rows that are recited by then, as measured, or `foretold`
    conflicts: Conflicts | None = None
    goldfish: Goldfish | None = None  # the plan's goldfish loss
    weight: Float64 | None = None  # (m,) answers that each stands for; None: as drawn, one by one
    mean_answer: float = math.nan  # tokens of the answers of a row of the set, on average over rows with any
    step_tokens: float = math.nan  # of the answers of the set in an optimizer step, on average
    trained: Float64 | None = None  # (n,) rows of the set that each row stands for; None: for itself

    @property
    def regime(self) -> Regime:
        """The training of the set by then, in doses without the factors of the weights."""
        at = self.epoch / self.plan.epochs if self.plan.epochs else 1
        return Regime.of(self.plan, self.set_dose, self.steps, at, self.known)


@dataclass(frozen=True)
class Level:
    """What stands in a calibration file's [level]."""

    offset: float  # logits, added to the bias
    offset_sd: float
    dose_factor: float  # on the dose, on top of size and kind of tuning; 1: not fitted
    log_factor_sd: float
    step: tuple[float, float]  # one standard deviation of (offset, log factor) where the count of rows moves most;
    # the first is never negative
    fitted: str  # "offset" or "offset and dose factor"
    ends: tuple[Place, Place] | None  # offset and log factor that the ends of a 90 % interval reach too, where few rows
    # were recited (doubting.py); None: enough for the step alone to tell them
    read_at: float  # furthest training of a set that was measured (see Weights.read_at)
    tempering: float  # weight of an observation, relative to an independent one
    nats: float  # mean log-likelihood of an observation under the level
    nats_before: float  # under the shipped level
    by_epoch: tuple[tuple[float, float, float], ...]  # (epoch, offset, its sd), each fitted alone


def fit(observed: Sequence[Observed], weights: Weights, with_factor: bool | None = None) -> Level:
    """Posterior mode and curvature; with_factor None: decided by the data (see `factor_pays`).

    The variance of an offset fitted alone includes the variance between the offsets of single epochs beyond their
    standard errors, for the level drifts with training. As long as fewer than ENOUGH_HITS rows recited 16 tokens, part
    of the prior variance stays, and the interval is widened towards that of a base that was not measured
    (doubting.py): runs of a few tokens tell little of the level of long ones.
    """
    if with_factor is None:
        with_factor = factor_pays(observed, weights)
    best, covariance, tempering = _posterior(observed, weights, 2 if with_factor else 1)
    alone = tuple(
        (epoch, found[0][0], math.sqrt(found[1][0, 0]))
        for epoch in sorted({o.epoch for o in observed})
        for found in [_posterior([o for o in observed if o.epoch == epoch], weights, 1)]
    )
    if not with_factor:  # the factor is what explains a drift where it is fitted
        covariance[0, 0] += drift([sd for _, _, sd in alone], [offset for _, offset, _ in alone])
    missing = max(0.0, 1 - hits(observed) / ENOUGH_HITS)
    unseen = missing / _prior(observed, weights, len(best))[1]
    covariance += np.diag(np.maximum(0.0, unseen - np.diag(covariance)))
    sds = np.sqrt(np.diag(covariance))
    fitted = at(weights, best)
    offset, factor = best[0], math.exp(best[1]) if with_factor else weights.dose_factor
    step = _step(observed, weights, best, covariance)
    return Level(
        offset=offset,
        offset_sd=float(sds[0]),
        dose_factor=factor,
        log_factor_sd=float(sds[1]) if with_factor else 0.0,
        step=step,
        fitted="offset and dose factor" if with_factor else "offset",
        ends=_ends(observed, weights, (offset, math.log(factor)), step, missing) if missing and observed else None,
        read_at=furthest(observed, weights),
        tempering=tempering,
        nats=_mean(observed, fitted),
        nats_before=_mean(observed, weights),
        by_epoch=alone,
    )


def _ends(
    observed: Sequence[Observed], weights: Weights, found: Place, step: Place, missing: float
) -> tuple[Place, Place]:
    """Lower and upper end of the level where recited rows are missing."""
    last = _last(observed)

    def chances(place: Place) -> Float64:
        there = at(weights, place)
        chance = np.zeros(1 + max(int(o.unit.max()) for o in last))
        for o in last:  # copies are recited together or not at all, and of several answers one will do
            np.maximum.at(chance, o.unit, np.nan_to_num(extraction(o, there)))
        return chance

    return doubting.ends(found, step, missing, weights, observed[0].plan, chances, hits(last))


def _last(observed: Sequence[Observed]) -> list[Observed]:
    """The states after which no unit of theirs was measured again."""
    newest: dict[int, float] = {}
    for o in observed:
        for unit in np.unique(o.unit).tolist():
            newest[unit] = max(o.epoch, newest.get(unit, o.epoch))
    return [o for o in observed if len(o.unit) and any(newest[u] == o.epoch for u in np.unique(o.unit).tolist())]


def fitted_weights(observed: Sequence[Observed], weights: Weights, with_factor: bool) -> Weights:
    """The weights at the posterior mode."""
    there = at(weights, _posterior(observed, weights, 2 if with_factor else 1)[0])
    return replace(there, read_at=furthest(observed, weights))


def found(weights: Weights, level: Level) -> Weights:
    """The weights at a level, with its doubt and as far as it was read."""
    there = at(weights, (level.offset, math.log(level.dose_factor)))
    offset_step, log_factor_step = level.step
    return replace(
        there, offset_step=offset_step, log_factor_step=log_factor_step, read_at=level.read_at, ends=level.ends
    )


def furthest(observed: Sequence[Observed], weights: Weights) -> float:
    """The furthest training of a set among these states, at a dose factor of 1; 0 of none.

    Of the same unit as what `Weights.drifts` is given: under LoRA as much as adapters hold of it.
    """
    at_one = replace(weights, dose_factor=1.0)
    return max((at_one.under(o.plan, o.regime)[1].set_dose for o in observed), default=0.0)


def at(weights: Weights, place: Sequence[float]) -> Weights:
    """The weights with this offset and, where given, this log of the dose factor."""
    return weights.placed(*place)


def foretold(one: Observed, weights: Weights) -> Observed:
    """The state with what the weights say that the set knows by then, in the place of what was measured."""
    regime = knowing(
        one.features, one.answers, one.dose, one.regime, one.plan, weights, one.conflicts, 1, one.goldfish,
        one.trained,
    )  # fmt: skip
    return replace(one, known=regime.known)


def share_recited(answers: Answers, n_pre: Int64, stands_for: Float64 | None = None) -> float:
    """Share of the rows, of those with an answer of 16 tokens, that recited as many; 0 of none.

    n_pre (m,): of each answer; stands_for (n,): rows of the set that each row stands for.
    """
    long = answers.end - answers.start >= EXTRACTED
    return share_of_rows(answers.where(long), (n_pre[long] >= EXTRACTED).astype(np.float64), stands_for)


def likelihood(one: Observed, weights: Weights) -> Float64:
    """(m,) log P(N_pre is what was seen) of each answer, nats; times the answers that it stands for.

    Weighed so, the fit is that of all rows they were drawn from (pseudo-likelihood: Skinner 1989); the sandwich knows
    that an answer of great weight is one observation only.
    """
    before, after = around(one, weights)
    nats = np.asarray(np.log(np.maximum(before - after, LEAST_CHANCE)))
    return nats if one.weight is None else nats * one.weight


def around(one: Observed, weights: Weights) -> tuple[Float64, Float64]:
    """(m,) P(N_pre >= n) and P(N_pre >= n + 1) at the n that was seen; the second is 0 where the answer ends there."""
    length = one.answers.end - one.answers.start
    seen = replace(one.answers, end=one.answers.start + np.minimum(one.n_pre + 1, length))
    curve = np.zeros(len(one.features.log_probability))
    _tails(one, seen, weights, curve)
    if not len(curve):
        return np.ones(len(length)), np.zeros(len(length))
    last = one.answers.start + one.n_pre
    before = np.where(one.n_pre > 0, curve[np.maximum(last - 1, 0)], 1.0)
    after = np.where(one.n_pre < length, curve[np.minimum(last, len(curve) - 1)], 0.0)
    return before, after


def extraction(one: Observed, weights: Weights) -> Float64:
    """(m,) P(N_pre >= 16) of each answer; NaN where it is shorter."""
    short = np.minimum(one.answers.end, one.answers.start + EXTRACTED)
    return _tails(one, replace(one.answers, end=short), weights, None)


def factor_pays(observed: Sequence[Observed], weights: Weights) -> bool:
    """Whether a factor on the dose earns its place: doses that differ (two epochs at least), and a better likelihood.

    The criterion is the composite-likelihood BIC (Gao and Song 2010, JASA 105:1531):
    -2 log L + log(independent rows) * trace(H^-1 J).
    """
    if len({o.epoch for o in observed}) < 2:
        return False
    rows = len(np.unique(np.concatenate([o.unit for o in observed])))
    scores = []
    for parameters in (1, 2):
        best, _ = _mode(observed, weights, parameters, 1.0)
        _, curvature, spread = _derivatives(observed, weights, best)
        freedom = float(np.trace(np.linalg.solve(curvature, spread)))
        scores.append(-2 * _total(observed, at(weights, best)) + math.log(rows) * max(freedom, parameters))
    return scores[1] < scores[0]


def hits(observed: Sequence[Observed]) -> int:
    """Independent rows that recited 16 tokens or more at some epoch."""
    return len(np.unique(np.concatenate([o.unit[o.n_pre >= EXTRACTED] for o in observed]))) if observed else 0


def drift(sds: Sequence[float], offsets: Sequence[float]) -> float:
    """Variance between epochs beyond their own doubt (DerSimonian and Laird 1986); 0 for a single epoch."""
    if len(offsets) < 2:
        return 0.0
    weight = 1 / np.square(np.maximum(sds, 1e-3))
    middle = (weight * offsets).sum() / weight.sum()
    excess = float((weight * np.square(np.asarray(offsets) - middle)).sum()) - (len(offsets) - 1)
    return max(0.0, excess / float(weight.sum() - np.square(weight).sum() / weight.sum()))


def _tails(one: Observed, answers: Answers, weights: Weights, curve: Float64 | None) -> Float64:
    worth, regime = weights.under(one.plan, one.regime)
    dose = one.dose * worth
    return turn_tails(one.features, answers, dose, None, regime, weights, one.conflicts, 1, curve, one.goldfish).extract


def _total(observed: Sequence[Observed], weights: Weights) -> float:
    return math.fsum(math.fsum(np.sort(likelihood(o, weights))) for o in observed)


def _mean(observed: Sequence[Observed], weights: Weights) -> float:
    count = math.fsum(float(len(o.n_pre)) if o.weight is None else float(o.weight.sum()) for o in observed)
    return _total(observed, weights) / max(1.0, count)


def _prior(observed: Sequence[Observed], weights: Weights, parameters: int) -> Prior:
    """Of (offset, log factor)."""
    sd = FAR_FACTOR_SD if observed and weights.priors.far(observed[0].plan) else FACTOR_SD
    mean = np.array([weights.priors.offset, math.log(weights.dose_factor)])
    return Prior(mean[:parameters], (1 / np.square([weights.priors.offset_sd, sd]))[:parameters])


def _posterior(
    observed: Sequence[Observed], weights: Weights, parameters: int
) -> tuple[list[float], npt.NDArray[np.float64], float]:
    """Mode, covariance and tempering."""
    best, curvature = _mode(observed, weights, parameters, 1.0)
    tempering = 1.0
    if observed:
        _, _, spread = _derivatives(observed, weights, best)
        freedom = float(np.trace(np.linalg.solve(curvature + 1e-9 * np.eye(parameters), spread)))
        tempering = min(1.0, parameters / max(freedom, 1e-9))
        best, curvature = _mode(observed, weights, parameters, tempering, best)
    precision = np.diag(_prior(observed, weights, parameters)[1]) + tempering * curvature
    return best, np.asarray(np.linalg.inv(precision), np.float64), tempering


def _mode(
    observed: Sequence[Observed], weights: Weights, parameters: int, tempering: float, start: Sequence[float] = ()
) -> tuple[list[float], Float64]:
    """Place and curvature (climbing.mode); without a start from the best of STARTS."""
    prior = _prior(observed, weights, parameters)
    place, curvature = mode(
        lambda place: _total(observed, at(weights, place.tolist())),
        lambda place: _derivatives(observed, weights, place.tolist()),
        prior,
        tempering,
        [np.asarray(start)] if start else [prior.mean + np.array(away) for away in product(*STARTS[:parameters])],
    )
    return place.tolist(), curvature


def _derivatives(observed: Sequence[Observed], weights: Weights, place: Sequence[float]) -> Derivatives:
    """Of the log-likelihood, whose units are independent."""
    units, unit = np.unique(np.concatenate([np.zeros(0, np.int64), *(o.unit for o in observed)]), return_inverse=True)

    def of_units(place: Sequence[float]) -> Float64:
        there = at(weights, place)
        each = np.concatenate([np.zeros(0), *(likelihood(o, there) for o in observed)])
        return np.bincount(unit, each, minlength=len(units)).astype(np.float64)

    return derivatives(of_units, place)


def _step(
    observed: Sequence[Observed], weights: Weights, best: Sequence[float], covariance: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """The point one standard deviation away along which the expected number of rows changes most (delta method)."""
    if len(best) == 1:
        return math.sqrt(covariance[0, 0]), 0.0
    latest = max(observed, key=lambda o: o.epoch)

    def count(moved: Sequence[float]) -> float:
        return float(np.nansum(np.sort(extraction(latest, at(weights, moved)))))

    slope = np.array([
        count([best[0] + STEP, best[1]]) - count([best[0] - STEP, best[1]]),
        count([best[0], best[1] + STEP]) - count([best[0], best[1] - STEP]),
    ])  # fmt: skip
    along = covariance @ slope
    length = math.copysign(math.sqrt(max(float(slope @ along), 1e-18)), along[0])
    return float(along[0] / length), float(along[1] / length)
