"""What the rows read teach about other pairs: against slow twins, and laws of what may not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from scanner.embedding import UNIT
from scanner.signals import _cascade, _foretelling
from scanner.signals._foretelling import Forecaster, Known, Taught
from scanner.signals._odds import Belief, Odds

D, W = 40, 10
BELIEF = Belief(centre=(0.7,), weights=(-3.0, 8.0, -7.0), spread=(2.0, 5.0, 3.0))
COSINE = 0.8


def unit(vectors):
    return np.rint(UNIT * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.int16)


class File:
    """Rows whose slow vectors are a linear map of the fast ones, but for noise that only one half of space has."""

    def __init__(self, rows=400, pairs=4000, seed=0, moved=None):
        rng = np.random.default_rng(seed)
        fast, turn = rng.normal(size=(rows, D)), rng.normal(size=(D, D))
        fast[rows // 2 :] = fast[: rows // 2] + 0.5 * rng.normal(size=(rows // 2, D))
        slow = fast @ turn + 0.3 * rng.normal(size=(rows, D)) * np.where(fast[:, :1] > 0, 12, 1)
        begin, length, rank = rng.normal(size=(rows, D)), rng.integers(1, 200, rows), rng.permutation(rows)
        ends = np.unique(np.sort(rng.integers(0, rows, (pairs, 2)), axis=1), axis=0)
        ends = np.concatenate((ends, np.stack((np.arange(rows // 2), np.arange(rows // 2) + rows // 2), axis=1)))
        ends = np.unique(ends[ends[:, 0] < ends[:, 1]], axis=0)
        at = np.arange(rows) if moved is None else moved  # row i is row at[i] of the file as it was
        place = np.argsort(at)
        self.fast, self.slow, self.begin = unit(fast)[at], unit(slow)[at], unit(begin)[at]
        means = np.concatenate([unit(rng.normal(size=(rows, W))), unit(slow[:, :W])], axis=1)
        self.known = Known(self.fast, self.begin, means[at], length[at].astype(np.int32))
        self.rank = rank[at]
        self.a, self.b = place[ends[:, 0]], place[ends[:, 1]]
        self.cosine = self.cosines(self.fast)
        self.true = self.cosines(self.slow)
        self.read = np.flatnonzero(np.isin(at, np.arange(0, rows, 4)) | np.isin(at, np.arange(rows // 2, rows, 2)))
        known = np.isin(self.a, self.read) & np.isin(self.b, self.read)
        self.seen, self.unseen = np.flatnonzero(known), np.flatnonzero(~known)
        self.themes, self.source = np.zeros((len(self.a), 2), np.int64), np.zeros(len(self.a), np.int64)

    def cosines(self, vectors):
        x, y = vectors[self.a].astype(float), vectors[self.b].astype(float)
        return (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))

    def forecaster(self):
        proposals = _cascade.Proposals(self.a, self.b, self.cosine)
        return Forecaster(
            self.cosine[:, None], proposals, self.known, self.rank, lambda: (self.read, self.slow[self.read])
        )

    def taught(self):
        return Taught(BELIEF, self.cosine[:, None], COSINE, self.themes, self.source, self.forecaster())

    def plain(self):
        return Odds(BELIEF, self.cosine[:, None], COSINE, self.themes, self.source)


@pytest.fixture
def taught_early(monkeypatch):
    monkeypatch.setattr(_foretelling, "LEAST_TAUGHT", 50)


def test_a_row_that_was_read_is_put_where_the_map_without_it_puts_it():
    file = File()
    forecaster = file.forecaster()
    forecaster.learn(file.seen, file.true[file.seen])
    forecaster._map(np.arange(len(file.fast)))
    extent = np.rint(512 * np.log1p(file.known.length))[:, None]
    x = np.concatenate((file.fast, file.begin, file.known.means, extent, np.full_like(extent, UNIT)), axis=1)
    for row in [*file.read[:5].tolist(), *np.setdiff1d(np.arange(400), file.read)[:5].tolist()]:
        others = file.read[file.read != row]
        gram = x[others].T @ x[others] + UNIT**2 * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x[others].T @ file.slow[others].astype(float))
        put = x[row] @ weights
        assert forecaster._mapped[row] == pytest.approx(UNIT * put / np.linalg.norm(put), abs=1)


def test_the_trees_see_parts_cosines_and_places():
    file = File()
    forecaster = file.forecaster()
    forecaster.learn(file.seen, file.true[file.seen])
    pairs = np.concatenate((file.seen[:30], file.unseen[:30]))
    points = forecaster._points(pairs)
    a, b = file.a[pairs], file.b[pairs]

    def cosine(vectors):
        return (vectors[a].astype(float) * vectors[b]).sum(axis=1) / UNIT**2

    mapped = forecaster._mapped.astype(float)
    read = mapped[file.read]
    values, axes = np.linalg.eigh((read - read.mean(axis=0)).T @ (read - read.mean(axis=0)))
    axes = axes[:, np.argsort(-values)[:32]]
    assert points.shape == (60, 1 + 3 + 2 * 32)
    assert (points[:, 0] == file.cosine[pairs]).all()
    assert points[:, 1] == pytest.approx(cosine(forecaster._mapped))
    assert points[:, 2] == pytest.approx(cosine(file.known.means[:, :W]))
    assert points[:, 3] == pytest.approx(cosine(file.known.means[:, W:]))
    assert (points[:, 4:36] == file.fast[a, :32].astype(int) + file.fast[b, :32]).all()
    along = np.abs((mapped[a] + mapped[b]) @ axes)  # which way an axis points is nobody's business
    assert np.abs(np.abs(points[:, 36:]) - along).max() <= 1.01


def test_a_transformer_without_word_embeddings_is_foretold_without_them():
    file = File()
    file.known = replace(file.known, means=np.zeros((400, 0), np.int16))
    forecaster = file.forecaster()
    forecaster.learn(file.seen, file.true[file.seen])
    assert not forecaster._points(file.unseen[:9])[:, 2:4].any()
    told, z = forecaster.foretell(file.unseen), np.arctanh(np.clip(file.true[file.unseen], -0.999, 0.999))
    assert np.corrcoef(told, z)[0, 1] > 0.5


def test_word_means_that_know_the_answer_are_believed():
    file = File()
    told = []
    for means in (file.known.means, np.zeros_like(file.known.means)):
        file.known = replace(file.known, means=means)
        forecaster = file.forecaster()
        forecaster.learn(file.seen, file.true[file.seen])
        told.append(np.corrcoef(forecaster.foretell(file.unseen), file.true[file.unseen])[0, 1])
    assert told[0] > told[1] + 0.01


def test_a_pair_is_foretold_by_trees_that_did_not_see_it():
    file = File()
    before, fold = file.forecaster().learn(file.seen, file.true[file.seen])
    assert set(np.unique(fold)) == {0, 1, 2}
    for first in np.unique(file.a[file.seen])[:20]:
        assert len(np.unique(fold[file.a[file.seen] == first])) == 1
    other = file.true[file.seen].copy()
    other[fold == 0] *= -1
    after, _ = file.forecaster().learn(file.seen, other)
    assert (after[fold == 0] == before[fold == 0]).all()
    assert (after[fold > 0] != before[fold > 0]).any()


def test_forecasts_say_more_than_the_cosine():
    file = File()
    forecaster = file.forecaster()
    forecaster.learn(file.seen, file.true[file.seen])
    z = np.arctanh(np.clip(file.true[file.unseen], -0.999, 0.999))
    told = forecaster.foretell(file.unseen)
    assert np.corrcoef(told, z)[0, 1] > np.corrcoef(file.cosine[file.unseen], z)[0, 1] + 0.02
    assert (told == forecaster.foretell(file.unseen)).all()


def test_neither_threads_nor_the_order_of_rows_change_a_forecast(taught_early):
    told = []
    for threads, moved in ((1, None), (4, None), (2, np.random.default_rng(1).permutation(400))):
        file = File(moved=moved)
        with threadpool_limits(threads):
            odds = file.taught()
            odds.learn(file.seen[:200], file.true[file.seen[:200]])
            odds.learn(file.seen, file.true[file.seen])
            told.append((odds.log_probability(), odds.level(), odds.weights))
    for other in told[1:]:
        for one, same in zip(told[0], other, strict=True):
            assert one.tobytes() == same.tobytes()


def test_few_readings_leave_the_odds_by_parts_as_they_are():
    file = File()
    taught, plain = file.taught(), file.plain()
    for count in (0, 10, 300):
        at = file.seen[:count]
        for odds in (taught, plain):
            odds.learn(at, file.true[at])
        assert (taught.log_probability() == plain.log_probability()).all()
        assert (taught.level() == plain.level()).all()
        assert (taught.weights == plain.weights).all()


def test_many_readings_order_the_rest_better(taught_early):
    file = File(pairs=8000)
    taught, plain = file.taught(), file.plain()
    for odds in (taught, plain):
        odds.learn(file.seen, file.true[file.seen])
    found = file.true[file.unseen] >= COSINE

    def first(odds):
        best = np.argsort(-odds.log_probability()[file.unseen], kind="stable")
        return found[best][: found.sum()].mean()

    assert found.sum() > 20
    assert first(taught) > first(plain)
    assert len(taught.weights) == len(plain.weights) + 1


def test_trees_are_fitted_again_once_half_as_many_pairs_again_were_read(taught_early):
    file = File()
    odds = file.taught()
    fitted = []
    for count in (49, 50, 74, 75, 112, 113, 170):
        odds.learn(file.seen[:count], file.true[file.seen[:count]])
        fitted.append(odds._taught_by)
        assert np.isfinite(odds._foretold[file.seen[:count]]).all() == (count >= 50)
    assert fitted == [0, 50, 50, 75, 75, 113, 170]


def test_who_asks_for_a_level_does_not_change_the_order(taught_early, monkeypatch):
    monkeypatch.setattr(_foretelling, "FORETOLD", 200)
    file = File()
    asked, silent = file.taught(), file.taught()
    for count in (60, 80, 200):
        for odds in (asked, silent):
            odds.learn(file.seen[:count], file.true[file.seen[:count]])
        before = asked.log_probability()
        level = asked.level()
        assert (asked.level() == level).all()
        assert (asked.log_probability() == before).all()
        assert (silent.log_probability() == before).all()
        unread = np.setdiff1d(np.arange(len(before)), file.seen[:count])
        assert (before[unread] > _foretelling._UNLIKELY).sum() <= 200 + 20  # those foretold, and read since


def test_what_was_missed_is_told_where_the_pairs_read_were_chosen_by_their_forecast(taught_early):
    """Of pairs with one cosine the likelier were read; by their parts alone the others would look as good."""
    file = File(rows=600, pairs=20_000, seed=3)
    z = np.arctanh(np.clip(file.true, -0.999, 0.999))
    file.seen = np.flatnonzero(np.isin(np.arange(len(z)), np.argsort(-z)[:150]) | (np.arange(len(z)) % 20 == 0))
    file.read = np.unique(np.concatenate((file.a[file.seen], file.b[file.seen])))
    slow = np.full(len(z), np.nan)
    slow[file.seen] = file.true[file.seen]
    chosen = _cascade.Chosen(file.read, file.seen[:10], slow, 1, 1, True)
    really = int((file.true[np.isnan(slow)] >= 0.6).sum())
    said = []
    for odds in (file.plain(), file.taught()):
        odds.learn(file.seen, file.true[file.seen])
        found = int((slow >= 0.6).sum())
        said.append(_cascade.missed(odds.level(), chosen, found, 0.6)["expected"])
    assert abs(said[1] - really) < abs(said[0] - really)
