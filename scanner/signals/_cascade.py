"""What a slow encoder should look at: pairs that a fast one proposes, the likeliest per token first, within a budget.

    neighbours by the fast encoder -> pairs of texts -> a sample of all -> (read) -> what was learned -> the rows of the
    best pairs -> (read) -> ... until the budget is spent -> how many pairs were probably missed -> (read on) -> ...

Costs are pieces (tokens of the slow model, cut where it cuts); a row that was read costs nothing more. The sample is
drawn before anything is read, so that it owes nothing to the order: it teaches the order what unlikely pairs are like,
and tells afterwards how much was missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, sqrt
from typing import Any, Protocol

import numpy as np

from scanner.objects import Bool, Float64, Int32, Int64, Neighbours
from scanner.signals._odds import NEAREST_1

LEAST_COSINE = 0.5
"""Pairs below this by the fast encoder are not worth a look (benchmarks/semantic/README.md: what lies below)."""
SAMPLE_SHARE = 0.1  # of the budget, for pairs from all of the proposals
ROUNDS = 6  # of reading, after the sample; more find nothing more
GROWTH = 0.1  # of what was allowed so far, per round beyond the budget: so much at most is read too much
_PRICED = 4  # times per round that pairs are priced again, since rows chosen before cost nothing
_FIRST_LOOK = 4_096  # pairs that are put in order; four times as many each time that they cost less than is to be spent
MOST_SAMPLED = 200  # pairs
LEAST_SAMPLED = 5  # pairs; fewer say nothing, unless enough others were read
_RESAMPLES = 100  # for the interval
_LEAST_OWN = 50  # pairs read, of a file or of a source, to tell from them alone what was missed of it
_MOST_FITTED = 5_000  # pairs
_PRIOR_SLOPE, _PRIOR_WEIGHT = 10.0, 1e-3  # of the logistic curve, per unit of cosine
_NEWTON_STEPS = 30
_DIGITS = 6  # of a logarithm; beyond them machines may differ
_USUAL = 1.645  # deviations, for 5 % to 95 %

_LEAST_STEP = 200  # a round beyond the budget is at least this part of what all proposals cost


class Order(Protocol):
    """What says how likely the proposals are, and learns from those that were read."""

    def learn(self, at: Int64, slow: Float64) -> None:
        """Follow the slow cosines of the pairs read so far."""

    def log_probability(self) -> Float64:
        """(p,) logarithms of the probability that a pair reaches the threshold."""


Reader = Callable[[Int64, Int64, Int64], Float64]
"""Reads the rows at (m,) positions, then gives the slow cosines of (q,) pairs (a, b), NaN where that is not known."""


@dataclass(frozen=True)
class Proposals:
    """Pairs of positions, a before b in content order, the highest cosine first, ties in content order."""

    a: Int64  # (p,)
    b: Int64  # (p,)
    cosine: Float64  # (p,) by the fast encoder, at least LEAST_COSINE


@dataclass(frozen=True)
class Chosen:
    """What was read: positions, ascending, and what it cost."""

    rows: Int64
    sampled: Int64  # (m,) index into the proposals of the pairs read first, whatever their odds
    slow: Float64  # (p,) cosines of the proposals by the slow encoder, NaN where a row was not read or not measured
    pieces: int
    rounds: int
    budget_reached: bool  # some rows of proposals were left out


def propose(near: Neighbours, text: Int64, rank: Int64, known: tuple[Int64, Int64]) -> Proposals:
    """Pairs of different texts of which one is among the other's nearest, but for known copies and unlikely ones.

    text: (n,) position of the row that stands for all rows with the same text. rank: (n,) place in content order.
    known: two arrays of positions, pairs that are duplicates by their words and need no confirmation.
    """
    row, place = np.nonzero(near.position >= 0)
    other, cosine = near.position[row, place], near.cosine[row, place].astype(np.float64)
    low, high, cosine = _distinct(text[row], text[other], cosine)
    copies = _keys(*_sorted(text[known[0]], text[known[1]]), len(text))
    fresh = ~np.isin(_keys(low, high, len(text)), copies) & (cosine >= LEAST_COSINE)
    low, high, cosine = low[fresh], high[fresh], cosine[fresh]
    # subtle: where only one of two rows can be paid, it must not be the one that stands first in the input
    turned = rank[low] > rank[high]
    first, second = np.where(turned, high, low), np.where(turned, low, high)
    order = np.lexsort((rank[second], rank[first], -cosine))
    return Proposals(first[order], second[order], cosine[order])


def choose(
    proposals: Proposals,
    odds: Order,
    pieces: Int32,
    budget: int,
    read: Reader,
    limit: int = 0,
    enough: Callable[[Chosen], bool] = lambda _: True,
) -> Chosen:
    """Read a sample, then in rounds the rows of the pairs most likely to be found per token, while the budget lasts.

    odds: of the proposals, in their order; they learn from every round. pieces: (n,) cost of each row. Once the budget
    is spent, further rounds follow until what was read is `enough`, nothing is left, or the limit is reached. What they
    read does not depend on when they end, so that who asks for more is never given less.
    """
    rows = np.unique(np.concatenate((proposals.a, proposals.b)))
    cost = int(pieces[rows].sum(dtype=np.int64))
    known = _Known(proposals, pieces)
    sampled = np.zeros(0, np.int64)
    if cost <= budget:
        known.read(rows, read)
    else:
        sampled = _sample(proposals, odds.log_probability(), pieces, int(budget * SAMPLE_SHARE))
        known.read(np.unique(np.concatenate((proposals.a[sampled], proposals.b[sampled]))), read)
        first = known.spent
        for turn in range(1, ROUNDS + 1):
            known.teach(odds)
            goal = first + (budget - first) * turn // ROUNDS
            known.read(_best_rows(proposals, odds.log_probability(), known.encoded, pieces, known.spent, goal), read)
    known.teach(odds)
    goal = budget
    while not enough(chosen := known.chosen(rows, sampled)) and chosen.budget_reached and goal < limit:
        goal = min(limit, goal + max(int(goal * GROWTH), cost // _LEAST_STEP, 1))
        known.read(_best_rows(proposals, odds.log_probability(), known.encoded, pieces, known.spent, goal), read)
        known.teach(odds)
    return chosen


class _Known:
    """What was read so far."""

    def __init__(self, proposals: Proposals, pieces: Int32):
        self._proposals, self._pieces = proposals, pieces
        self.encoded: Bool = np.zeros(len(pieces), np.bool_)
        self.slow: Float64 = np.full(len(proposals.a), np.nan)
        self.spent = self.rounds = 0

    def read(self, rows: Int64, read: Reader) -> None:
        """Read rows that were not read before; note the cosines of the pairs that they complete."""
        if len(rows):
            a, b = self._proposals.a, self._proposals.b
            before = self.encoded[a] & self.encoded[b]
            self.encoded[rows] = True
            new = np.flatnonzero(self.encoded[a] & self.encoded[b] & ~before)
            self.slow[new] = read(rows, a[new], b[new])
            self.spent += int(self._pieces[rows].sum(dtype=np.int64))
            self.rounds += 1

    def chosen(self, rows: Int64, sampled: Int64) -> Chosen:
        """All of it; rows: of the proposals."""
        encoded = np.flatnonzero(self.encoded)
        return Chosen(encoded, sampled, self.slow.copy(), self.spent, self.rounds, not self.encoded[rows].all())

    def teach(self, odds: Order) -> None:
        """Let the odds follow all pairs read so far."""
        seen = np.flatnonzero(np.isfinite(self.slow))
        odds.learn(seen, self.slow[seen])


def _best_rows(
    proposals: Proposals, log_probability: Float64, encoded: Bool, pieces: Int32, spent: int, goal: int
) -> Int64:
    """(m,) positions of the rows to read next, ascending: of the pairs with the largest value per token still unread.

    The value of a pair is its probability, plus a bonus for each of its unread rows: for every other likely pair which
    that row forms with a row already taken, twice the pair's probability less 1. Unlikely pairs add nothing, since the
    sum of many small probabilities is unreliable. If neither row was taken, the pair's value per token is at least that
    of its poorer row by itself, where each likely pair with an unread partner counts half (the partner's tokens pay for
    the other half): many long copies of one text pay off together, though the first two of them alone do not. The
    remaining pairs are valued again each time a part of the way to the goal is spent.
    """
    a, b = proposals.a, proposals.b
    probability = np.exp(log_probability)
    bonus = np.maximum(2 * probability - 1, 0)
    taken, begin = encoded.copy(), spent
    for part in range(1, _PRICED + 1):
        limit = begin + (goal - begin) * part // _PRICED
        has_a, has_b = taken[a], taken[b]
        only_a, only_b, open_ = has_a & ~has_b, has_b & ~has_a, np.flatnonzero(~(has_a & has_b))
        neither = ~has_a & ~has_b
        completed = np.bincount(b, bonus * only_a, len(pieces)) + np.bincount(a, bonus * only_b, len(pieces))
        around = np.bincount(a, bonus * neither, len(pieces)) + np.bincount(b, bonus * neither, len(pieces))
        own = np.where(only_a | only_b, bonus, 0)  # counted with its row's already
        worth = (probability + completed[a] * ~has_a + completed[b] * ~has_b - own)[open_]
        cost = (pieces * ~taken).astype(np.int64)
        price = np.maximum(cost[a] + cost[b], 1)[open_]
        together = (completed + around / 2) / np.maximum(cost, 1)
        amid = np.where(neither, np.minimum(together[a], together[b]), 0)[open_]
        value = np.round(np.log(np.maximum(np.maximum(worth / price, amid), 1e-300)), _DIGITS)
        most = _FIRST_LOOK
        while True:  # only the best pairs need an order
            best = np.arange(len(open_))
            if most < len(open_):
                best = np.flatnonzero(value >= -np.partition(-value, most)[most])  # subtle: ties all stay
            order = open_[best[np.argsort(-value[best], kind="stable")]]
            rows, first = np.unique(np.stack((a[order], b[order]), axis=1).ravel(), return_index=True)
            rows = rows[np.argsort(first)]
            rows = rows[~taken[rows]]
            total = spent + np.cumsum(pieces[rows], dtype=np.int64)
            if len(best) == len(open_) or (len(total) and total[-1] > limit):
                break
            most *= 4
        new = rows[: int(np.searchsorted(total, limit, side="right"))]
        taken[new] = True
        spent += int(pieces[new].sum(dtype=np.int64))
    return np.flatnonzero(taken & ~encoded)


def missed(level: Float64, chosen: Chosen, found: int, cosine: float, source: Int64 | None = None) -> dict[str, Any]:
    """The expected number of pairs at or above `cosine` that were not read, with an interval.

    level: (p,) score of the proposals, as learned. found: pairs found, proposed or not. Two models are fitted to the
    proposals read and looked up at the others: Fisher's z of the slow cosine scatters normally around a line (the
    cosine itself does not: it ends at 1); or the share of pairs that reach the threshold follows a logistic curve.
    Neither is right everywhere. Expected is the mean of the two; the interval spans both of theirs (5 % to 95 %, by
    resampling pairs) and the chance of a small number; the upper end without that chance is what the expected number
    may be at most. A source of which enough was read is told from its own pairs
    (source: as in `Odds`), for what a level means differs among them; expectations and ends of intervals add up. Pairs
    that were never proposed are added as often as they are among those found, in the interval half to one and a half
    times. On real files: benchmarks/semantic/README.md.
    """
    seen = np.isfinite(chosen.slow)
    left = ~seen
    if not left.any():
        return _told(0.0, 0.0, 0.0, 0.0, chosen)
    if len(chosen.sampled) < LEAST_SAMPLED and seen.sum() < _LEAST_OWN:
        return _told(None, None, None, None, chosen)
    proposed = int((chosen.slow[seen] >= cosine).sum())
    more = max(0, found - proposed) / (proposed + 1)
    of = np.full(len(level), -1) if source is None else source
    own, read = np.unique(of[seen & (of >= 0)], return_counts=True)
    of = np.where(np.isin(of, own[read >= _LEAST_OWN]), of, -1)
    told: Float64 = np.zeros(3)
    for group in np.unique(of[left]).tolist():
        mine = of == group
        from_ = seen & mine if (seen & mine).sum() >= _LEAST_OWN else seen
        told += _expected(level[from_], chosen.slow[from_], level[left & mine], cosine)
    expected, low, high = told.tolist()
    low, high = low * (1 + more / 2), high * (1 + 1.5 * more)
    least, most = max(0.0, low - _USUAL * sqrt(low)), high + _USUAL * sqrt(max(high, 0.5))
    return _told(expected * (1 + more), high, least, most, chosen)


def _told(
    expected: float | None, expected_most: float | None, low: float | None, high: float | None, chosen: Chosen
) -> dict[str, Any]:
    return {
        "expected": expected,
        "expected_most": expected_most,
        "low": low,
        "high": high,
        "sampled_pairs": len(chosen.sampled),
    }


def _expected(x: Float64, y: Float64, at: Float64, cosine: float) -> Float64:
    """(3,) how many of the pairs at levels `at` reach the threshold, told from others: expected, and 5 % to 95 %."""
    step = -(-len(x) // _MOST_FITTED)
    x, y = x[::step], y[::step]
    levels, counts = np.unique(np.round(at, 2), return_counts=True)
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(x), size=len(x)) for _ in range(_RESAMPLES)]
    models = (_scatter, _curve)
    expected = np.mean([counts @ model(x, y, levels, cosine) for model in models])
    ranges = [
        np.quantile([counts @ model(x[d], y[d], levels, cosine) for d in draws], (0.05, 0.95)) for model in models
    ]
    return np.array([expected, min(low for low, _ in ranges), max(high for _, high in ranges)])


def _scatter(x: Float64, y: Float64, at: Float64, cosine: float) -> Float64:
    """The probability that y reaches the threshold at each x of `at`, if its Fisher's z scatters around a line."""
    y, reached = np.arctanh(np.clip(y, -NEAREST_1, NEAREST_1)), np.arctanh(np.clip(cosine, -NEAREST_1, NEAREST_1))
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


def _sample(proposals: Proposals, log_probability: Float64, pieces: Int32, budget: int) -> Int64:
    """(m,) pairs, as many as the budget pays for, each drawn with a chance proportional to its probability.

    Systematic: all pairs lie in a row, the likeliest first, each as long as it is likely; marks stand at equal steps.
    """
    order = np.argsort(-log_probability, kind="stable")
    a, b = proposals.a[order], proposals.b[order]
    length = np.cumsum(np.exp(log_probability[order]))
    usual = max(1, int((pieces[a] + pieces[b]).mean())) if len(a) else 1
    count = int(min(MOST_SAMPLED, len(a), 2 * budget // usual))  # likely pairs are often shorter, and share rows
    while count > 0:
        marks = (np.arange(count) + 0.5) / count * length[-1]
        picked = np.unique(np.minimum(np.searchsorted(length, marks), len(a) - 1))
        price = int(pieces[np.unique(np.concatenate((a[picked], b[picked])))].sum(dtype=np.int64))
        if price <= budget:
            return np.asarray(order[picked])
        count = min(count - 1, count * budget // price)  # fewer, and still spread over the whole range
    return np.zeros(0, np.int64)


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
