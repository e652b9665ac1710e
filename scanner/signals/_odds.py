"""How likely a pair reaches the threshold by the slow encoder: shipped weights, moved by what was read.

    parts of a pair (scanner.closeness) -> weights -> log odds that its slow cosine reaches the threshold

A logistic model whose weights begin where other files put them and follow this file's own pairs as they are read: a
normal prior around the shipped weights, as wide as files differ from one another, so that a few readings change little
and many decide. It is asked at three thresholds at once, since pairs just below tell where those above lie. Beside the
weights it learns how much likelier the pairs of each theme (scanner/signals/_themes.py) are than their parts say.
All sums run in the order of the proposals and without threads, so that equal readings give equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scanner.objects import Float64, Int64

NEAREST_1 = 0.999  # a cosine, for Fisher's z, which has no value at 1
_USUAL_Z = float(np.arctanh(0.85))  # the threshold's own coordinate is 0 there
_STEPS_DOWN = (0.0, 0.05, 0.1)  # thresholds asked at once, as far below the one that counts; they share one reading
_NEWTON_STEPS = 15
_LEAN_SPREAD = 0.7  # standard deviation of a theme's log odds around what the parts say
_LEAN_TURNS = 4  # of fitting the weights, then the themes beside them
_LEAN_STEPS = 10
_LEAN_STEP = 0.5  # longest
_DIGITS = 6  # of weights and logarithms; beyond them machines may differ


@dataclass(frozen=True)
class Belief:
    """What is believed before anything was read: log odds = weights . (1, parts - centre, z of threshold - usual)."""

    centre: tuple[float, ...]  # (k,) subtracted from the parts
    weights: tuple[float, ...]  # (k + 2,)
    spread: tuple[float, ...]  # (k + 2,) standard deviations of the weights among files


CLOSENESS = Belief(
    centre=(0.7, 0.6, 0.6, 0.65, 5.0, 0.4),
    weights=(-4.29, 3.66, 3.46, 6.68, 1.88, 0.54, -0.69, -6.87),
    spread=(1.0, 3.0, 3.0, 3.0, 3.0, 0.3, 0.3, 2.0),
)
"""Of the parts that scanner.closeness gives; fitted to five files (benchmarks/semantic/README.md)."""
COSINE = Belief(centre=(0.7,), weights=(-4.8, 14.9, -6.3), spread=(2.0, 6.0, 3.0))
"""Of any other embedder's cosine alone; wide, for nothing is known of its scale."""


class Odds:
    """The log odds of (p,) pairs at one threshold, before and after learning from some of them."""

    def __init__(self, belief: Belief, parts: Float64, cosine: float, themes: Int64 | None = None):
        """parts: (p, k) of the pairs, in an order that does not depend on the rows'.

        themes: (p, 2) number of the theme of either row; none are told apart without.
        """
        self._parts = parts - np.array(belief.centre)
        self._cosine = cosine
        self._start = np.array(belief.weights)
        self._precision = np.diag(1 / np.array(belief.spread) ** 2)
        self.weights = self._start
        self._themes = np.zeros((len(parts), 2), np.int64) if themes is None else themes
        self._leaning = np.zeros(int(self._themes.max(initial=0)) + 1)  # log odds per theme

    def learn(self, at: Int64, slow: Float64) -> None:
        """Fit the weights to the pairs read so far, whose slow cosines are `slow`; the last fit is forgotten."""
        if len(at):
            points = np.concatenate([_points(self._parts[at], self._cosine - step) for step in _STEPS_DOWN])
            reached = np.concatenate([(slow >= self._cosine - step).astype(np.float64) for step in _STEPS_DOWN])
            counts = np.full(len(points), 1 / len(_STEPS_DOWN))
            themes = np.tile(self._themes[at], (len(_STEPS_DOWN), 1))
            leaning = np.zeros(len(self._leaning))
            weights = fitted(points, reached, counts, self._start, self._precision)
            for _ in range(_LEAN_TURNS if len(leaning) > 1 else 0):
                leaning = leanings(np.einsum("ij,j->i", points, weights), reached, counts, themes, len(leaning))
                beside = leaning[themes].mean(axis=1)
                weights = fitted(points, reached, counts, self._start, self._precision, beside)
            self.weights, self._leaning = np.round(weights, _DIGITS), np.round(leaning, _DIGITS)

    def log_probability(self) -> Float64:
        """(p,) logarithms of the probability that a pair reaches the threshold."""
        leaning = self._leaning[self._themes].mean(axis=1)
        odds = np.einsum("ij,j->i", _points(self._parts, self._cosine), self.weights) + leaning
        return np.asarray(np.round(-np.logaddexp(0, -odds), _DIGITS))

    def level(self) -> Float64:
        """(p,) Fisher's z at which a pair's odds would be even, but for a constant: a score for any threshold.

        By the parts alone: what the pairs read say of their theme would make them look better than they are.
        """
        scale = max(-float(self.weights[-1]), 1e-3)
        own = np.einsum("ij,j->i", self._parts, self.weights[1:-1]) + self.weights[0]
        return np.asarray(np.round(own / scale, _DIGITS))


