"""Sorting by counting equals sorting; gathering equals a loop (tests/test_store.py holds it against real batches)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels.sorting import sort_words, take_segments

words = st.lists(
    st.one_of(
        st.integers(0, (1 << 64) - 1),
        st.integers(0, 5),  # all in one bucket of every pass
        st.integers(0, 5).map(lambda i: i << 61 | i % 2),
        st.integers(0, (1 << 24) - 1).map(lambda i: 7 << 40 | i),  # told apart by the last step alone
    ),
    max_size=200,
)


@given(words)
def test_words_are_sorted(words):
    array = np.array(words, np.uint64)
    sort_words(array, np.empty(len(array), np.uint64))
    assert array.tolist() == sorted(words)


@pytest.mark.parametrize("count", [10_000, 65_537])
def test_many_words_are_sorted(count):
    array = np.random.default_rng(count).integers(0, 1 << 64, count, dtype=np.uint64)
    array[::7] = array[0]
    expected = np.sort(array)
    sort_words(array, np.empty(count, np.uint64))
    assert (array == expected).all()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.data())
def test_segments_are_taken_row_by_row(counts, data):
    total, starts = sum(counts), np.concatenate(([0], np.cumsum(counts)))
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1)))
    offsets = np.cumsum([0, *range(total)])
    segment, role = np.arange(total, dtype=np.int32), (np.arange(total) % 7).astype(np.uint8)
    supervised = np.arange(total) % 2 == 1
    made = 3 + sum(counts[r] for r in rows)
    begin, end = np.zeros((2, made), np.int64)
    others = np.zeros(made, np.int32), np.zeros(made, np.uint8), np.zeros(made, np.bool_)
    after = take_segments(
        np.array(rows, np.int64), starts, offsets, segment, role, supervised, 100, 3, begin, end, *others
    )
    taken = [s for r in rows for s in range(starts[r], starts[r + 1])]
    assert after == made
    for found, values in zip((begin, end, *others), (offsets[:-1] + 100, offsets[1:] + 100, segment, role, supervised),
                             strict=True):  # fmt: skip
        assert not found[:3].any()
        assert found[3:].tolist() == values[taken].tolist()
