"""What a slow encoder should look at: pairs that a fast one proposes, the likeliest first, within a budget.

    neighbours by the fast encoder -> pairs of texts -> rows in the order of their best pair -> as many as the budget
    pays for -> (encoded elsewhere) -> how many pairs were probably missed

Costs are pieces (tokens of the slow model, cut where it cuts). A part of the budget is kept for a sample of the pairs
that were not chosen: it tells how the slow cosine follows from the fast one there, and so how much was missed.
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
LEAST_SAMPLED = 12  # pairs; fewer say nothing
_RESAMPLES = 200  # for the interval
_MOST_FITTED = 20_000  # pairs


@dataclass(frozen=True)
class Proposals:
    """Pairs of positions, a < b, the highest cosine by the fast encoder first, ties in content order."""

    a: Int64  # (p,)
    b: Int64  # (p,)
    cosine: Float64  # (p,) by the fast encoder


@dataclass(frozen=True)
class Chosen:
    """What to encode: positions, ascending, and what it costs."""

    rows: Int64
    sampled: Int64  # (m,) index into the proposals of the pairs encoded to learn what was missed
    pieces: int
    pieces_proposed: int  # of the rows of all proposals at or above LEAST_COSINE


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
    return Proposals(low[order], high[order], cosine[order])


def choose(proposals: Proposals, pieces: Int32, budget: int) -> Chosen:
    """Rows in the order of their best pair while the budget lasts, and a sample of the pairs left over.

    pieces: (n,) cost of each row.
    """
    worth = int(np.searchsorted(-proposals.cosine, -LEAST_COSINE, side="right"))
    in_order = np.stack((proposals.a[:worth], proposals.b[:worth]), axis=1).ravel()
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
    return Chosen(chosen, sampled, int(pieces[chosen].sum(dtype=np.int64)), all_of_them)


def missed(proposals: Proposals, chosen: Chosen, slow: Float64, encoded: Bool, cosine: float) -> dict[str, Any]:
    """The expected number of pairs at or above `cosine` among the proposals not encoded, with an interval.

    slow: (p,) cosine by the slow encoder, NaN where a row was not encoded. Around a line through the encoded pairs the
    slow cosine is taken to scatter normally; the interval (5 % to 95 %) is that of the line, by resampling pairs.
    Pairs that are not among any row's nearest are not counted.
    """
    left = ~(encoded[proposals.a] & encoded[proposals.b])
    if not left.any():
        return {"expected": 0.0, "low": 0.0, "high": 0.0, "sampled_pairs": len(chosen.sampled)}
    if len(chosen.sampled) < LEAST_SAMPLED:
        return {"expected": None, "low": None, "high": None, "sampled_pairs": len(chosen.sampled)}
    seen = np.flatnonzero(np.isfinite(slow))
    seen = seen[:: max(1, len(seen) // _MOST_FITTED)]
    x, y = proposals.cosine[seen], slow[seen]
    levels, counts = np.unique(np.round(proposals.cosine[left], 3), return_counts=True)
    rng = np.random.default_rng(0)
    found = [_expected(x, y, levels, counts, cosine)]
    for _ in range(_RESAMPLES):
        again = rng.integers(len(x), size=len(x))
        found.append(_expected(x[again], y[again], levels, counts, cosine))
    low, high = np.quantile(found[1:], (0.05, 0.95))
    return {"expected": found[0], "low": float(low), "high": float(high), "sampled_pairs": len(chosen.sampled)}


def _expected(x: Float64, y: Float64, levels: Float64, counts: Int64, cosine: float) -> float:
    """Sum over pairs of the probability that the slow cosine reaches the threshold, given the fast one."""
    middle = x.mean()
    spread = float(((x - middle) ** 2).sum())
    slope = float(((x - middle) * (y - y.mean())).sum() / spread) if spread > 0 else 0.0
    line = y.mean() + slope * (x - middle)
    deviation = max(float(np.sqrt(((y - line) ** 2).mean())), 1e-6)
    above = (cosine - (y.mean() + slope * (levels - middle))) / (deviation * sqrt(2))
    return float(sum(n * 0.5 * (1 - erf(z)) for n, z in zip(counts.tolist(), above.tolist(), strict=True)))


def _sample(proposals: Proposals, encoded: Bool, pieces: Int32, budget: int) -> Int64:
    """Pairs not encoded, evenly spaced by their cosine, as many as the budget pays for."""
    left = np.flatnonzero(~(encoded[proposals.a] & encoded[proposals.b]))
    if not len(left):
        return left
    cost = (pieces * ~encoded).astype(np.int64)
    pair = cost[proposals.a[left]] + cost[proposals.b[left]]
    count = int(min(MOST_SAMPLED, len(left), budget // max(1, int(pair.mean()))))
    marks = np.linspace(-proposals.cosine[left[0]], -proposals.cosine[left[-1]], count)
    picked = np.unique(np.minimum(np.searchsorted(-proposals.cosine[left], marks), len(left) - 1))
    affordable = np.cumsum(pair[picked]) <= budget
    sampled: Int64 = left[picked[affordable]]
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
