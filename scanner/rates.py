"""Learning rates: how they go over a training, what a visit at one teaches, and what of that stands in the end.

    worth of a training = stands(share of the peak that the rate has now) * mean over its steps of taught(their rates)

A rate writes, and wears away what was written before it. A training at a constant rate shows of_rate(rate); where the
rate has fallen to 0 all that was taught is there, and where it has fallen to a quarter most of it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from scanner.settings import TrainingPlan

Float64 = npt.NDArray[np.float64]

UNIT_LEARNING_RATE = 3e-4
"""One unit of dose is a visit at this learning rate."""
RATE_BEND = 1e-4
"""The dose grows with log(1 + peak / this): with the rate where that is small, ever less where it is large. Trainings
at 1.5e-4 and at 1e-3 both recited less than a square root through 4e-4 said."""
SETTLED_BEND = 3e-4
"""A step teaches by log(1 + its rate / this). What a rate writes it also wears away, so of that a training at a
constant rate shows log(1 + rate / RATE_BEND), and one whose rate has fallen to 0 all. Found with rates that fall from
4e-4, 6e-4 and 1e-3, borne out on other rows (benchmarks/prediction/README.md, 16)."""
WEAR = 0.15
"""What a rate wears away goes by the square w of its share of the peak, as w / (w + this), 1 at the peak. Likeliest of
.06, .1, .15, .2, .3 and .5 where rates fall, on two sets of rows alike (benchmarks/prediction/README.md, 16)."""
PARTS = 1024
"""A schedule is gone through in so many equal parts."""


def rate_share(plan: TrainingPlan, progress: npt.ArrayLike) -> Float64:
    """Learning rate as a share of its peak; progress is the share of the optimizer steps already taken.

    The schedules of transformers: a linear warm-up from 0, then constant, or falling to 0 in a line or half a cosine.
    """
    at = np.clip(np.asarray(progress, dtype=np.float64), 0, 1)
    after = np.clip((at - plan.warmup) / max(1e-12, 1 - plan.warmup), 0, 1)
    falling = {"constant": np.ones_like(at), "linear": 1 - after, "cosine": (1 + np.cos(np.pi * after)) / 2}
    return np.where(at < plan.warmup, at / max(1e-12, plan.warmup), falling[plan.lr_schedule])


def of_rate(learning_rate: float) -> float:
    """What a visit at this peak learning rate is worth beside one at UNIT_LEARNING_RATE."""
    return math.log1p(learning_rate / RATE_BEND) / math.log1p(UNIT_LEARNING_RATE / RATE_BEND)


def taught(rate: npt.ArrayLike) -> Float64:
    """What a visit at this rate writes, beside one at UNIT_LEARNING_RATE; what of it stands is another matter."""
    return np.log1p(np.asarray(rate, np.float64) / SETTLED_BEND) / math.log1p(UNIT_LEARNING_RATE / SETTLED_BEND)


def stands(plan: TrainingPlan, progress: float = 1.0, peak: float | None = None) -> float:
    """What is there of what was taught, at the rate of the moment: all of it at 0, at the peak as much as of_rate says.

    Between them by WEAR: what steps wear away goes by the square of their rate.
    peak: in place of the plan's learning rate.
    """
    wear = float(rate_share(plan, progress)) ** 2
    worn = wear * (1 + WEAR) / (wear + WEAR)
    whole = _steady(0.0)
    return whole - worn * (whole - _steady(plan.learning_rate if peak is None else peak))


def settled(plan: TrainingPlan, progress: float = 1.0, peak: float | None = None) -> float:
    """What stands, beside what would at the peak rate: 1 there, more where the rate has fallen."""
    return stands(plan, progress, peak) / _steady(plan.learning_rate if peak is None else peak)


def _steady(rate: float) -> float:
    """What stands of a training at this rate all along, in the unit of one at 3e-4, of which 1 does."""
    if rate < 1e-9 * RATE_BEND:
        return (
            math.log1p(UNIT_LEARNING_RATE / SETTLED_BEND)
            / math.log1p(UNIT_LEARNING_RATE / RATE_BEND)
            * (SETTLED_BEND / RATE_BEND)
        )
    return of_rate(rate) / float(taught(rate))


def of_schedule(plan: TrainingPlan, peak: float, progress: float = 1.0) -> float:
    """What the plan's visits up to `progress` are worth on average with this peak rate; at a constant one of_rate."""
    shares = rate_share(plan, (np.arange(PARTS) + 0.5) / PARTS * progress)
    return stands(plan, progress, peak) * float(taught(peak * shares).mean())


def visit_at(plan: TrainingPlan, progress: float = 1.0) -> float:
    """Dose of a usual visit at the rate of the moment; progress is the share of the optimizer steps already taken."""
    return of_rate(plan.learning_rate) * float(rate_share(plan, progress))
