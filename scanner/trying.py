"""A level tried out on what it was not fitted on: rows left out, and the last epoch foretold from the first ones.

rehearsed epochs -> folds over rows: fitted on the others, scored on these -> across
                 -> early epochs: fitted on them, scored on the last       -> ahead
what the tests missed beyond chance and the drift of the level -> times that the level's doubt is taken -> misfit
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scanner.prediction import calibration, carrying, level, reliability, scoring
from scanner.prediction.hazard import EXTRACTED, Weights
from scanner.prediction.level import Level, Observed
from scanner.prediction.scoring import Scores
from scanner.progress import Progress

FOLDS = 5
MOST_DOUBT = 1.5
"""Logits and log of the dose factor together, one standard deviation: a level less sure than that says nothing."""
Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Per state: p, truth and unit of rows; P(N_pre < seen), P(N_pre <= seen) and unit of answers."""


@dataclass(frozen=True)
class Tried:
    """A prediction of rows that the level was not fitted on, beside what came of them."""

    fitted_epochs: list[float]
    parts: list[Part]
    scores: Scores
    drifted: float  # rows that the drift of the level moves the number by, one standard deviation

    @classmethod
    def of(cls, parts: list[Part], fitted_epochs: Sequence[float], drifted: float = 0.0) -> Tried:
        p, truth, unit, below, upto, of = (np.concatenate([part[i] for part in parts]) for i in range(6))
        return cls(list(fitted_epochs), parts, scoring.score(p, truth, unit, below, upto, of), drifted)

    def bins(self) -> list[list[float]]:
        """Rows by predicted probability, each bin in the order of calibration.BIN."""
        p, truth = (np.concatenate([part[i] for part in self.parts]) for i in range(2))
        return [[getattr(b, name) for name in calibration.BIN] for b in reliability.bins(p, truth)]


def across(by_run: list[list[Observed]], weights: Weights, fitted: Level, progress: Progress) -> Tried:
    """Each row after its last epoch, predicted by a level fitted on the folds without it; whole units together."""
    observed = [o for states in by_run for o in states]
    units = np.unique(np.concatenate([o.unit for o in observed]))
    fold = np.empty(int(units.max()) + 1, np.int64)
    fold[units] = np.random.default_rng(0).permutation(len(units)) % FOLDS
    parts: list[Part] = []
    for k in range(FOLDS):
        there = _refitted([_some(o, fold[o.unit] != k) for o in observed], weights, fitted)
        parts += predicted([states[-1] for states in by_run], there, [fold[states[-1].unit] == k for states in by_run])
        progress.advance(1)
    return Tried.of(parts, sorted({o.epoch for o in observed}))


def ahead(by_run: list[list[Observed]], weights: Weights, fitted: Level) -> Tried | None:
    """The last epoch predicted by a level fitted on the first half of the measured ones; None with one epoch only."""
    long = [states for states in by_run if len(states) > 1]
    if not long:
        return None
    early = [o for states in long for o in states[: len(states) // 2]]
    there, last = _refitted(early, weights, fitted), [states[-1] for states in long]
    parts = predicted(last, there)
    drift = max(carrying.drift(there, there.under(o.plan, o.regime)[1]) for o in last)
    moved = predicted(last, there.moved(drift))
    return Tried.of(parts, sorted({o.epoch for o in early}), abs(_count(moved) - _count(parts)))


def misfit(tried: Tried, by_run: list[list[Observed]], there: Weights, fitted: Level) -> float:
    """How many times the level's doubt must be taken so that it explains what its own test missed beyond chance.

    The fit knows how sure the level is if the hazard is right; where it is not, rows come out more or fewer than
    foretold, and only the test shows it (the excess variance of DerSimonian and Laird 1986, for one comparison).
    """
    last = [states[-1] for states in by_run]
    offset, log_factor = fitted.step
    moved = level.at(there, (fitted.offset + offset, math.log(fitted.dose_factor) + log_factor))
    s = tried.scores
    missed = (s.true_rows - s.expected_rows) ** 2 - s.standard_error**2 - tried.drifted**2
    step = abs(_count(predicted(last, moved)) - _count(predicted(last, there)))
    room = max(1.0, MOST_DOUBT / max(math.hypot(offset, log_factor), 1e-9))
    return 1.0 if missed <= 0 else min(room, math.sqrt(1 + missed / max(step, 1e-9) ** 2))


def _count(parts: list[Part]) -> float:
    """Expected rows."""
    return math.fsum(float(part[0].sum()) for part in parts)


def _refitted(observed: list[Observed], weights: Weights, like: Level) -> Weights:
    """The weights at a level of the same form, fitted on these."""
    return level.fitted_weights([o for o in observed if len(o.n_pre)], weights, like.log_factor_sd > 0)


def _some(one: Observed, which: np.ndarray | slice) -> Observed:
    return replace(
        one,
        answers=one.answers.where(which),
        n_pre=one.n_pre[which],
        unit=one.unit[which],
        weight=None if one.weight is None else one.weight[which],
    )


def predicted(
    observed: list[Observed], weights: Weights, taken: Sequence[np.ndarray | slice] | None = None
) -> list[Part]:
    """Rows and answers of each state beside what came of them; a row's likeliest answer counts.

    taken: (m,) of each state, the answers to look at; all where not given. What a set knows by then is foretold from
    all of its answers.
    """
    parts: list[Part] = []
    for whole, some in zip(observed, taken or [slice(None)] * len(observed), strict=True):
        o = _some(level.foretold(whole, weights), some)
        p, row = level.extraction(o, weights), o.answers.row
        long = ~np.isnan(p)
        at, place = np.unique(row[long], return_inverse=True)
        best, truth, unit = np.zeros(len(at)), np.zeros(len(at), np.bool_), np.zeros(len(at), np.int64)
        np.maximum.at(best, place, p[long])
        np.logical_or.at(truth, place, o.n_pre[long] >= EXTRACTED)
        unit[place] = o.unit[long]
        before, after = level.around(o, weights)
        parts.append((best, truth, unit, 1 - before, 1 - after, o.unit))
    return parts
