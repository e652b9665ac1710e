"""How sure a level may be where hardly a row was recited: no surer than that of a base that was not measured at all.

    level found +- 1.645 of its doubt --> ends of the 90 % interval of a base that was not measured
                                          as far out as the number of recited rows lets them

Runs of a few tokens tell the level of long ones badly, and what a visit is worth hardly at all: of bases that recite
nothing after their first epoch some recite three times as many rows after eight as others (benchmarks/prediction). So
where no row was recited, either end of the interval goes out to where it would be without any calibration
(Priors.level_factor, or threefold where nothing like the plan was measured), unless so few recited rows, or so many,
would have a chance below EXCLUDED there: then to where they have not. With more recited rows the ends come in, in
proportion. The chance is exact, that of a Poisson-binomial number of independent rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from scanner.prediction.hazard import Weights
from scanner.prediction.intervals import levels
from scanner.prediction.reliability import WIDTH
from scanner.settings import TrainingPlan

Float64 = npt.NDArray[np.float64]
Place = tuple[float, float]
"""Offset (logits) and log of the dose factor."""

EXCLUDED = 0.05
"""Chance of what was seen below which a level counts as excluded: that of either end of a 90 % interval."""
PACES = 64  # of the way out, beyond which it is not told finer


def ends(
    found: Place,
    step: Place,
    missing: float,
    weights: Weights,
    plan: TrainingPlan,
    chances: Callable[[Place], Float64],
    seen: int,
) -> tuple[Place, Place]:
    """How far out the lower and the upper end go; an interval takes them where they mean fewer, or more, rows.

    found, step: the level and one standard deviation of it. missing: share of the recited rows that would be needed to
    know it by the step alone, from 0 to 1. chances: of independent rows to be recited, at a level. seen: how many were.
    """
    other = weights.of_another_base(plan)
    at_least: Callable[[Place], float] = lambda place: 1 - at_most(chances(place), seen - 1)  # noqa: E731
    so_few: Callable[[Place], float] = lambda place: at_most(chances(place), seen)  # noqa: E731
    both = []
    for side, chance, out in zip((-1, 1), (at_least, so_few), levels(other)[::2], strict=True):
        usual = found[0] + side * WIDTH * step[0], found[1] + side * WIDTH * step[1]
        beyond = (out.priors.offset, math.log(out.dose_factor))
        both.append(_on(usual, _on(found, beyond, _share(found, beyond, chance)), missing))
    return both[0], both[1]


def _share(found: Place, out: Place, chance: Callable[[Place], float]) -> float:
    """The largest part of the way out at which what was seen is not excluded; 0 where it is everywhere."""
    for share in np.linspace(1, 0, PACES + 1)[:-1].tolist():
        if chance(_on(found, out, share)) >= EXCLUDED:
            return float(share)
    return 0.0


def _on(begin: Place, end: Place, share: float) -> Place:
    """The place a share of the way from one to the other."""
    return begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])


def at_most(chances: Sequence[float] | Float64, number: int) -> float:
    """P(at most so many of independent events happen), for events of these chances; 0 for a negative number."""
    if number < 0:
        return 0.0
    so_many = np.zeros(number + 1)  # P(0, 1, ... happen), of the events so far
    so_many[0] = 1.0
    for p in np.sort(np.asarray(chances, np.float64)).tolist():
        so_many[1:] = so_many[1:] * (1 - p) + so_many[:-1] * p
        so_many[0] *= 1 - p
    return float(min(1.0, so_many.sum()))
