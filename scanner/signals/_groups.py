"""Rows grouped by equal keys."""

from __future__ import annotations

import numpy as np

from scanner.objects import Groups, UInt64, stable_order


def group_by(keys: UInt64) -> Groups:
    """Rows with equal keys (n, c), well-mixed hashes: the smallest position of each group, and its size."""
    n = len(keys)
    if n == 0:
        return Groups(np.zeros(0, np.int64), np.zeros(0, np.int64))
    order = stable_order(keys)
    ordered = keys[order]
    new = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    index = np.cumsum(new) - 1
    # subtle: the order is stable, so the first of each run is the smallest position
    group = np.empty(n, np.int64)
    group[order] = order[np.flatnonzero(new)][index]
    size = np.bincount(index)[index]
    sizes = np.empty(n, np.int64)
    sizes[order] = size
    return Groups(group, sizes)


def members_of(groups: Groups) -> list[np.ndarray]:
    """Positions of each group of two or more rows, ascending; groups in order of their first member."""
    inside = np.flatnonzero(groups.size > 1)
    if not len(inside):
        return []
    order = inside[np.argsort(groups.group[inside], kind="stable")]
    cut = np.flatnonzero(np.diff(groups.group[order])) + 1
    return np.split(order, cut)
