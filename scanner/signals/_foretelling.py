"""What the rows read so far teach about pairs that were not: a forecast of the slow cosine beside a pair's parts.

    vectors of the rows read -> a linear map to them from fast ones and word means -> every row, as mapped
    a pair's cosines by map and word means, its parts, its places -> boosted trees, fitted to the pairs read
        -> Fisher's z, foretold

A file that is large enough to be read in thousands of pairs knows things about itself that no other file could teach:
which of its themes a wording makes alike, and what the fast encoder gets wrong there. The forecast of a pair that was
read comes from trees that did not see it, so that the odds (scanner/signals/_odds.py) can take it as one more part and
learn what it is worth. Sums of the map's fit are of whole numbers, the rest runs in content order on one thread, so
that neither threads nor the order of rows change a forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scanner.closeness import cosines_at_unit
from scanner.embedding import UNIT
from scanner.objects import Bool, Float32, Float64, Int16, Int32, Int64
from scanner.signals._odds import NEAREST_1, Belief, Odds

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

    from scanner.signals._cascade import Proposals

LEAST_TAUGHT = 2_000  # pairs read, before trees are fitted; of fewer they learn nothing that parts do not say
FORETOLD = 30_000  # unread pairs at most, the likeliest by their parts; the others are nobody's next choice
PLACE = 32  # axes of the largest variance: the first ones of the static table, and those of the rows read, as mapped
_HELD = 1.0  # ridge of the map, in squared lengths of a vector
_TREES, _RATE = 100, 0.08  # boosted trees of 31 leaves, and how far each of them moves the forecast
_SEEN = 0.3  # share of what is known of a pair that each split of a tree is shown
_FOLDS = 3  # trees that foretell a pair that was read saw the other folds only
_LOG_UNIT = 512.0  # of a length's logarithm, as a whole number
_GROWN = 1.5  # times as many pairs read as when the trees were fitted last: they are fitted again
_CENTRE, _WEIGHT, _SPREAD = float(np.arctanh(0.7)), 0.0, 5.0  # of the forecast in the odds; per unit of Fisher's z
_DIGITS = 6  # of a forecast and a level; beyond them machines may differ
_AT_ONCE = 16_384  # pairs or rows
_UNLIKELY = -8.0  # logarithm of the probability of a pair that is not foretold, at most


@dataclass(frozen=True)
class Known:
    """What is known of rows before the transformer reads them; (n, ...), vectors of length UNIT."""

    vectors: Int16  # (n, d) by the static table
    beginnings: Int16  # (n, d) of their first pieces
    means: Int16  # (n, 2 w) by the transformer's word embeddings: of all pieces, of the first; w is 0 where it has none
    length: Int32  # (n,) pieces


class Forecaster:
    """Foretells Fisher's z of the slow cosine of pairs."""

    def __init__(
        self,
        parts: Float64,
        proposals: Proposals,
        known: Known,
        rank: Int64,
        read: Callable[[], tuple[Int64, Int16]],
    ):
        """parts: (p, k) of the proposals, in their order. known: of all rows; rank: (n,) their places in content order.

        read: gives the positions of the rows read so far and their slow vectors, of length UNIT.
        """
        self._parts, self._a, self._b, self._rank, self._read = parts, proposals.a, proposals.b, rank, read
        self._known = known
        self._extent = np.rint(_LOG_UNIT * np.log1p(known.length)).astype(np.int16)
        self._trees: list[HistGradientBoostingRegressor] = []  # one per fold, which did not see it
        self._weights: Float32 = np.zeros((0, 0), np.float32)
        self._mapped: Int16 = np.zeros((0, 0), np.int16)  # (n, d) of length UNIT
        self._is_mapped: Bool = np.zeros(0, np.bool_)
        self._axes: Float32 = np.zeros((0, 0), np.float32)  # (d, PLACE) of the rows read, as mapped
        self._placed: Int16 = np.zeros((0, 0), np.int16)  # (n, PLACE) rows along them

    def learn(self, at: Int64, slow: Float64) -> tuple[Float64, Int64]:
        """(m,) forecasts for the pairs `at`, whose slow cosines are known, and (m,) the fold of each."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        first, pair = np.unique(self._a[at], return_inverse=True)
        fold = _places(self._rank[first])[pair] % _FOLDS  # pairs of one first row stay together
        z = np.arctanh(np.clip(slow, -NEAREST_1, NEAREST_1))
        foretold = np.zeros(len(at))
        with threadpool_limits(1):
            self._fit_map()
            points = self._points(at)
            self._trees = []
            for part in range(_FOLDS):
                trees = HistGradientBoostingRegressor(
                    max_iter=_TREES, learning_rate=_RATE, max_features=_SEEN, early_stopping=False, random_state=0
                )
                self._trees.append(trees.fit(points[fold != part], z[fold != part]))
                foretold[fold == part] = trees.predict(points[fold == part])
        return np.round(foretold, _DIGITS), fold

    def foretell(self, pairs: Int64) -> Float64:
        """(q,) forecasts for pairs that were not read when it learned."""
        from threadpoolctl import threadpool_limits

        foretold = np.zeros(len(pairs))
        with threadpool_limits(1):
            for at in range(0, len(pairs), _AT_ONCE):
                points = self._points(pairs[at : at + _AT_ONCE])
                foretold[at : at + _AT_ONCE] = np.mean([trees.predict(points) for trees in self._trees], axis=0)
        return np.round(foretold, _DIGITS)

    def _fit_map(self) -> None:
        """Fit the map to the rows read; each of them is put where the map without it would put it."""
        rows, slow = self._read()
        order = np.argsort(self._rank[rows], kind="stable")
        rows, slow = rows[order], slow[order].astype(np.float64)
        x = self._inputs(rows).astype(np.float64)
        inverse = np.linalg.inv(x.T @ x + _HELD * UNIT**2 * np.eye(x.shape[1]))
        weights = inverse @ (x.T @ slow)
        leverage = np.einsum("ij,ij->i", x @ inverse, x)
        self._weights = weights.astype(np.float32)
        self._mapped = np.zeros((len(self._rank), slow.shape[1]), np.int16)
        mapped = _at_unit(slow - (slow - x @ weights) / (1 - leverage)[:, None])
        spread = np.cov(mapped.astype(np.float64), rowvar=False)
        self._axes = np.linalg.eigh(spread)[1][:, ::-1][:, :PLACE].astype(np.float32)
        self._placed = np.zeros((len(self._rank), self._axes.shape[1]), np.int16)
        self._is_mapped = np.zeros(len(self._rank), np.bool_)
        self._put(rows, mapped)

    def _map(self, rows: Int64) -> None:
        """Put rows where the map says, unless they are there."""
        new = rows[~self._is_mapped[rows]]
        new = new[np.argsort(self._rank[new], kind="stable")]
        for at in range(0, len(new), _AT_ONCE):
            part = new[at : at + _AT_ONCE]
            self._put(part, _at_unit(self._inputs(part) @ self._weights))

    def _put(self, rows: Int64, mapped: Int16) -> None:
        self._mapped[rows], self._is_mapped[rows] = mapped, True
        self._placed[rows] = np.rint(mapped.astype(np.float32) @ self._axes)

    def _inputs(self, rows: Int64) -> Float32:
        """(m, 2 d + 2 w + 2) whole numbers: what the map takes of rows."""
        extent = np.stack((self._extent[rows], np.full(len(rows), UNIT, np.int16)), axis=1)
        whole = (self._known.vectors[rows], self._known.beginnings[rows], self._known.means[rows], extent)
        return np.concatenate(whole, axis=1, dtype=np.float32)

    def _points(self, pairs: Int64) -> Float64:
        """(m, k + 2 PLACE + 3) what the trees see of pairs: parts, cosines as mapped and by means, places."""
        self._map(np.unique(np.concatenate((self._a[pairs], self._b[pairs]))))
        known, half = self._known, self._known.means.shape[1] // 2
        points: list[Float64] = []
        for at in range(0, len(pairs), _AT_ONCE):
            part = pairs[at : at + _AT_ONCE]
            a, b = self._a[part], self._b[part]
            cosines = [
                cosines_at_unit(vectors, a, b)
                for vectors in (self._mapped, known.means[:, :half], known.means[:, half:])
            ]
            place = known.vectors[a, :PLACE].astype(np.int32) + known.vectors[b, :PLACE]
            mapped = self._placed[a].astype(np.int32) + self._placed[b]
            points.append(np.concatenate((self._parts[part], np.stack(cosines, axis=1), place, mapped), axis=1))
        return np.concatenate(points)


class Taught:
    """The odds of pairs: by their parts, and from LEAST_TAUGHT pairs read on by their forecasts as well."""

    def __init__(self, belief: Belief, parts: Float64, cosine: float, themes: Int64, source: Int64, of: Forecaster):
        """As for `Odds`; of: the forecaster of the same pairs."""
        self._by_parts = self._odds = Odds(belief, parts, cosine, themes, source)
        self._belief = Belief(
            (*belief.centre, _CENTRE),
            (*belief.weights[:-1], _WEIGHT, belief.weights[-1]),
            (*belief.spread[:-1], _SPREAD, belief.spread[-1]),
        )
        self._parts, self._cosine, self._themes, self._source = parts, cosine, themes, source
        self._forecaster = of
        self._taught_by = 0  # pairs read when the trees were fitted
        self._foretold: Float64 = np.full(len(parts), np.nan)  # (p,) Fisher's z
        self._ahead: Float64 | None = None  # (p,) of the pairs without, once a level was asked for
        self._seen: Int64 = np.zeros(0, np.int64)
        self._slow: Float64 = np.zeros(0)
        self._fold: Int64 = np.zeros(len(parts), np.int64)  # (p,) of the pairs read when the trees were fitted

    @property
    def weights(self) -> Float64:
        """As of `Odds`, with one more for the forecast where there is one."""
        return self._odds.weights

    def learn(self, at: Int64, slow: Float64) -> None:
        """Learn from the pairs read so far, whose slow cosines are `slow`.

        The trees are fitted again once _GROWN times as many pairs were read; until then pairs are as they foretold.
        """
        self._seen, self._slow = at, slow
        if len(at) < max(LEAST_TAUGHT, _GROWN * self._taught_by):
            if not self._taught_by:
                self._by_parts.learn(at, slow)
        else:
            self._by_parts.learn(at, slow)
            self._taught_by = len(at)
            self._foretold[:], self._ahead = np.nan, None
            self._foretold[at], self._fold[at] = self._forecaster.learn(at, slow)
            likely = self._by_parts.log_probability()
            likely[at] = -np.inf
            others = np.sort(np.argsort(-likely, kind="stable")[: min(FORETOLD, len(likely) - len(at))])
            self._foretold[others] = self._forecaster.foretell(others)
        if self._taught_by:
            new = at[np.isnan(self._foretold[at])]
            if len(new):
                self._foretold[new] = self._forecaster.foretell(new)
            self._odds = self._with(np.nan_to_num(self._foretold), at, slow)

    def log_probability(self) -> Float64:
        """(p,) logarithms of the probability that a pair reaches the threshold."""
        if not self._taught_by:
            return self._by_parts.log_probability()
        found = np.minimum(self._by_parts.log_probability(), _UNLIKELY)
        known = np.isfinite(self._foretold)
        found[known] = self._odds.log_probability()[known]
        return found

    def level(self) -> Float64:
        """(p,) as of `Odds`; where forecasts are used, of themes and forecasts as well.

        What is read is then chosen by them, and pairs of one level by their parts alone, read and not, are no longer
        alike. So that pairs read do not look better than they are, each fold's level comes from odds that were learned
        from the others, as its forecasts did; that of pairs not read is the mean of all.
        """
        if not self._taught_by:
            return self._by_parts.level()
        rest = np.isnan(self._foretold)
        if self._ahead is None:
            self._ahead = np.zeros(len(rest))
            self._ahead[rest] = self._forecaster.foretell(np.flatnonzero(rest))
        foretold = np.where(rest, self._ahead, self._foretold)  # subtle: a level that was asked for moves no order
        level: Float64 = np.zeros(len(self._parts))
        fold = np.full(len(self._parts), -1)
        fold[self._seen] = self._fold[self._seen]
        for part in range(_FOLDS):
            mine = fold[self._seen] != part
            told = self._with(foretold, self._seen[mine], self._slow[mine]).level(with_themes=True)
            level[fold == part] = told[fold == part]
            level[fold < 0] += told[fold < 0] / _FOLDS
        return np.asarray(np.round(level, _DIGITS))

    def _with(self, foretold: Float64, at: Int64, slow: Float64) -> Odds:
        """Odds by parts and forecasts, learned from the pairs `at`."""
        parts = np.concatenate((self._parts, foretold[:, None]), axis=1)
        odds = Odds(self._belief, parts, self._cosine, self._themes, self._source)
        odds.learn(at, slow)
        return odds


def _places(values: Int64) -> Int64:
    """(n,) place of each value in their order."""
    places = np.empty(len(values), np.int64)
    places[np.argsort(values, kind="stable")] = np.arange(len(values))
    return places


def _at_unit(vectors: Float32 | Float64) -> Int16:
    """The vectors at length UNIT, in whole numbers."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unit: Int16 = np.rint(vectors * (UNIT / np.maximum(length, 1e-9))[:, None]).astype(np.int16)
    return unit
