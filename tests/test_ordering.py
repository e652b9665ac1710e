"""The order of hashes is that of a stable sort of all columns, whatever they share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.objects import Rows
from scanner.ordering import distinct, row_keys, stable_order
from scanner.signals._groups import group_by, groups_in_order

hashes = st.lists(
    st.tuples(
        st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 3), st.integers(0, 3).map(lambda i: i << 62)),
        st.integers(0, 2),
    ),
    max_size=60,
)


def keys_of(pairs) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@given(hashes)
def test_the_order_is_that_of_a_stable_sort(pairs):
    assert stable_order(keys_of(pairs)).tolist() == sorted(range(len(pairs)), key=lambda i: pairs[i])


@given(hashes)
def test_rows_find_their_order_themselves(pairs):
    keys, none = keys_of(pairs), np.zeros(len(pairs), np.int64)
    rows = Rows(none, none.astype(np.int32), none, none, none, none.astype(np.int32), keys, (), ())
    assert rows.content_order.tolist() == stable_order(keys).tolist()


@given(hashes)
def test_groups_in_an_order_are_those_found_without_it(pairs):
    keys = keys_of(pairs)
    found, known = group_by(keys), groups_in_order(keys, stable_order(keys))
    first = [pairs.index(pair) for pair in pairs]
    assert found.group.tolist() == known.group.tolist() == first
    assert found.size.tolist() == known.size.tolist() == [pairs.count(pair) for pair in pairs]


@pytest.mark.parametrize("kind", [np.int16, np.uint64])
def test_rows_of_a_table_have_equal_keys_where_they_are_equal(kind):
    table = np.random.default_rng(3).integers(-2 if kind is np.int16 else 0, 3, (5000, 6)).astype(kind)
    _, which = np.unique(table, axis=0, return_inverse=True)
    keys = row_keys(table)
    assert len(np.unique(keys)) == which.max() + 1
    assert len(np.unique(np.column_stack((keys, which.reshape(-1).astype(np.uint64))), axis=0)) == which.max() + 1


@given(st.lists(st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 5), max_size=9), min_size=1, max_size=4))
def test_distinct_words_are_sorted_once_each(parts):
    found = distinct([np.array(part, np.uint64) for part in parts])
    assert found.tolist() == sorted({word for part in parts for word in part})
