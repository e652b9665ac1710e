"""Ranges of places laid end to end: the tokens of some answers, the segments of some rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer[Any]]


def laid_out(begin: Integers, end: Integers) -> Int64:
    """All places of the ranges [begin, end), one range after another."""
    size = end - begin
    return np.repeat(begin - (np.cumsum(size) - size), size) + np.arange(size.sum())


def place_within(size: Integers) -> Int64:
    """(sum of sizes,) for each place of ranges laid end to end: its number within its own, from 0."""
    return laid_out(np.zeros_like(size), size)
