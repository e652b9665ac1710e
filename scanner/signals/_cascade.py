"""What a slow encoder should look at: pairs that a fast one proposes, the likeliest first, within a budget.

    neighbours by the fast encoder -> pairs of texts -> rows in the order of their best pair -> as many as the budget
    pays for -> (encoded elsewhere) -> how many pairs were probably missed

Costs are pieces (tokens of the slow model, cut where it cuts). A part of the budget is kept for a sample of the pairs
that were not chosen: it tells how the slow cosine follows from the score there, and so how much was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, sqrt
from typing import Any

import numpy as np

from scanner.objects import Bool, Float64, Int32, Int64, Neighbours

LEAST_COSINE = 0.5
"""Pairs below this by the fast encoder are not worth a look (benchmarks/semantic/README.md: what lies below)."""
SAMPLE_SHARE = 0.1  # of the budget, for pairs that were not proposed
MOST_SAMPLED = 200  # pairs
LEAST_SAMPLED = 8  # pairs; fewer say nothing
_RESAMPLES = 100  # for the interval
_MOST_FITTED = 5_000  # pairs
_PRIOR_SLOPE, _PRIOR_WEIGHT = 10.0, 1e-3  # of the logistic curve, per unit of cosine
_NEWTON_STEPS = 30
_NEAREST_1 = 0.999  # a cosine, for Fisher's z, which has no value at 1


@dataclass(frozen=True)
class Proposals:
    """Pairs of positions, a < b, the highest score first, ties in content order."""

    a: Int64  # (p,)
    b: Int64  # (p,)
    cosine: Float64  # (p,) by the fast encoder
    score: Float64  # (p,) the likelier a pair of the slow encoder's, the higher; the cosine unless `ranked` said more


@dataclass(frozen=True)
class Chosen:
    """What to encode: positions, ascending, and what it costs."""

    rows: Int64
    sampled: Int64  # (m,) index into the proposals of the pairs encoded to learn what was missed
    pieces: int
    budget_reached: bool  # some rows of proposals at or above LEAST_COSINE were left out


def propose(near: Neighbours, text: Int64, rank: Int64, known: tuple[Int64, Int64]) -> Proposals:
    """Every pair of different texts of which one is among the other's nearest, but for those known to be copies.

    text: (n,) position of the row that stands for all rows with the same text. rank: (n,) place in content order.
    known: two arrays of positions, pairs that are duplicates by their words and need no confirmation.
    """
    row, place = np.nonzero(near.position >= 0)
    other, cosine = near.position[row, place], near.cosine[row, place].astype(np.float64)
    low, high, cosine = _distinct(text[row], text[other], cosine)
    copies = _keys(*_sorted(text[known[0]], text[known[1]]), len(text))
    fresh = ~np.isin(_keys(low, high, len(text)), copies)
    low, high, cosine = low[fresh], high[fresh], cosine[fresh]
    first, second = np.minimum(rank[low], rank[high]), np.maximum(rank[low], rank[high])
    order = np.lexsort((second, first, -cosine))
    return Proposals(low[order], high[order], cosine[order], cosine[order])


def ranked(proposals: Proposals, score: Float64) -> Proposals:
    """The proposals in the order of (p,) other scores; those with equal ones stay in theirs."""
    order = np.argsort(-score, kind="stable")
    return Proposals(proposals.a[order], proposals.b[order], proposals.cosine[order], score[order])


def choose(proposals: Proposals, pieces: Int32, budget: int) -> Chosen:
    """Rows in the order of their best pair while the budget lasts, and a sample of the pairs left over.

    pieces: (n,) cost of each row.
    """
    worth = proposals.cosine >= LEAST_COSINE
    in_order = np.stack((proposals.a[worth], proposals.b[worth]), axis=1).ravel()
    rows, first = np.unique(in_order, return_index=True)
    rows = rows[np.argsort(first)]
    cost = np.cumsum(pieces[rows], dtype=np.int64)
    all_of_them = int(cost[-1]) if len(cost) else 0
    spare = 0 if all_of_them <= budget * (1 - SAMPLE_SHARE) else int(budget * SAMPLE_SHARE)
    taken = rows[: int(np.searchsorted(cost, budget - spare, side="right"))]
    encoded = np.zeros(len(pieces), np.bool_)
    encoded[taken] = True
    sampled = _sample(proposals, encoded, pieces, budget - int(pieces[taken].sum(dtype=np.int64)))
    encoded[proposals.a[sampled]] = True
    encoded[proposals.b[sampled]] = True
    chosen = np.flatnonzero(encoded)
    return Chosen(chosen, sampled, int(pieces[chosen].sum(dtype=np.int64)), len(taken) < len(rows))


def missed(proposals: Proposals, chosen: Chosen, slow: Float64, encoded: Bool, cosine: float) -> dict[str, Any]:
    """The expected number of pairs at or above `cosine` among the proposals not encoded, with an interval.

    slow: (p,) cosine by the slow encoder, NaN where a row was not encoded. Two models are fitted to the encoded pairs
    and read off at the others: Fisher's z of the slow cosine scatters normally around a line (the cosine itself does
    not: it ends at 1); or the share of pairs that reach the threshold follows a logistic curve. Neither is right
    everywhere. Expected is the mean of the two, the interval spans both of theirs (5 % to 95 %, by resampling pairs).
    Pairs that are not among any row's nearest are not counted. On real files: benchmarks/semantic/README.md.
    """
    left = ~(encoded[proposals.a] & encoded[proposals.b])
    if not left.any():
        return {"expected": 0.0, "low": 0.0, "high": 0.0, "sampled_pairs": len(chosen.sampled)}
    if len(chosen.sampled) < LEAST_SAMPLED:
        return {"expected": None, "low": None, "high": None, "sampled_pairs": len(chosen.sampled)}
    seen = np.flatnonzero(np.isfinite(slow))
    seen = seen[:: max(1, len(seen) // _MOST_FITTED)]
    x, y = proposals.score[seen], slow[seen]
    levels, counts = np.unique(np.round(proposals.score[left], 2), return_counts=True)
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(x), size=len(x)) for _ in range(_RESAMPLES)]
    models = (_scatter, _curve)
    expected = np.mean([counts @ model(x, y, levels, cosine) for model in models])
    ranges = [
        np.quantile([counts @ model(x[d], y[d], levels, cosine) for d in draws], (0.05, 0.95)) for model in models
    ]
    return {
        "expected": float(expected),
        "low": float(min(low for low, _ in ranges)),
        "high": float(max(high for _, high in ranges)),
        "sampled_pairs": len(chosen.sampled),
    }


def _scatter(x: Float64, y: Float64, at: Float64, cosine: float) -> Float64:
    """The probability that y reaches the threshold at each x of `at`, if its Fisher's z scatters around a line."""
    y, reached = np.arctanh(np.clip(y, -_NEAREST_1, _NEAREST_1)), np.arctanh(np.clip(cosine, -_NEAREST_1, _NEAREST_1))
    middle = x.mean()
    spread = float(((x - middle) ** 2).sum())
    slope = float(((x - middle) * (y - y.mean())).sum() / spread) if spread > 0 else 0.0
    rest = y - y.mean() - slope * (x - middle)
    deviation = max(float(np.sqrt((rest**2).mean())), 1e-6)
    z = (reached - y.mean() - slope * (at - middle)) / (deviation * sqrt(2))
    return np.array([0.5 * (1 - erf(value)) for value in z.tolist()])


