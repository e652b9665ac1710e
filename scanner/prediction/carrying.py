"""How sure a level still is under a plan that the runs behind it did not have, or further on than they went.

    plan beside the runs of a calibration -> standard deviation of the log of what a visit is worth under the plan
    and for training beyond theirs        -> beside it the drift of the level (Weights.drift)

It moves all rows of a set together, and late in training a tenth of the worth of a visit is a fifth of the recited
rows and more. An interval without it is as wide as the level's own doubt, which says how well it was read where it
was read, and holds too seldom (benchmarks/prediction, README, "Intervals after a rehearsal").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scanner.figures import listed
from scanner.prediction.crediting import high_rates
from scanner.prediction.hazard import Regime, Weights
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
90 % intervals of later epochs hold about so often: on 13 counts of other bases .92, on 128 of the base of the fit .96,
on 43 under high falling rates .91; without the drift .77, .92 and .79, with all of it 1, .99 and .98."""
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


def ends(weights: Weights, plan: TrainingPlan, regime: Regime) -> tuple[Weights, Weights] | None:
    """The weights at both ends of where the level may be after a training; None where it is carried nowhere.

    regime: that training, under these weights (Weights.under).
    """
    doubt = math.hypot(to_plan(plan, weights).sd, TOGETHER * weights.drift(regime))
    if not doubt:
        return None
    low, high = (replace(weights, dose_factor=weights.dose_factor * math.exp(d * doubt)) for d in (-WIDTH, WIDTH))
    return low, high
