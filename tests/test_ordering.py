"""The order of hashes is that of a stable sort of all columns, whatever they share."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.objects import Rows
from scanner.ordering import stable_order
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
