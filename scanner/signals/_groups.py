"""Rows grouped by equal keys."""

from __future__ import annotations

import numpy as np

from scanner.objects import Groups, UInt64


def group_by(keys: UInt64) -> Groups:
    """Rows with equal keys (n, c): the smallest position of each group, and its size."""
    n = len(keys)
    if n == 0:
        return Groups(np.zeros(0, np.int64), np.zeros(0, np.int64))
    order = np.argsort(keys[:, 0], kind="stable")
    ordered = keys[order]
    alike = ordered[1:, 0] == ordered[:-1, 0]
    new = np.concatenate(([True], ~alike | (ordered[1:] != ordered[:-1]).any(axis=1)))
    if (new[1:] & alike).any():  # equal in the first column only: all columns must take part in the order
        order = np.lexsort(tuple(keys[:, c] for c in range(keys.shape[1] - 1, -1, -1)))
        ordered = keys[order]
        new = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    index = np.cumsum(new) - 1
    # subtle: both sorts are stable, so the first of each run is the smallest position
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
