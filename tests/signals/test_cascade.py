"""What the slow encoder is given to read, against worked examples and laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.objects import Neighbours
from scanner.signals import _cascade
from scanner.signals._odds import COSINE, Belief, Odds
from tests.signals.test_semantic import clustered, semantic

NONE = (np.zeros(0, np.int64), np.zeros(0, np.int64))


def nearest(lines, k=2):
    """Neighbours from {row: [(other, cosine), ...]}."""
    n = max(lines) + 1
    position, cosine = np.full((n, k), -1, np.int32), np.full((n, k), np.nan, np.float32)
    for row, others in lines.items():
        for place, (other, value) in enumerate(others):
            position[row, place], cosine[row, place] = other, value
    return Neighbours(position, cosine, np.ones(n, bool))


def listed(found):
    return list(zip(found.a.tolist(), found.b.tolist(), found.cosine.round(3).tolist(), strict=True))


LINES = {0: [(1, 0.9), (2, 0.7)], 1: [(0, 0.9)], 2: [(3, 0.8), (0, 0.7)], 3: [(2, 0.8)], 4: [(0, 0.3)]}


def test_pairs_are_proposed_once_the_likeliest_first_and_unlikely_ones_not():
    found = _cascade.propose(nearest(LINES), np.arange(5), np.arange(5), NONE)
    assert listed(found) == [(0, 1, 0.9), (2, 3, 0.8), (0, 2, 0.7)]  # (0, 4) lies below LEAST_COSINE


def test_copies_are_not_proposed_and_equal_texts_speak_with_one_voice():
    known = (np.array([3]), np.array([2]))  # either way round
    found = _cascade.propose(nearest(LINES), np.array([0, 0, 2, 3, 4]), np.arange(5), known)
    assert listed(found) == [(0, 2, 0.7)]


def test_ties_stand_in_content_order():
    lines = {0: [(1, 0.8)], 2: [(3, 0.8)]}
    assert listed(_cascade.propose(nearest(lines), np.arange(4), np.array([3, 2, 1, 0]), NONE))[0][:2] == (3, 2)


def reader(cosines, calls):
    """Reads what it is told to, notes it, and knows the slow cosines by pair."""

    def read(rows, a, b):
        calls.append((rows.tolist(), list(zip(a.tolist(), b.tolist(), strict=True))))
        return np.array([cosines.get(pair, 0.0) for pair in calls[-1][1]])

    return read


def chosen_from(proposals, pieces, budget, cosines, calls=None, cosine=0.8):
    odds = Odds(COSINE, proposals.cosine[:, None], cosine)
    calls = [] if calls is None else calls
    return _cascade.choose(proposals, odds, np.asarray(pieces, np.int32), budget, reader(cosines, calls)), odds


def test_what_all_proposals_cost_is_read_at_once_when_it_can_be_paid():
    proposals = _cascade.propose(nearest(LINES), np.arange(5), np.arange(5), NONE)
    calls = []
    chosen, _ = chosen_from(proposals, [10] * 5, 40, {(2, 3): 0.9}, calls)
    assert calls == [([0, 1, 2, 3], [(0, 1), (2, 3), (0, 2)])]
    assert chosen.slow.tolist() == [0.0, 0.9, 0.0]
    assert (chosen.pieces, chosen.rounds, chosen.budget_reached, len(chosen.sampled)) == (40, 1, False, 0)


def test_the_budget_goes_to_the_likeliest_pairs_and_to_cheap_ones_among_equals():
    proposals = _cascade.propose(nearest(LINES), np.arange(5), np.arange(5), NONE)
    assert chosen_from(proposals, [10] * 5, 25, {})[0].rows.tolist() == [0, 1]
    lines = {0: [(1, 0.8)], 2: [(3, 0.8)]}
    even = _cascade.propose(nearest(lines), np.arange(4), np.arange(4), NONE)
    assert chosen_from(even, [30, 30, 10, 10], 30, {})[0].rows.tolist() == [2, 3]


def test_a_row_that_was_read_costs_nothing_more():
    lines = {0: [(1, 0.90), (2, 0.80)], 3: [(4, 0.81)]}
    proposals = _cascade.propose(nearest(lines), np.arange(5), np.arange(5), NONE)
    assert chosen_from(proposals, [10] * 5, 30, {})[0].rows.tolist() == [0, 1, 2]  # not 3 and 4, for the price of two


def test_a_row_is_worth_the_likely_pairs_that_it_completes():
    """Rows 0 and 1 are read; row 2 completes two likely pairs, row 3 one that is a little likelier."""
    proposals = _cascade.Proposals(np.array([0, 0, 0, 1]), np.array([1, 3, 2, 2]), np.array([0.9, 0.8, 0.79, 0.79]))
    encoded = np.array([True, True, False, False])
    pieces = np.full(4, 10, np.int32)
    likely, unlikely = np.log([0.9, 0.8, 0.75, 0.75]), np.log([0.9, 0.4, 0.35, 0.35])
    assert _cascade._best_rows(proposals, likely, encoded, pieces, 20, 30).tolist() == [2]
    assert _cascade._best_rows(proposals, unlikely, encoded, pieces, 20, 30).tolist() == [3]


def test_many_long_copies_of_one_text_are_a_bargain_together():
    """Six long rows that are all likely pairs of one another, beside short pairs each cheaper than two long rows."""
    a, b = np.triu_indices(6, 1)
    short = np.arange(6, 26, 2)
    proposals = _cascade.Proposals(np.r_[a, short], np.r_[b, short + 1], np.full(25, 0.9))
    pieces = np.r_[np.full(6, 50), np.full(20, 20)].astype(np.int32)
    nothing = np.zeros(26, np.bool_)
    likely = np.full(25, np.log(0.95))
    assert _cascade._best_rows(proposals, likely, nothing, pieces, 0, 300).tolist() == list(range(6))
    unlikely = np.full(25, np.log(0.45))  # what few of many may be found is not counted
    assert _cascade._best_rows(proposals, unlikely, nothing, pieces, 0, 300).tolist()[:6] == list(range(6, 12))


def test_what_was_read_moves_the_order():
    """Pairs are long or short; the shipped odds care little, the readings say that only short ones are found."""
    count = 300
    rng = np.random.default_rng(5)
    short = rng.random(count) < 0.5
    a = np.arange(0, 2 * count, 2)
    proposals = _cascade.Proposals(a, a + 1, np.sort(rng.uniform(0.6, 0.9, count))[::-1])
    slow = {(i, i + 1): 0.95 if s else 0.4 for i, s in zip(a.tolist(), short.tolist(), strict=True)}
    belief = Belief(centre=(0.7, 0.5), weights=(-3.0, 10.0, 0.0, -7.0), spread=(1.0, 3.0, 3.0, 2.0))
    odds = Odds(belief, np.stack((proposals.cosine, short), axis=1), 0.8)
    calls = []
    chosen = _cascade.choose(proposals, odds, np.full(2 * count, 5, np.int32), 1000, reader(slow, calls))
    read = [short[x // 2] for _, pairs in calls[1:] for x, _ in pairs]
    assert len(calls) == chosen.rounds == 1 + _cascade.ROUNDS
    assert np.mean(read) > 0.9 > 0.6 > short.mean()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 120), st.integers(0, 5000), st.integers(0, 10**6))
def test_what_is_read_never_costs_more_than_the_budget_and_is_read_once(rows, budget, seed):
    rng = np.random.default_rng(seed)
    near = semantic.search(clustered(rows, seed, 6, 8), np.arange(rows), 4)
    pieces = rng.integers(1, 60, rows).astype(np.int32)
    rank = rng.permutation(rows)
    proposals = _cascade.propose(near, np.arange(rows), rank, NONE)
    ends = list(zip(proposals.a.tolist(), proposals.b.tolist(), strict=True))
    slow = dict(zip(ends, rng.uniform(0.3, 1, len(ends)).tolist(), strict=True))
    calls = []
    chosen, _ = chosen_from(proposals, pieces, budget, slow, calls)
    assert chosen.pieces == pieces[chosen.rows].sum() <= budget
    assert sorted(row for part, _ in calls for row in part) == chosen.rows.tolist()
    assert all(sorted(part) == part for part, _ in calls)
    assert (np.diff(proposals.cosine) <= 0).all()
    assert (rank[proposals.a] < rank[proposals.b]).all()
    assert (proposals.cosine >= _cascade.LEAST_COSINE).all()
    read = set(chosen.rows.tolist())
    for pair, cosine in zip(ends, chosen.slow.tolist(), strict=True):  # every pair that was read counts, no other does
        assert cosine == slow[pair] if set(pair) <= read else np.isnan(cosine)
    assert np.isfinite(chosen.slow[chosen.sampled]).all()
    more, _ = chosen_from(proposals, pieces, int(pieces.sum()), slow)
    assert more.rows.tolist() == np.unique(np.concatenate([proposals.a, proposals.b])).tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 80), st.integers(50, 1500), st.integers(0, 10**6))
def test_the_order_of_rows_decides_nothing(rows, budget, seed):
    rng = np.random.default_rng(seed)
    found = clustered(rows, seed, 6, 8)
    pieces, rank = rng.integers(1, 60, rows).astype(np.int32), rng.permutation(rows)
    moved = rng.permutation(rows)  # row i of the second input is row moved[i] of the first
    place = np.argsort(moved)
    near = semantic.search(found, np.argsort(rank), 4)
    position = np.where(near.position[moved] >= 0, place[near.position[moved]], -1).astype(np.int32)
    other = Neighbours(position, near.cosine[moved], near.measured[moved])
    results = []
    for lists, order, cost, name in ((near, rank, pieces, np.arange(rows)), (other, rank[moved], pieces[moved], moved)):
        proposals = _cascade.propose(lists, np.arange(rows), order, NONE)
        ends = list(zip(proposals.a.tolist(), proposals.b.tolist(), strict=True))
        slow = {(a, b): float(np.sin(name[a] * name[b]) ** 2) for a, b in ends}
        chosen, odds = chosen_from(proposals, cost, budget, slow)
        results.append((sorted(name[chosen.rows].tolist()), odds.weights.tolist(), chosen.pieces))
    assert results[0] == results[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 80), st.integers(0, 1500), st.integers(0, 10**6))
def test_who_asks_for_more_is_never_given_less(rows, budget, seed):
    """Reading on goes the same way for every aim, stops at the first round that is enough, and keeps to the limit."""
    rng = np.random.default_rng(seed)
    found, pieces = clustered(rows, seed, 6, 8), rng.integers(1, 60, rows).astype(np.int32)
    proposals = _cascade.propose(semantic.search(found, np.arange(rows), 4), np.arange(rows), np.arange(rows), NONE)
    slow = {(a, b): float(np.sin(a * b) ** 2) for a, b in zip(proposals.a.tolist(), proposals.b.tolist(), strict=True)}

    def read_on(wanted, limit):
        """With what reading paused at; so many pairs at .8 are enough."""
        looked = []

        def enough(chosen):
            looked.append((chosen.pieces, chosen.rows.tolist(), int((chosen.slow >= 0.8).sum())))
            return looked[-1][-1] >= wanted

        odds = Odds(COSINE, proposals.cosine[:, None], 0.8)
        chosen = _cascade.choose(proposals, odds, pieces, budget, reader(slow, []), limit, enough)
        assert (chosen.pieces, chosen.rows.tolist()) == looked[-1][:2]
        return looked

    within, _ = chosen_from(proposals, pieces, budget, slow)
    everything = read_on(10**6, int(pieces.sum()))
    rows_of_proposals = np.unique(np.concatenate((proposals.a, proposals.b))).tolist()
    assert everything[0][:2] == (within.pieces, within.rows.tolist())  # the share is read as without an aim
    assert everything[-1][1] == rows_of_proposals
    for wanted in (1, 2, 5, everything[-1][2]):
        some = read_on(wanted, int(pieces.sum()))
        assert some == everything[: len(some)]
        assert all(hits < wanted for *_, hits in some[:-1])
    limit = budget + int(pieces.sum()) // 3
    assert read_on(10**6, limit)[-1][0] <= limit


def test_how_many_pairs_are_put_in_order_at_first_changes_nothing(monkeypatch):
    rng = np.random.default_rng(11)
    found, pieces = clustered(300, 11, 6, 8), rng.integers(1, 60, 300).astype(np.int32)
    proposals = _cascade.propose(semantic.search(found, np.arange(300), 4), np.arange(300), np.arange(300), NONE)
    log_probability = np.round(np.log(rng.integers(1, 6, len(proposals.a)) / 6), 6)  # many ties
    encoded = rng.random(300) < 0.1
    told = []
    for first in (1, 7, 10**6):
        monkeypatch.setattr(_cascade, "_FIRST_LOOK", first)
        rows = _cascade._best_rows(proposals, log_probability, encoded, pieces, 0, int(pieces.sum()) // 3)
        told.append(rows.tolist())
    assert told[0] == told[1] == told[2] != []


def test_the_sample_is_spread_over_what_is_likely():
    count = 2000
    a = np.arange(0, 2 * count, 2)
    proposals = _cascade.Proposals(a, a + 1, np.linspace(0.95, 0.5, count))
    odds = Odds(COSINE, proposals.cosine[:, None], 0.8)
    chance = np.exp(odds.log_probability())
    sampled = _cascade._sample(proposals, odds.log_probability(), np.full(2 * count, 10, np.int32), 1000)
    assert 45 <= len(sampled) <= 50
    middle = np.cumsum(chance)[sampled] / chance.sum()
    assert middle == pytest.approx((np.arange(len(sampled)) + 0.5) / len(sampled), abs=0.01)


def known_pairs(noise, seed=0, count=4000):
    """Proposals whose slow cosine, as Fisher's z, is linear in the fast one but for normal noise; a fifth is read."""
    rng = np.random.default_rng(seed)
    fast = np.sort(rng.uniform(0.5, 0.95, count))[::-1]
    true = np.tanh(2.2 * fast - 0.9 + noise * rng.normal(size=count))
    read = np.zeros(count, bool)
    read[: count // 5] = True
    sampled = np.arange(count // 5, count, 100)
    read[sampled] = True
    rows = np.flatnonzero(np.repeat(read, 2))
    return fast, _cascade.Chosen(rows, sampled, np.where(read, true, np.nan), 0, 7, True), true, read


@pytest.mark.parametrize("noise", [0.08, 0.16])
def test_what_was_missed_is_estimated_with_its_interval(noise):
    fast, chosen, true, read = known_pairs(noise)
    said = _cascade.missed(fast, chosen, int((true[read] >= 0.8).sum()), 0.8)
    lost = int((true[~read] >= 0.8).sum())
    assert lost > 0
    assert said["low"] <= lost <= said["high"]
    assert said["expected"] < said["expected_most"] < said["high"]
    assert said["expected"] == pytest.approx(lost, rel=0.5, abs=4)
    assert said["sampled_pairs"] == len(chosen.sampled)


def test_pairs_that_were_found_unproposed_add_as_many_to_what_was_missed():
    fast, chosen, true, read = known_pairs(0.1)
    hits = int((true[read] >= 0.8).sum())
    plain, more = (_cascade.missed(fast, chosen, found, 0.8) for found in (hits, 2 * hits + 1))
    assert more["expected"] == pytest.approx(2 * plain["expected"])
    assert more["low"] > plain["low"]
    assert more["high"] > 2 * plain["high"]


def test_what_was_missed_is_told_of_each_source_by_its_own_pairs():
    """In one source the slow cosine rises with the fast one as known; in the other nothing is ever found."""
    fast, chosen, true, read = known_pairs(0.1)
    source = np.random.default_rng(2).integers(0, 2, len(fast))
    true = np.where(source == 0, true, 0.3)
    chosen = replace(chosen, slow=np.where(read, true, np.nan))
    hits, lost = int((true[read] >= 0.8).sum()), int((true[~read] >= 0.8).sum())
    apart, mixed = _cascade.missed(fast, chosen, hits, 0.8, source), _cascade.missed(fast, chosen, hits, 0.8)
    assert apart["low"] <= lost <= apart["high"]
    assert abs(apart["expected"] - lost) < abs(mixed["expected"] - lost)
    one = _cascade.missed(fast, chosen, hits, 0.8, np.zeros(len(fast), np.int64))
    assert one == mixed
    few = np.where(np.arange(len(fast)) % 100 == 0, 1, 0)  # hardly any of source 1 was read: told from all pairs
    assert np.isfinite(_cascade.missed(fast, chosen, hits, 0.8, few)["high"])


def test_nothing_is_missed_where_everything_was_read():
    fast, chosen, true, _ = known_pairs(0.05)
    assert _cascade.missed(fast, replace(chosen, slow=true), 7, 0.8)["expected"] == 0


def test_too_small_a_sample_says_nothing():
    fast, chosen, _, read = known_pairs(0.05)
    few = replace(chosen, sampled=chosen.sampled[:3])
    assert _cascade.missed(fast, few, 7, 0.8)["expected"] is not None  # many others were read
    fewer = replace(few, slow=np.where(np.cumsum(read) < 50, chosen.slow, np.nan))
    assert _cascade.missed(fast, fewer, 7, 0.8) == {
        "expected": None, "expected_most": None, "low": None, "high": None, "sampled_pairs": 3,
    }  # fmt: skip


def test_one_x_that_divides_hits_from_misses_does_not_break_the_curve():
    x = np.concatenate([np.full(50, 0.6), np.full(50, 0.8)])
    found = _cascade._curve(x, x, np.array([0.5, 0.9]), 0.7)
    assert found[0] < 0.01 < 0.99 < found[1]
    assert np.isfinite(_cascade._curve(x, x, x, 0.99)).all()
