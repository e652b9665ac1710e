"""Columns of two signatures that agree, beside the obvious way to count them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels.agreement import agreement


@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_it_equals_its_twin(columns, n, m, seed):
    rng = np.random.default_rng(seed)
    here = rng.integers(0, 3, (n, columns), dtype=np.uint32)
    there = rng.integers(0, 3, (m, columns), dtype=np.uint32)
    there.flags.writeable = False  # as a memory-mapped index is
    a, b = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    out = np.empty(n * m, np.int32)
    agreement(here, there, a.astype(np.uint64) << np.uint64(32) | b.astype(np.uint64), out)
    assert out.tolist() == (here[a] == there[b]).sum(axis=1).tolist()
