"""How sure a predicted number of rows is: the level's own doubt, and the chance of each row, put together.

    level of the base: offset and dose factor +- 1.645 of their doubt, through the hazard: the sum of p moves as a
                       whole; as far out as a calibration on hardly a recited row leaves open (doubting.py)
    where it is carried to: training beyond that at which the level was read, plans that its runs did not have, sets
                        full of boilerplate (carrying.py): a factor on the dose +- 1.645 of its doubt
    each row by itself: recited or not, variance p (1 - p) (Poisson-binomial, given the level); exact copies of a row
                        are recited together or not at all

The three are independent, so their distances from the expectation add up in squares, on each side by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from scanner.prediction.hazard import Weights
from scanner.prediction.reliability import WIDTH

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExpectedRows:
    """A number of rows with its 90 % interval; low <= expected <= high."""

    expected: float
    low: float
    high: float


def levels(weights: Weights) -> tuple[Weights, Weights, Weights]:
    """The weights at the low end, the middle and the high end of what the level of the base may be."""
    return _moved(weights, -WIDTH), weights, _moved(weights, WIDTH)


def ends_of_level(weights: Weights) -> tuple[list[Weights], list[Weights]]:
    """The weights at the low and at the high end; of two that stand for one end the further one counts.

    Which that is depends on the plan: an offset moves many rows where little is learned, a dose factor where much is.
    """
    low, _, high = levels(weights)
    if weights.ends is None:
        return [low], [high]
    one, other = (weights.placed(*place) for place in weights.ends)
    return [low, one], [high, other]


def expected_rows(
    p_low: Float64,
    p_mid: Float64,
    p_high: Float64,
    stands_for: Float64 | None = None,
    copies: Float64 | None = None,
    elsewhere: tuple[Float64, Float64] | None = None,
) -> ExpectedRows:
    """Expected number of rows and its 90 % interval, from each row's probability at the three `levels`.

    All (n,); NaN (not measured) in p_mid counts for nothing. stands_for (n,): how many rows each one represents, as
    many independent chances. copies (n,): rows with its very text, itself included, which share its chance. 1 where
    not given. elsewhere: p at the two ends that carrying.ends gives.
    """
    seen = ~np.isnan(p_mid)
    count = np.ones(int(seen.sum())) if stands_for is None else np.asarray(stands_for, np.float64)[seen]
    alike = np.ones(len(count)) if copies is None else np.asarray(copies, np.float64)[seen]

    def rows(p: Float64) -> float:
        return float((np.asarray(p)[seen] * count).sum())

    mid = rows(p_mid)
    down = up = WIDTH**2 * float((p_mid[seen] * (1 - p_mid[seen]) * count * alike).sum())
    for pair in ((p_low, p_high), elsewhere or (p_mid, p_mid)):
        moved = [rows(p) for p in pair]  # where a dose factor was fitted, either end may be the lower one
        down += (mid - min(mid, *moved)) ** 2
        up += (max(mid, *moved) - mid) ** 2
    return ExpectedRows(mid, max(0.0, mid - math.sqrt(down)), min(float(count.sum()), mid + math.sqrt(up)))


def _moved(weights: Weights, deviations: float) -> Weights:
    """The weights with their level moved by so many of its standard deviations."""
    priors = weights.priors
    step = priors.offset_sd if weights.offset_step is None else weights.offset_step
    moved = replace(priors, offset=priors.offset + deviations * step)
    return replace(weights.moved(deviations * weights.log_factor_step), priors=moved)
