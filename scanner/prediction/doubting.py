"""The interval of a level that was calibrated on hardly any recited row: wider than its standard error says.

    level +- 1.645 standard errors  -->  widened towards the 90 % interval of a base that was not measured,
                                         as far as the number of recited rows is compatible with it

Runs of a few tokens tell little of the level of long ones, and next to nothing of the dose per visit: of bases that
recite nothing after their first epoch, some recite three times as many rows after eight as others
(benchmarks/prediction). So where no row was recited, each end of the interval moves out to where it would be without
any calibration (Priors.level_factor, or a factor of three where nothing like the plan was measured). It stops short
where the observed number of recited rows or more (at the upper end: or fewer) would have a probability below EXCLUDED.
With more recited rows the ends move out by a smaller share of that way. The probability is exact, that of a
Poisson-binomial number of independent rows.
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
"""Probability of the observation below which a level counts as excluded: one tail of a 90 % interval."""
PACES = 64  # parts of the way out in which the place to stop is searched


def ends(
    found: Place,
    step: Place,
    missing: float,
    weights: Weights,
    plan: TrainingPlan,
    chances: Callable[[Place], Float64],
    seen: int,
) -> tuple[Place, Place]:
    """The lower and the upper end of the interval of a level, as levels; used where they mean fewer, or more, rows.

    found, step: the level and one standard error of it. missing: from 0, enough rows were recited for the standard
    error alone, to 1, none was. chances: (r,) probability of each independent row to be recited, at a level. seen: how
    many of these rows were recited.
    """
    other = weights.of_another_base(plan)

    def as_many(place: Place) -> float:
        """Probability that at least so many rows as seen are recited."""
        return 1 - at_most(chances(place), seen - 1)

    def as_few(place: Place) -> float:
        """Probability that at most so many rows as seen are recited."""
        return at_most(chances(place), seen)

    both = []
    for side, chance, out in zip((-1, 1), (as_many, as_few), levels(other)[::2], strict=True):
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
