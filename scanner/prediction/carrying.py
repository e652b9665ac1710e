"""How sure a level still is under a plan that the runs behind it did not have, or further on than they went.

    plan beside the runs of a calibration -> standard deviation of the log of what a visit is worth under the plan
    and for training beyond theirs        -> beside it the drift of the level (Weights.drift)
    and to a set full of boilerplate      -> beside it what such sets differ by (Weights.set_sd)
    probability of each row under weights -> number of recited rows and its 90 % interval, with all of this

It moves all rows of a set together, and late in training a tenth of the worth of a visit is a fifth of the recited
rows and more. An interval without it is as wide as the level's own doubt, which says how well it was read where it
was read, and holds too seldom (benchmarks/prediction, README, "Intervals after a rehearsal").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanner.figures import listed
from scanner.prediction.crediting import high_rates
from scanner.prediction.hazard import Regime, Weights
from scanner.prediction.intervals import ExpectedRows, ends_of_level, expected_rows
from scanner.prediction.reliability import WIDTH
from scanner.prediction.statements import span
from scanner.prediction.validated import Validated
from scanner.settings import TrainingPlan

PLAN_SD = 0.04
"""Between plans of one base that differ in batching, average of the loss, learning rate or its schedule. Likeliest on
119 counts of the grid that were predicted by a level of random batches at a constant rate: .036 where the schedule
differs, less for the rest."""
HIGH_RATE_SD = 0.1
"""More where the runs had a high rate and fewer epochs than the plan (crediting.HIGH_RATE): what a visit is worth came
out .04 to .2 higher there, in the log, than their first epochs told."""
TOGETHER = 0.5
"""Share of the drift of the level that moves all rows of a set together; the rest is each row's own. Of 0 to 1 with it
90 % intervals of later epochs held about so often when it was chosen: on 13 counts of other bases .92, on 128 of the
base of the fit .96, on 43 under high falling rates .91; without the drift .77, .92 and .79, with all of it 1, .99 and
.98. Since what a set knows is counted (freeing.py) they hold .85, .99 and 1."""
SAME_RATE = 0.05
"""Share of a learning rate by which two are the same."""


@dataclass(frozen=True)
class Carried:
    """What carrying a level to a plan adds to its doubt."""

    sd: float  # of the log of what a visit is worth
    told: str  # what the plan has that the runs had not; empty where nothing


def to_plan(plan: TrainingPlan, weights: Weights) -> Carried:
    """A plan beside the runs behind the level; adds nothing where there are none, or where they recorded nothing."""
    runs = weights.rehearsed or Validated()
    theirs, mine = [], []
    if runs.batchings and (plan.batching not in runs.batchings or plan.loss_average not in runs.loss_averages):
        theirs.append(f"{listed(runs.batchings)} batches averaged per {listed(runs.loss_averages)}")
        mine.append(f"{plan.batching}, per {plan.loss_average}")
    if runs.learning_rate is not None and runs.lr_schedules:
        low, high = runs.learning_rate
        same = low * (1 - SAME_RATE) <= plan.learning_rate <= high * (1 + SAME_RATE)
        if not same or plan.lr_schedule not in runs.lr_schedules:
            theirs.append(f"{listed(runs.lr_schedules)} learning rates of {span(runs.learning_rate, '{:g}'.format)}")
            mine.append(f"{plan.lr_schedule}, {plan.learning_rate:g}")
    early = runs.epochs is not None and plan.epochs > runs.epochs[1] and high_rates(runs, weights) is not None
    told = (
        f"measured under {listed(theirs)}; under the plan's ({'; '.join(mine)}) the level is less sure" if mine else ""
    )
    return Carried(math.hypot(PLAN_SD if mine else 0.0, HIGH_RATE_SD if early else 0.0), told)


def number_of_rows(
    probability: Callable[[Weights], npt.NDArray[np.float64]],
    weights: Weights,
    plan: TrainingPlan,
    regime: Regime,
    stands_for: npt.NDArray[np.float64] | None = None,
    copies: npt.NDArray[np.float64] | None = None,
    known: npt.NDArray[np.float64] | None = None,
) -> ExpectedRows:
    """Expected number of recited rows after a training, and its 90 % interval.

    probability: P(N_pre >= 16) of each row (n,) under weights, NaN where not measured; known (n,): the same under
    `weights`, if at hand. regime: the training, under these weights (Weights.under). stands_for, copies (n,): as of
    intervals.expected_rows.
    """

    def expected(p: npt.NDArray[np.float64]) -> float:
        return float(np.nansum(p if stands_for is None else p * stands_for))

    lows, highs = ends_of_level(weights)
    low, high = min(map(probability, lows), key=expected), max(map(probability, highs), key=expected)
    middle = probability(weights) if known is None else known
    beyond = ends(weights, plan, regime)
    elsewhere = None if beyond is None else (probability(beyond[0]), probability(beyond[1]))
    return expected_rows(low, middle, high, stands_for, copies, elsewhere)


def ends(weights: Weights, plan: TrainingPlan, regime: Regime) -> tuple[Weights, Weights] | None:
    """The weights at both ends of where the level may be after a training; None where nothing is added to its doubt."""
    doubt = math.hypot(to_plan(plan, weights).sd, drift(weights, regime), weights.set_sd)
    return (weights.moved(-WIDTH * doubt), weights.moved(WIDTH * doubt)) if doubt else None


def drift(weights: Weights, regime: Regime) -> float:
    """Standard deviation of the log of what a visit is worth after a training, by which all rows move together."""
    return TOGETHER * weights.drift(regime)
