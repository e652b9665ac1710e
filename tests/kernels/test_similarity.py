"""Candidates, exact similarity and components against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels.similarity import connect, pack_bands, pairs_of_band, verify

U = np.uint64


def bands(signature, width, bits, place=None):
    """(bands, rows that take part) packed words."""
    signature = np.ascontiguousarray(signature, np.uint32)
    place = np.arange(len(signature)) if place is None else np.array(place, np.int64)
    packed = np.zeros((signature.shape[1] // width, int((place >= 0).sum())), U)
    half = len(packed) // 2
    assert pack_bands(signature, place, width, bits, 0, packed[:half]) == packed.shape[1]
    assert pack_bands(signature, place, width, bits, half, packed[half:]) == packed.shape[1]
    return packed


def pairs_in(keys, window, room=10_000):
    """Candidate pairs of rows with these bucket numbers, and (buckets cut, pairs cut)."""
    bits = max(1, len(keys).bit_length())
    packed = np.array([(k + 1) << bits | r for r, k in enumerate(keys)], U)
    packed.sort()
    out, cut = np.zeros(room, U), np.zeros(2, np.int64)
    made = pairs_of_band(packed, bits, window, out, cut)
    found = [(int(w) >> 32, int(w) & 0xFFFFFFFF) for w in out[: min(made, room)]]
    return made, found, cut.tolist()


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=12))
def test_rows_share_a_key_exactly_where_their_columns_are_equal(signature):
    bits = len(signature).bit_length()
    for number, packed in enumerate(bands(signature, 2, bits)):
        assert [int(w) & ((1 << bits) - 1) for w in packed] == list(range(len(signature)))
        keys = [int(w) >> bits for w in packed]
        columns = [tuple(r[2 * number : 2 * number + 2]) for r in signature]
        for i, j in itertools.combinations(range(len(signature)), 2):
            assert (keys[i] == keys[j]) == (columns[i] == columns[j])


def test_the_same_columns_of_another_band_have_another_key():
    packed = bands([[1, 1, 1, 1]], 2, 1)
    assert packed[0, 0] != packed[1, 0]


def test_rows_that_take_no_part_are_left_out_and_places_stand_for_rows():
    packed = bands([[1, 2], [3, 4], [5, 6]], 2, 3, place=[5, -1, 2])
    assert [int(w) & 7 for w in packed[0]] == [5, 2]


@given(st.lists(st.integers(0, 3), max_size=25))
def test_all_pairs_of_a_bucket_when_the_window_is_wide(keys):
    made, found, cut = pairs_in(keys, window=30)
    expected = [(i, j) for i, j in itertools.combinations(range(len(keys)), 2) if keys[i] == keys[j]]
    assert sorted(found) == expected
    assert made == len(found)
    assert cut == [0, 0]


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 6))
def test_what_a_narrow_window_cuts_is_counted(keys, window):
    made, found, cut = pairs_in(keys, window)
    assert made == len(found) == len(set(found))
    every, buckets = 0, 0
    expected = set()
    for key in set(keys):
        rows = [r for r, k in enumerate(keys) if k == key]
        every += math.comb(len(rows), 2)
        buckets += len(rows) > window + 1
        expected |= {(rows[i], rows[j]) for i in range(len(rows)) for j in range(i + 1, len(rows)) if j - i <= window}
        expected |= {(rows[0], r) for r in rows[1:]}
    assert set(found) == expected
    assert cut == [buckets, every - made]


@given(st.lists(st.integers(0, 1), max_size=20), st.integers(0, 5))
def test_a_small_output_still_counts_and_never_overflows(keys, room):
    assert pairs_in(keys, 30, room)[0] == pairs_in(keys, 30)[0]
    assert pairs_in(keys, 30, room)[1] == pairs_in(keys, 30)[1][:room]


small_sets = st.sets(st.integers(0, 12), max_size=8)


@given(st.lists(st.tuples(small_sets, small_sets), min_size=2, max_size=6))
def test_similarity_is_that_of_python_sets(rows):
    sets, bounds, sizes = [], [0], []
    for prompt, answer in rows:
        sets += [h << 2 | (h in prompt) | (h in answer) << 1 for h in sorted(prompt | answer)]
        bounds.append(len(sets))
        sizes += [len(prompt), len(answer)]
    couples = list(itertools.product(range(len(rows)), repeat=2))
    out = np.empty((len(couples), 5), np.float32)
    packed = np.array([a << 32 | b for a, b in couples], U)
    verify(packed, np.array(sets, U), np.array(bounds, np.int64), np.array(sizes, np.int64), out)
    for (a, b), found in zip(couples, out.tolist(), strict=True):
        whole_a, whole_b = rows[a][0] | rows[a][1], rows[b][0] | rows[b][1]
        expected = [
            share(whole_a & whole_b, whole_a | whole_b), share(whole_a & whole_b, whole_a),
            share(whole_a & whole_b, whole_b), share(rows[a][0] & rows[b][0], rows[a][0] | rows[b][0]),
            share(rows[a][1] & rows[b][1], rows[a][1] | rows[b][1]),
        ]  # fmt: skip
        assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)


def share(part, whole):
    return len(part) / len(whole) if whole else math.nan


@given(
    st.integers(1, 25).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40))
    )
)
def test_components_are_those_of_a_simple_flood(graph):
    n, edges = graph
    root = np.full(n, -1, np.int64)
    connect(np.array([a for a, _ in edges], np.int64), np.array([b for _, b in edges], np.int64), root)
    expected = list(range(n))
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            low = min(expected[a], expected[b])
            changed |= expected[a] != low or expected[b] != low
            expected[a] = expected[b] = low
    assert root.tolist() == expected