def _curve(x: Float64, y: Float64, at: Float64, cosine: float) -> Float64:
    """The same if the share of y that reach the threshold is logistic in x, held by a weak prior on the slope.

    Newton's method with bounded steps; the prior keeps the slope finite where one x divides hits from misses.
    """
    hits = (y >= cosine).astype(np.float64)
    middle = x.mean()
    points = np.stack((np.ones(len(x)), x - middle), axis=1)
    start = np.array([0.0, _PRIOR_SLOPE])
    weights = start.copy()
    for _ in range(_NEWTON_STEPS):
        share = 1 / (1 + np.exp(-(points @ weights)))
        prior = np.array([1e-3, _PRIOR_WEIGHT])
        gradient = points.T @ (hits - share) - prior * (weights - start)
        curvature = points.T @ ((share * (1 - share))[:, None] * points) + np.diag(prior)
        weights = weights + np.clip(np.linalg.solve(curvature, gradient), -3, 3)
    found: Float64 = 1 / (1 + np.exp(-(weights[0] + weights[1] * (at - middle))))
    return found


def _sample(proposals: Proposals, encoded: Bool, pieces: Int32, budget: int) -> Int64:
    """Pairs not encoded, evenly spaced by their score, as many as the budget pays for."""
    left = np.flatnonzero(~(encoded[proposals.a] & encoded[proposals.b]))
    if not len(left):
        return left
    cost = (pieces * ~encoded).astype(np.int64)
    pair = cost[proposals.a[left]] + cost[proposals.b[left]]
    count = int(min(MOST_SAMPLED, len(left), budget // max(1, int(pair.mean()))))
    while True:
        marks = np.linspace(-proposals.score[left[0]], -proposals.score[left[-1]], count)
        picked = np.unique(np.minimum(np.searchsorted(-proposals.score[left], marks), len(left) - 1))
        price = int(pair[picked].sum())
        if price <= budget:
            break
        count = min(count - 1, count * budget // price)  # fewer, and still spread over the whole range
    sampled: Int64 = left[picked]
    return sampled


def _distinct(x: Int64, y: Int64, value: Float64) -> tuple[Int64, Int64, Float64]:
    """Pairs of two different texts, each once, with its value."""
    low, high = _sorted(x, y)
    first = np.unique(_keys(low, high, int(high.max(initial=0)) + 1), return_index=True)[1]
    first = first[low[first] != high[first]]
    return low[first], high[first], value[first]


def _sorted(x: Int64, y: Int64) -> tuple[Int64, Int64]:
    return np.minimum(x, y).astype(np.int64), np.maximum(x, y).astype(np.int64)


def _keys(low: Int64, high: Int64, n: int) -> Int64:
    keys: Int64 = low * n + high
    return keys
