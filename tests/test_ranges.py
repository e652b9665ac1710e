"""Ranges laid end to end equal a loop over them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.ranges import laid_out, place_within


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5))))
def test_places_are_those_of_a_loop(ranges):
    begin = np.array([a for a, _ in ranges], np.int64)
    size = np.array([n for _, n in ranges], np.int64)
    assert laid_out(begin, begin + size).tolist() == [place for a, n in ranges for place in range(a, a + n)]
    assert place_within(size).tolist() == [place for _, n in ranges for place in range(n)]
