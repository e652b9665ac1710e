"""Arrays that grow: what is settled comes out in order, however much was reserved and whenever room was made."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.growing import LARGE, Growing, block

KINDS = {"number": np.empty(0, np.int64), "pair": np.empty((0, 2), np.uint32), "flag": np.empty(0, np.uint8)}
places = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 40)), max_size=12)


def filled(first: int, rows: int) -> dict[str, np.ndarray]:
    number = np.arange(first, first + rows)
    return {"number": number, "pair": np.stack((number, number + 1), axis=1), "flag": number % 251}


@given(places, st.integers(1, 4))
def test_places_are_settled_in_order_whatever_was_reserved(places, ahead):
    """Up to `ahead` places are open at a time, of which fewer rows may come than were reserved."""
    growing, waiting, made = Growing(KINDS), [], 0

    def settle() -> None:
        place, rows = waiting.pop(0)
        growing.settle(place, rows)

    for reserved, left_out, expected in places:
        rows = max(0, reserved - left_out)
        place = growing.reserve(reserved, expected)
        for name, values in filled(made, rows).items():
            place.arrays[name][:rows] = values
            place.arrays[name][rows:] = 99
        waiting.append((place, rows))
        made += rows
        if len(waiting) >= ahead:
            settle()
    while waiting:
        settle()
    assert len(growing) == made
    for name, array in growing.arrays().items():
        assert array.dtype == KINDS[name].dtype
        assert np.array_equal(array, filled(0, made)[name]), name


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 100))
def test_parts_are_appended(lengths, expected):
    growing, made = Growing(KINDS), 0
    for length in lengths:
        growing.append(filled(made, length), expected)
        made += length
    assert all(np.array_equal(array, filled(0, made)[name]) for name, array in growing.arrays().items())


def test_expected_rows_are_not_moved():
    growing = Growing(KINDS)
    growing.append(filled(0, 1000), 100_000)
    before = growing.arrays()["pair"].ctypes.data
    growing.append(filled(1000, 90_000))
    assert growing.arrays()["pair"].ctypes.data == before


def test_much_memory_comes_in_large_pages():
    assert len(block(100)) == 100
    assert len(block(LARGE // 2)) == LARGE // 2
    assert len(block(LARGE // 2 + 1)) == LARGE
    assert len(block(2 * LARGE)) == 2 * LARGE
