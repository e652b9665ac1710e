"""How many optimizer steps of a training still count as progress at its end; later steps overwrite earlier ones."""

from __future__ import annotations

import numpy as np

from scanner.rates import PARTS, rate_share
from scanner.settings import TrainingPlan


def lasting(steps: float, most: float, plan: TrainingPlan | None = None, at: float = 1.0) -> float:
    """The number of steps, of `steps`, that later steps have not overwritten: the last ones up to a budget of `most`.

    A step at a share s of the peak rate overwrites s ** 2 as much as one at the peak does
    (benchmarks/prediction/LAWS.md, 16) and uses up that part of the budget. So the last `most` steps count at a
    constant rate, and nearly all steps where the rate decays. plan: the schedule, of which the share `at` is over;
    None: a constant rate. Steps of the warm-up use up as much as those at the peak: otherwise a longer training could
    be left with fewer steps.
    """
    if steps <= most or plan is None:
        return min(steps, most)
    now = np.linspace(0, at, PARTS + 1)
    wear = np.where(now < plan.warmup, 1.0, rate_share(plan, now))[::-1] ** 2  # the last step first
    behind = np.append(0, np.cumsum((wear[1:] + wear[:-1]) / 2)) / PARTS  # cumulated from the last step backwards
    return steps * float(np.interp(most / steps, behind, np.linspace(0, 1, PARTS + 1)))
