"""Laws of the stars: every dropped row is verified against the very row kept for it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.clustering import cluster
from scanner.objects import Groups
from scanner.signals import group_by


def groups(keys) -> Groups:
    return group_by(np.array(keys, np.uint64).reshape(-1, 1))


@st.composite
def findings(draw):
    """(text of every row, verified pairs of positions, rank of every row)."""
    n = draw(st.integers(1, 14))
    texts = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    place = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(place, place).filter(lambda e: e[0] != e[1]), max_size=20))
    rank = draw(st.permutations(range(n)))
    return texts, edges, rank


def clustered(texts, edges, rank):
    a, b = (np.array([e[i] for e in edges], np.int64) for i in (0, 1))
    return cluster(groups(texts), a, b, np.array(rank, np.int64))


@given(findings())
def test_every_dropped_row_is_verified_against_the_row_kept_for_it(found):
    texts, edges, _rank = found
    verified = {frozenset((texts[a], texts[b])) for a, b in edges}
    for row, kept in enumerate(clustered(*found).keep.tolist()):
        assert row == kept or texts[row] == texts[kept] or frozenset((texts[row], texts[kept])) in verified


@given(findings())
def test_a_kept_row_is_kept_and_ranks_before_its_members(found):
    _, _, rank = found
    keep = clustered(*found).keep.tolist()
    for row, kept in enumerate(keep):
        assert keep[kept] == kept
        assert rank[kept] <= rank[row]


@given(findings())
def test_no_two_kept_rows_are_verified_copies_without_need(found):
    """A kept row that is verified against a better kept row would have gone to it: only chains stay."""
    texts, edges, _rank = found
    keep = clustered(*found).keep.tolist()
    kept = {texts[k] for k in keep}
    assert len(set(keep)) == len(kept)  # one row per kept text
    for a, b in edges:
        assert texts[a] == texts[b] or not {texts[a], texts[b]} <= kept


@given(findings())
def test_numbers_and_sizes_describe_the_clusters(found):
    result = clustered(*found)
    keep, number = result.keep.tolist(), result.cluster.tolist()
    for row, size in enumerate(result.size.tolist()):
        members = [r for r in range(len(keep)) if keep[r] == keep[row]]
        assert size == len(members)
        assert (number[row] == -1) == (size == 1)
        assert size == 1 or members == [r for r in range(len(keep)) if number[r] == number[row]]
    used = sorted(set(number) - {-1})
    assert used == list(range(len(used)))


@given(findings(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_pairs_does_not_matter(found, rng):
    texts, edges, rank = found
    order = rng.sample(range(len(texts)), len(texts))  # new place -> old place
    place = {old: new for new, old in enumerate(order)}
    moved = [(place[b], place[a]) for a, b in rng.sample(edges, len(edges))]
    again = clustered([texts[i] for i in order], moved, [rank[i] for i in order])
    straight = clustered(*found)
    assert [order[k] for k in again.keep[[place[i] for i in range(len(texts))]].tolist()] == straight.keep.tolist()
    assert again.size[[place[i] for i in range(len(texts))]].tolist() == straight.size.tolist()


def test_chains_are_not_followed():
    """0 is like 1, 1 like 2, but 2 not like 0: 2 stays."""
    result = clustered([0, 1, 2], [(0, 1), (1, 2)], [0, 1, 2])
    assert result.keep.tolist() == [0, 0, 2]
    assert result.cluster.tolist() == [0, 0, -1]
    assert clustered([0, 1, 2], [(0, 1), (1, 2)], [1, 0, 2]).keep.tolist() == [1, 1, 1]


def test_a_pair_stands_for_all_copies_of_its_ends():
    result = clustered([7, 7, 8, 8, 9], [(1, 2)], [4, 3, 2, 1, 0])
    assert result.keep.tolist() == [3, 3, 3, 3, 4]
    assert result.size.tolist() == [4, 4, 4, 4, 1]


def test_copies_alone_need_no_pair():
    assert clustered([5, 6, 5], [], [2, 0, 1]).keep.tolist() == [2, 1, 2]


def test_no_rows():
    result = clustered([], [], [])
    assert len(result.keep) == len(result.cluster) == len(result.size) == 0
