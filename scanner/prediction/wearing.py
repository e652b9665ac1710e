"""How many steps of a training its end still shows: what later steps have worn away is no progress."""

from __future__ import annotations

import numpy as np

from scanner.rates import PARTS, rate_share
from scanner.settings import TrainingPlan


def lasting(steps: float, most: float, plan: TrainingPlan | None = None, at: float = 1.0) -> float:
    """Of `steps` optimizer steps those behind which no more than `most` steps' worth of wear lies.

    A step wears away what was learned before it by about the square of its rate; one at a share s of the peak rate
    counts s ** 2 here (benchmarks/prediction/README.md, 16). So at a constant rate the last `most` steps are left, and
    nearly all where the rate falls. plan: the schedule, of which the share `at` is over; None: a constant rate. Through
    a warm-up a step wears as one at the peak: else a longer training could be left with less.
    """
    if steps <= most or plan is None:
        return min(steps, most)
    now = np.linspace(0, at, PARTS + 1)
    wear = np.where(now < plan.warmup, 1.0, rate_share(plan, now))[::-1] ** 2  # the last step first
    behind = np.append(0, np.cumsum((wear[1:] + wear[:-1]) / 2)) / PARTS  # of each share of the steps, from the end
    return steps * float(np.interp(most / steps, behind, np.linspace(0, 1, PARTS + 1)))
