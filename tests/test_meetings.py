"""Copies that meet in one step: against a twin of plain loops, and the laws of what meetings take."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from dose_twin import BATCHES, plan, rows, twin
from hypothesis import given
from hypothesis import strategies as st

from scanner.sampling import (
    Copies,
    Meetings,
    copies_of,
    near_copy_share,
    replaced_of_100,
    simulate,
    with_copies,
)
from scanner.settings import BATCHINGS, LR_SCHEDULES


class Copied:
    """Some rows of which many are exact or near copies; each row's copies share its hash, length and tokens."""

    def __init__(self, texts: int = 40, near: int = 30, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.group = np.concatenate((np.arange(texts), np.zeros(9, np.int64), rng.integers(0, texts, texts // 2)))
        self.supervised, self.length, self.order = (column[self.group] for column in rows(texts, seed))
        self.a, self.b = rng.integers(0, len(self.group), (2, near))
        self.jaccard = rng.uniform(0.3, 1, near)
        self.copies = copies_of(self.group, self.a, self.b, self.jaccard)

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.supervised, self.length, self.order

    def kappa(self) -> dict[tuple[int, int], float]:
        """What rows are worth to one another, said once for every pair of rows."""
        found, worth = {}, {}
        for a, b, jaccard in zip(self.a, self.b, self.jaccard, strict=True):
            pair = frozenset((int(self.group[a]), int(self.group[b])))
            worth.setdefault(pair, float(near_copy_share(replaced_of_100(jaccard, 3))) ** 1.75)
        for i, of_i in enumerate(self.group):
            for j, of_j in enumerate(self.group):
                pair = frozenset((int(of_i), int(of_j)))
                if len(pair) == 1 or pair in worth:
                    found[i, j] = 1.0 if len(pair) == 1 else worth[pair]
        return found


@pytest.mark.parametrize("values", BATCHES, ids=str)
def test_copies_that_meet_equal_the_twin(values):
    some = Copied()
    p = plan(micro_batch=2, lr_schedule="linear", **{"batch_size": 16, "epochs": 3, **values})
    exposure = simulate(p, *some.columns(), seed=5, copies=some.copies)
    dose, _, together = twin(p, *some.columns(), 5, some.kappa())
    np.testing.assert_allclose(exposure.together, together, rtol=1e-12)
    assert exposure.together.min() < 0.9
    assert exposure.own.sum() == pytest.approx(sum(dose))  # the copies of one text have a mean of theirs


def test_copies_packed_into_one_sequence_meet():
    """Two copies that fill one sequence meet in every epoch; with a third text between them they never do."""
    length, order = np.array([100, 100, 200, 200]), np.array([1, 1, 2, 3], np.uint64)
    p = plan(batching="packed", batch_size=1, epochs=3)
    copies = copies_of(np.array([0, 0, 1, 2]))
    exposure = simulate(p, length // 2, length, order, sequence_tokens=200, copies=copies)
    np.testing.assert_allclose(exposure.together, [2**0.3 / 2, 2**0.3 / 2, 1, 1])
    apart = simulate(p, length // 2, length, order, sequence_tokens=100, copies=copies)
    assert (apart.together == 1).all()


@given(st.integers(0, 5), st.sampled_from(BATCHINGS), st.integers(1, 32))
def test_meetings_take_a_part_and_nothing_where_nobody_meets(seed, batching, batch_size):
    some = Copied(seed=seed)
    p = plan(batching=batching, batch_size=batch_size)
    together = simulate(p, *some.columns(), seed=seed, sequence_tokens=120, copies=some.copies).together
    assert ((together > 0) & (together <= 1)).all()
    related = np.isin(some.copies.text, some.copies.a) | (np.bincount(some.copies.text)[some.copies.text] > 1)
    assert (together[~related] == 1).all()
    assert (together[related] < 1).any() or batch_size < 8
    alone = simulate(replace(p, batching="random", batch_size=1), *some.columns(), seed=seed, copies=some.copies)
    assert (alone.together == 1).all()


@given(st.data())
def test_one_copy_more_never_takes_from_a_text(data):
    """Visits of one text, and of a near copy, in steps as they come: what they are worth together only grows."""
    visits = st.tuples(st.integers(0, 4), st.floats(0.01, 4))
    given_, more = data.draw(st.lists(visits, min_size=1, max_size=12)), data.draw(visits)
    near = data.draw(st.floats(0.01, 1))
    copies = Copies(np.array([0, 1]), np.array([0, 1]), np.array([1, 0]), np.array([near, near]))

    def worth(given: list[tuple[int, float]], owner: int) -> np.ndarray:
        """Doses of both texts; the first visits are the first text's, the last one the owner's."""
        given = sorted((step, row, dose) for row, (step, dose) in zip([0] * len(given_) + [owner], given, strict=False))
        meetings = Meetings(copies)
        step, row, dose = (np.array(column) for column in zip(*given, strict=True))
        meetings.add(row, step, dose)
        own = np.bincount(row, dose, minlength=2)
        total = own + near * own[::-1]
        return total * meetings.together()

    before = worth(given_, 0)
    for owner in (0, 1):
        after = worth([*given_, more], owner)
        assert (after >= before * (1 - 1e-12)).all()
        # and never by more than in a step of its own
        share = np.array([1.0, near]) if owner == 0 else np.array([near, 1.0])
        assert (after <= before + share * more[1] * (1 + 1e-12) + 1e-12).all()


def test_the_copies_of_others_leave_a_row_alone():
    some = Copied()
    p = plan(batch_size=16)
    with_them = simulate(p, *some.columns(), copies=some.copies)
    fewer = copies_of(np.arange(len(some.group)), some.a[:5], some.b[:5], some.jaccard[:5])
    without = simulate(p, *some.columns(), copies=fewer)
    np.testing.assert_array_equal(with_them.own, without.own)
    total = with_copies(with_them.own, some.copies, with_them.together)
    related = np.isin(some.copies.text, some.copies.a) | (np.bincount(some.copies.text)[some.copies.text] > 1)
    assert (~related).any()
    np.testing.assert_array_equal(total[~related], with_them.own[~related])
    assert (total >= with_them.own).all()


def test_sampling_weights_and_goldfish_do_not_change_who_meets():
    some = Copied()
    p = plan(batch_size=16)
    plain = simulate(p, *some.columns(), copies=some.copies).together
    heavy = simulate(p, *some.columns(), np.full(len(some.group), 3.0), copies=some.copies).together
    np.testing.assert_allclose(heavy, plain)
    fish = simulate(replace(p, goldfish_k=3), *some.columns(), copies=some.copies).together
    np.testing.assert_allclose(fish, plain, rtol=1e-12)
    # what is never sampled meets nobody
    weight = np.where(some.group == 0, 0.0, 1.0)
    none = simulate(p, *some.columns(), weight, copies=copies_of(some.group))
    assert (none.together[some.group == 0] == 1).all()
    assert not none.own[some.group == 0].any()


@given(st.sampled_from(BATCHINGS), st.sampled_from(LR_SCHEDULES), st.lists(st.floats(0, 2.5), min_size=2, max_size=4))
def test_stopping_later_gives_more_and_the_end_gives_all(batching, schedule, stops):
    some = Copied()
    p = plan(epochs=2.5, batching=batching, lr_schedule=schedule)
    found = [simulate(p, *some.columns(), copies=some.copies, until=stop) for stop in sorted(stops)]
    for before, after in itertools.pairwise(found):
        assert (after.own >= before.own).all()
        assert after.steps >= before.steps
    for whole in (simulate(p, *some.columns(), copies=some.copies, until=end) for end in (2.5, 7.0)):
        full = simulate(p, *some.columns(), copies=some.copies)
        np.testing.assert_array_equal(whole.own, full.own)
        np.testing.assert_array_equal(whole.together, full.together)
        assert whole.steps == full.steps


def test_many_copies_and_near_pairs_take_little_room():
    """A text of 3,000 copies beside a thousand texts near it: its visits are looked at, not written out, per pair."""
    group = np.concatenate((np.zeros(3000, np.int64), np.arange(1, 3001)))
    supervised = np.full(6000, 30)
    copies = copies_of(group, np.zeros(1000, np.int64), np.arange(3000, 4000), np.full(1000, 0.9))
    tracemalloc.start()
    exposure = simulate(plan(batch_size=16), supervised, supervised, group.astype(np.uint64), copies=copies)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5_000_000  # bytes; the pairs of visits alone would take 24 MB an epoch
    assert exposure.together[0] < 0.5


@given(st.permutations(range(69)), st.sampled_from(BATCHINGS))
def test_order_of_rows_changes_nothing(order, batching):
    """Neither that of the rows, nor of the pairs, nor which of a text's copies a pair names: not by one bit."""
    some, moved_to = Copied(), np.argsort(order)
    p = plan(batching=batching, batch_size=16, micro_batch=4, loss_average="micro-batch")
    weight = np.random.default_rng(3).choice([0.5, 1.0, 2.0], 69)  # copies of one text come from several sources
    plain = simulate(p, *some.columns(), weight, copies=some.copies)
    copies = copies_of(some.group[order], moved_to[some.b], moved_to[some.a], some.jaccard)
    moved = simulate(p, *(column[order] for column in some.columns()), weight[order], copies=copies)
    np.testing.assert_array_equal(moved.own, plain.own[order])
    np.testing.assert_array_equal(moved.together, plain.together[order])
    assert moved.steps == plain.steps
    total = with_copies(plain.own, some.copies, plain.together)
    np.testing.assert_array_equal(with_copies(moved.own, copies, moved.together), total[order])


def test_what_meetings_leave_is_at_least_the_largest_single_dose():
    """As where most copies are dropped: what is left of one cannot be less than it was by itself."""
    copies = copies_of(np.array([0, 0, 0, 1]))
    own = np.array([0.0, 3.0, 0.0, 2.0])
    np.testing.assert_allclose(with_copies(own, copies, np.array([0.5, 0.5, 0.5, 1])), [3, 3, 3, 2])
    own = np.array([3.0, 3.0, 3.0, 2.0])
    np.testing.assert_allclose(with_copies(own, copies, np.array([0.5, 0.5, 0.5, 1])), [4.5, 4.5, 4.5, 2])
    assert len(with_copies(np.zeros(0), copies_of(np.zeros(0, np.int64)), np.zeros(0))) == 0
