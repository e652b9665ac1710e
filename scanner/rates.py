"""The learning rate over a training: how much a visit at some rate memorizes, and how much of it is retained.

    mean dose of a visit = stands(plan, progress) * mean over the steps so far of taught(rate of the step)

A step at a high rate memorizes more, but also overwrites part of what earlier steps memorized. `taught` is what a visit
adds at the moment it is made, `stands` the share of it that is still there later: least while the rate is at its peak,
most of it at a quarter of that, and all of it once the rate has decayed to 0 over many steps, for what is worn away
follows the rate with a lag (`stirred`). At a constant rate the product of the two is `of_rate`. A visit is one
presentation of a row to the model.
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
"""The dose grows with log(1 + peak / this): in proportion to small rates, ever more slowly with large ones. Trainings
at 1.5e-4 and at 1e-3 both recited less than a square root fitted through 4e-4 predicted."""
SETTLED_BEND = 3e-4
"""A step adds log(1 + its rate / this). Later steps overwrite part of that: after a training at a constant rate
log(1 + rate / RATE_BEND) is left, after one whose rate has decayed to 0 all of it. Fitted on rates that decay from
4e-4, 6e-4 and 1e-3, confirmed on other rows (benchmarks/prediction/LAWS.md, 16)."""
WEAR = 0.13
"""How much is overwritten at a rate: with w the square of its share of the peak, w / (w + this), scaled to 1 at the
peak. Of .06, .1, .15, .2, .3 and .5 the likelihood under decaying rates was largest at .15, on two sets of rows alike
(benchmarks/prediction/LAWS.md, 16); beside RELAXES it is at .12 on the one and .16 on the other, and this is better
than .15 on rows that were in no fit (19)."""
RELAXES = 45.0
"""How fast the stir of the weights follows a falling rate: of what it is above that of the rate of a step, the step
takes 2 * this * rate, as noisy steps do on a quadratic loss (Mandt, Hoffman and Blei 2017). Of 15 to 400 the
likelihood is largest at 60 to 90 on two sets of rows with all weights as they were, and at 30 to 45 with all weights
fitted again (benchmarks/prediction/LAWS.md, 19)."""
PARTS = 1024
"""Equal parts of a schedule over which its rates are averaged."""


def rate_share(plan: TrainingPlan, progress: npt.ArrayLike) -> Float64:
    """Learning rate as a share of its peak; progress is the share of the optimizer steps already taken.

    The schedules of transformers: a linear warm-up from 0, then constant, or falling to 0 in a line or half a cosine.
    """
    at = np.clip(np.asarray(progress, dtype=np.float64), 0, 1)
    after = np.clip((at - plan.warmup) / max(1e-12, 1 - plan.warmup), 0, 1)
    falling = {"constant": np.ones_like(at), "linear": 1 - after, "cosine": (1 + np.cos(np.pi * after)) / 2}
    return np.where(at < plan.warmup, at / max(1e-12, plan.warmup), falling[plan.lr_schedule])


def of_rate(learning_rate: float) -> float:
    """Dose of a visit in a training at this constant rate, relative to one at UNIT_LEARNING_RATE."""
    return math.log1p(learning_rate / RATE_BEND) / math.log1p(UNIT_LEARNING_RATE / RATE_BEND)


def taught(rate: npt.ArrayLike) -> Float64:
    """What a visit at this rate adds before anything is overwritten, relative to one at UNIT_LEARNING_RATE."""
    return np.log1p(np.asarray(rate, np.float64) / SETTLED_BEND) / math.log1p(UNIT_LEARNING_RATE / SETTLED_BEND)


def stirred(plan: TrainingPlan, progress: float = 1.0, peak: float | None = None, steps: float = math.inf) -> float:
    """How far the weights are stirred still, as the share of its peak at which a steady rate stirs as much.

    It follows the rate, the more slowly the fewer steps there are: it is the rate itself after infinitely many, and 1,
    as at the peak, up to the end of the warm-up (else more steps in it could leave less). So a rate that falls within a
    few hundred steps leaves the weights stirred. steps: optimizer steps up to `progress`. peak: replaces the plan's
    learning rate.
    """
    if progress <= plan.warmup or plan.lr_schedule == "constant":
        return 1.0
    if math.isinf(steps):
        return float(rate_share(plan, progress))
    now = (np.arange(PARTS) + 0.5) / PARTS * progress
    shares = np.where(now < plan.warmup, 1.0, rate_share(plan, now))
    calmed = 2 * RELAXES * (plan.learning_rate if peak is None else peak) * shares * steps / PARTS
    left = np.exp(calmed - np.cumsum(calmed[::-1])[::-1])  # of the stir of each part, at the end
    return float((shares * -np.expm1(-calmed) * left).sum() + math.exp(-calmed.sum()))


def stands(plan: TrainingPlan, progress: float = 1.0, peak: float | None = None, steps: float = math.inf) -> float:
    """Factor from what was taught to what is retained when the share `progress` of the training is over.

    It is largest where nothing stirs the weights and overwrites any more; stirred as at the peak it makes of `taught`
    just `of_rate`. In between it follows WEAR. steps, peak: as for `stirred`.
    """
    wear = stirred(plan, progress, peak, steps) ** 2
    worn = wear * (1 + WEAR) / (wear + WEAR)
    whole = _steady(0.0)
    return whole - worn * (whole - _steady(plan.learning_rate if peak is None else peak))


def settled(plan: TrainingPlan, progress: float = 1.0, peak: float | None = None, steps: float = math.inf) -> float:
    """What is retained, relative to the same training stopped at its peak rate: 1 there, more once the rate decayed."""
    return stands(plan, progress, peak, steps) / _steady(plan.learning_rate if peak is None else peak)


def _steady(rate: float) -> float:
    """`stands` in a training at this constant rate; 1 at UNIT_LEARNING_RATE."""
    if rate < 1e-9 * RATE_BEND:
        return (
            math.log1p(UNIT_LEARNING_RATE / SETTLED_BEND)
            / math.log1p(UNIT_LEARNING_RATE / RATE_BEND)
            * (SETTLED_BEND / RATE_BEND)
        )
    return of_rate(rate) / float(taught(rate))


def of_schedule(plan: TrainingPlan, peak: float, progress: float = 1.0, steps: float = math.inf) -> float:
    """Mean dose of the plan's visits up to `progress` under this peak rate; `of_rate` where the rate is constant."""
    shares = rate_share(plan, (np.arange(PARTS) + 0.5) / PARTS * progress)
    return stands(plan, progress, peak, steps) * float(taught(peak * shares).mean())


def visit_at(plan: TrainingPlan, progress: float = 1.0) -> float:
    """Dose of an average visit at the rate reached; progress is the share of the optimizer steps already taken."""
    return of_rate(plan.learning_rate) * float(rate_share(plan, progress))
