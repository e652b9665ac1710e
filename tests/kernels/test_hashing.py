"""MurmurHash3 against the mmh3 package; the finalisers are bijections that depend on every bit."""

from __future__ import annotations

import mmh3
import numpy as np
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels.hashing import combine, fmix32, fmix64, hash_texts


def murmur(parts: list[bytes]) -> list[tuple[int, int]]:
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    digest = np.empty((len(parts), 2), np.uint64)
    assert hash_texts(np.frombuffer(b"".join(parts), np.uint8), offsets, digest) == len(parts)
    return [(int(a), int(b)) for a, b in digest]


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=6))
def test_murmur_is_mmh3(parts):
    assert murmur(parts) == [mmh3.hash64(part, signed=False) for part in parts]


def test_murmur_of_every_tail_length():
    parts = [bytes(range(200, 200 + n)) for n in range(0, 50)]
    assert murmur(parts) == [mmh3.hash64(part, signed=False) for part in parts]


def test_murmur_of_nothing():
    assert murmur([]) == []
    assert murmur([b""]) == [mmh3.hash64(b"", signed=False)]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=20, unique=True))
def test_fmix64_never_joins_two_values(values):
    assert len({int(fmix64(np.uint64(v))) for v in values}) == len(values)


@given(st.integers(0, 2**32 - 1))
def test_fmix32_is_the_pre_mix_of_datasketch(value):
    """A permutation with a = 1, b = 0 lays the pre-mix bare."""
    bare = MinHash(1, scheme="affine32", hashfunc=lambda v: v, permutations=([1], [0]))
    bare.update(value)
    assert int(fmix32(np.uint32(value))) == int(bare.hashvalues[0])


def test_combine_depends_on_order_and_on_every_value():
    def fold(values):
        h = np.uint64(7)
        for v in values:
            h = np.uint64(combine(h, np.uint64(fmix64(np.uint64(v)))))
        return int(fmix64(h))

    folded = [fold(v) for v in ([], [1], [2], [1, 2], [2, 1], [1, 1], [1, 2, 2], [0, 1, 2])]
    assert len(set(folded)) == len(folded)
