"""The filter against a counter: nothing that is shared is lost, and little else passes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels.grouping import keep_repeated, maybe_repeated, sizes_of_groups

keys = st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 5), st.integers(0, 5).map(lambda k: k << 61)))


def kept(words) -> list[int]:
    out = np.empty(len(words), np.uint64)
    return out[: keep_repeated(np.array(words, np.uint64), out)].tolist()


def places(words) -> list[int]:
    out = np.empty(len(words), np.int64)
    table = np.array(words, np.uint64).reshape(-1, 1)
    return out[: maybe_repeated(table, out)].tolist()


@given(keys)
def test_no_shared_key_is_lost_and_order_stays(words):
    words = words + words[::3]
    times = Counter(words)
    wanted = [w for w in words if times[w] > 1]
    assert [w for w in kept(words) if times[w] > 1] == wanted
    assert kept(words) == [words[i] for i in places(words)]
    assert [words[i] for i in places(words) if times[words[i]] > 1] == wanted
    assert places(words) == sorted(set(places(words)))


def test_few_single_keys_pass():
    """One in 16 at most meets another's bit; what is shared comes on top."""
    words = np.random.default_rng(1).integers(0, 2**64, 100_000, dtype=np.uint64)
    words[::50] = words[1::50]
    found = kept(words.tolist())
    assert 4_000 <= len(found) < 4_000 + 100_000 / 12


def test_nothing():
    assert kept([]) == places([]) == []


@given(st.lists(st.integers(-3, 3)))
def test_sizes_of_groups_are_counted(numbers):
    assert sizes_of_groups(np.array(numbers, np.int64)).tolist() == [numbers.count(n) for n in numbers]