def leanings(odds: Float64, reached: Float64, counts: Float64, themes: Int64, number: int) -> Float64:
    """(number,) most probable log odds of each theme beside those given, held near 0; 0 for themes that nothing tells.

    odds, reached, counts: (n,) as in `fitted`; themes: (n, 2). Newton's method with bounded steps, each theme by
    itself: a pair leans to the mean of its two themes, so half its curvature for either bounds what both do together.
    """
    found, hold = np.zeros(number), 1 / _LEAN_SPREAD**2

    def half(values: Float64) -> Float64:
        sums = np.bincount(themes[:, 0], values, number) + np.bincount(themes[:, 1], values, number)
        return np.asarray(sums / 2)

    for _ in range(_LEAN_STEPS):
        share = 1 / (1 + np.exp(-np.clip(odds + found[themes].mean(axis=1), -30, 30)))
        gradient = half(counts * (reached - share)) - hold * found
        curvature = half(counts * share * (1 - share)) + hold
        found = found + np.clip(gradient / curvature, -_LEAN_STEP, _LEAN_STEP)
    return found


def fitted(
    points: Float64,
    reached: Float64,
    counts: Float64,
    start: Float64,
    precision: Float64,
    beside: Float64 | float = 0.0,
) -> Float64:
    """(k,) most probable weights of a logistic model with a normal prior, by Newton's method with halved steps.

    points: (n, k); reached: (n,) 0 or 1; counts: (n,) how much each point counts; precision: (k, k) of the prior;
    beside: (n,) log odds that are added to those of the weights.
    """

    def loss(weights: Float64) -> float:
        odds, gap = np.einsum("ij,j->i", points, weights) + beside, weights - start
        return float((counts * (np.logaddexp(0, odds) - reached * odds)).sum() + 0.5 * gap @ precision @ gap)

    weights, least = start, loss(start)
    for _ in range(_NEWTON_STEPS):
        share = 1 / (1 + np.exp(-np.clip(np.einsum("ij,j->i", points, weights) + beside, -30, 30)))
        gradient = np.einsum("ij,i->j", points, counts * (reached - share)) - precision @ (weights - start)
        curvature = np.einsum("ij,ik->jk", points, points * (counts * share * (1 - share))[:, None]) + precision
        step = np.linalg.solve(curvature, gradient)
        while loss(weights + step) > least and np.abs(step).max() > 1e-9:
            step = step / 2
        now = loss(weights + step)
        if least - now <= 1e-9 * (1 + abs(least)):
            break
        weights, least = weights + step, now
    return weights


def _points(parts: Float64, cosine: float) -> Float64:
    """(p, k + 2) what the weights are multiplied with."""
    ones = np.ones((len(parts), 1))
    z = float(np.arctanh(np.clip(cosine, -NEAREST_1, NEAREST_1))) - _USUAL_Z
    return np.concatenate((ones, parts, z * ones), axis=1)
