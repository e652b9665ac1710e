"""The highest place of a log-posterior of one or two parameters: Newton's method with numerical derivatives.

log-likelihood of each independent unit at a place -> `derivatives`
log-likelihood, derivatives, prior, places to start -> `mode`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

STEP = 0.02  # of the numerical derivatives, logits
ROUNDS, CLOSE = 30, 1e-4  # of Newton's method


class Derivatives(NamedTuple):
    """Of a log-likelihood at a place of d parameters; all 0 without any unit."""

    slope: Float64  # (d,)
    curvature: Float64  # (d, d) made positive
    spread: Float64  # (d, d) sum of squared scores per unit


class Prior(NamedTuple):
    """A normal prior of d parameters that are independent."""

    mean: Float64  # (d,)
    precision: Float64  # (d,)


def mode(
    likelihood: Callable[[Float64], float],
    derivatives_at: Callable[[Float64], Derivatives],
    prior: Prior,
    tempering: float,
    starts: Sequence[Float64],
) -> tuple[Float64, Float64]:
    """Newton's method from the best of the starts, its steps halved until the posterior rises.

    likelihood: logarithm, nats; tempering: its weight beside the prior. The curvature (d, d) that is returned beside
    the place (d,) is the likelihood's alone.
    """
    mean, precision = prior

    def value(place: Float64) -> float:
        return tempering * likelihood(place) - 0.5 * float((precision * (place - mean) ** 2).sum())

    values = [value(place) for place in starts]
    place, now = starts[int(np.argmax(values))], max(values)
    for _ in range(ROUNDS):
        slope, curvature, _ = derivatives_at(place)
        uphill = tempering * slope - precision * (place - mean)
        bend = tempering * curvature + np.diag(precision)
        move = np.clip(np.linalg.solve(bend, uphill), -1.5, 1.5)
        while (after := value(place + move)) < now - 1e-9 and np.abs(move).max() > CLOSE:
            move = move / 2
        if after >= now - 1e-9:
            place, now = place + move, after
        if np.abs(move).max() <= CLOSE:
            break
    return place, derivatives_at(place).curvature


def derivatives(likelihood_of_units: Callable[[Sequence[float]], Float64], place: Sequence[float]) -> Derivatives:
    """Slope, curvature and spread at a place, from the log-likelihood (units,) of each unit at places beside it."""
    size = len(place)

    def per_unit(moves: Sequence[tuple[int, float]]) -> Float64:
        moved = list(place)
        for axis, away in moves:
            moved[axis] += away
        return likelihood_of_units(moved)

    centre = per_unit([])
    units = len(centre)
    if not units:
        return Derivatives(np.zeros(size), np.zeros((size, size)), np.zeros((size, size)))
    up, down = ([per_unit([(i, sign * STEP)]) for i in range(size)] for sign in (1, -1))
    scores = np.stack([(u - d) / (2 * STEP) for u, d in zip(up, down, strict=True)])
    curvature = np.zeros((size, size))
    for i in range(size):
        curvature[i, i] = -float((up[i] - 2 * centre + down[i]).sum()) / STEP**2
    if size > 1:
        corners = [per_unit([(0, a * STEP), (1, b * STEP)]).sum() for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        curvature[0, 1] = curvature[1, 0] = -(corners[0] - corners[1] - corners[2] + corners[3]) / (4 * STEP**2)
    spread = scores @ scores.T * (units / max(1, units - 1))
    return Derivatives(scores.sum(axis=1), _positive(curvature), spread)


def _positive(matrix: Float64) -> Float64:
    """The nearest matrix without directions of negative curvature: there the likelihood says nothing to rely on."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-9)) @ vectors.T)
