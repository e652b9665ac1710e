"""How likely a pair reaches the threshold by the slow encoder: shipped weights, moved by what was read.

    parts of a pair (scanner.closeness) -> weights -> log odds that its slow cosine reaches the threshold

A logistic model whose weights begin where other files put them and follow this file's own pairs as they are read: a
normal prior around the shipped weights, as wide as files differ from one another, so that a few readings change little
and many decide. It is asked at three thresholds at once, since pairs just below tell where those above lie. Each source
has its own weights, learned from its own pairs: what is alike among programs is not so among essays. Beside the weights
it learns how much likelier the pairs of each theme (scanner/signals/_themes.py) are than their parts say.
All sums run in the order of the proposals and without threads, so that equal readings give equal weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scanner.objects import Bool, Float64, Int64

NEAREST_1 = 0.999  # a cosine, for Fisher's z, which has no value at 1
_USUAL_Z = float(np.arctanh(0.85))  # the threshold's own coordinate is 0 there
_STEPS_DOWN = (0.0, 0.05, 0.1)  # thresholds asked at once, as far below the one that counts; they share one reading
_NEWTON_STEPS = 15
_LEAST_OWN = 20  # pairs read of a source, for weights of its own; fewer would hardly move them
_LEAN_SPREAD = 1.0  # standard deviation of a theme's log odds around what the parts say
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
    centre=(0.7, 0.6, 0.6, 0.65, 5.0, 0.4, 0.2),
    weights=(-5.0, 4.72, 3.12, 4.46, -0.4, 0.65, -0.33, 6.42, -7.27),
    spread=(1.0, 3.0, 3.0, 3.0, 3.0, 0.3, 0.3, 3.0, 2.0),
)
"""Of the parts that scanner.closeness gives; fitted to five files (benchmarks/semantic/README.md)."""
COSINE = Belief(centre=(0.7,), weights=(-4.8, 14.9, -6.3), spread=(2.0, 6.0, 3.0))
"""Of any other embedder's cosine alone; wide, for nothing is known of its scale."""


class Odds:
    """The log odds of (p,) pairs at one threshold, before and after learning from some of them."""

    def __init__(
        self,
        belief: Belief,
        parts: Float64,
        cosine: float,
        themes: Int64 | None = None,
        source: Int64 | None = None,
    ):
        """parts: (p, k) of the pairs, in an order that does not depend on the rows'.

        themes: (p, c) numbers of the themes of either row; none are told apart without. source: (p,) number of the
        source that both rows are from, -1 where they are from two; all are from one without.
        """
        self._parts = parts - np.array(belief.centre)
        self._cosine = cosine
        self._start = np.array(belief.weights)
        self._precision = np.diag(1 / np.array(belief.spread) ** 2)
        self.weights = self._start  # of pairs across sources, learned from all
        self._source = np.zeros(len(parts), np.int64) if source is None else source
        self._several = len(np.unique(self._source)) > 1
        self._weights: dict[int, Float64] = {}  # of the pairs of each source, where enough were read
        self._themes = np.zeros((len(parts), 2), np.int64) if themes is None else themes
        self._leaning = np.zeros(int(self._themes.max(initial=0)) + 1)  # log odds per theme

    def learn(self, at: Int64, slow: Float64) -> None:
        """Fit the weights to the pairs read so far, whose slow cosines are `slow`; the last fit is forgotten."""
        self._weights = {}
        if len(at):
            points = np.concatenate([_points(self._parts[at], self._cosine - step) for step in _STEPS_DOWN])
            reached = np.concatenate([(slow >= self._cosine - step).astype(np.float64) for step in _STEPS_DOWN])
            counts = np.full(len(points), 1 / len(_STEPS_DOWN))
            themes = np.tile(self._themes[at], (len(_STEPS_DOWN), 1))
            source = np.tile(self._source[at], len(_STEPS_DOWN))
            read, times = np.unique(self._source[at], return_counts=True)
            own = read[(times >= _LEAST_OWN) & (read >= 0)].tolist() if self._several else []
            leaning = np.zeros(len(self._leaning))

            def fit(kept: Bool) -> Float64:
                beside = leaning[themes[kept]].mean(axis=1)
                found = fitted(points[kept], reached[kept], counts[kept], self._start, self._precision, beside)
                return np.asarray(np.round(found, _DIGITS))

            for turn in range(1 + (_LEAN_TURNS if len(leaning) > 1 else 0)):
                if turn:
                    leaning = leanings(self._odds(points, source), reached, counts, themes, len(leaning))
                self.weights = fit(np.ones(len(points), np.bool_))
                self._weights = {of: fit(source == of) for of in own}
            self._leaning = np.round(leaning, _DIGITS)

    def log_probability(self) -> Float64:
        """(p,) logarithms of the probability that a pair reaches the threshold."""
        leaning = self._leaning[self._themes].mean(axis=1)
        odds = self._odds(_points(self._parts, self._cosine), self._source) + leaning
        return np.asarray(np.round(-np.logaddexp(0, -odds), _DIGITS))

    def level(self, with_themes: bool = False) -> Float64:
        """(p,) Fisher's z at which a pair's odds would be even, but for a constant: a score for any threshold.

        By the parts alone unless the themes are asked for: what the pairs read say of their theme makes those very
        pairs look better than they are.
        """
        level = np.zeros(len(self._parts))
        leaning = self._leaning[self._themes].mean(axis=1) if with_themes else np.zeros(len(self._parts))
        for weights, mine in self._by_weights(self._source):
            scale = max(-float(weights[-1]), 1e-3)
            by_parts = np.einsum("ij,j->i", self._parts[mine], weights[1:-1])
            level[mine] = (by_parts + weights[0] + leaning[mine]) / scale
        return np.asarray(np.round(level, _DIGITS))

    def _odds(self, points: Float64, source: Int64) -> Float64:
        """(n,) log odds by the parts alone, each pair's by the weights of its source."""
        odds = np.zeros(len(points))
        for weights, mine in self._by_weights(source):
            odds[mine] = np.einsum("ij,j->i", points[mine], weights)
        return odds

    def _by_weights(self, source: Int64) -> list[tuple[Float64, Bool]]:
        """Weights, and (n,) which pairs they are for: of sources of which little was read, those to begin with."""
        if not self._several:
            return [(self.weights, np.ones(len(source), np.bool_))]
        own = [(weights, np.asarray(source == of)) for of, weights in self._weights.items()]
        little: Bool = (source >= 0) & ~np.isin(source, list(self._weights))
        return [*own, (self._start, little), (self.weights, np.asarray(source < 0))]


def leanings(odds: Float64, reached: Float64, counts: Float64, themes: Int64, number: int) -> Float64:
    """(number,) most probable log odds of each theme beside those given, held near 0; 0 for themes that nothing tells.

    odds, reached, counts: (n,) as in `fitted`; themes: (n, c). Newton's method with bounded steps, each theme by
    itself: a pair leans to the mean of its c themes, and a c-th of its curvature for each bounds what all do together.
    """
    found, hold = np.zeros(number), 1 / _LEAN_SPREAD**2

    def shared(values: Float64) -> Float64:
        sums = sum(np.bincount(column, values, number) for column in themes.T)
        return np.asarray(sums / themes.shape[1])

    for _ in range(_LEAN_STEPS):
        share = 1 / (1 + np.exp(-np.clip(odds + found[themes].mean(axis=1), -30, 30)))
        gradient = shared(counts * (reached - share)) - hold * found
        curvature = shared(counts * share * (1 - share)) + hold
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
