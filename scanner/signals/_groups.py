"""Rows grouped by equal keys."""

from __future__ import annotations

import numpy as np

from scanner.kernels.grouping import maybe_repeated
from scanner.objects import Groups, UInt64, stable_order


def group_by(keys: UInt64) -> Groups:
    """Rows with equal keys (n, c), well-mixed hashes: the smallest position of each group, and its size."""
    group, size = np.arange(len(keys)), np.ones(len(keys), np.int64)
    keys = np.ascontiguousarray(keys)
    places = np.empty(len(keys), np.int64)
    places = places[: maybe_repeated(keys, places)]
    if not len(places):
        return Groups(group, size)
    some = keys[places]
    order = stable_order(some)
    ordered = some[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.flatnonzero(new)
    lengths = np.diff(np.append(first, len(order)))
    # subtle: the order is stable, so the first of each run is the smallest position
    group[places[order]] = np.repeat(places[order[first]], lengths)
    size[places[order]] = np.repeat(lengths, lengths)
    return Groups(group, size)


def blocks_of(groups: Groups) -> list[np.ndarray]:
    """Positions of the members of every group of two or more rows: a block (groups, size) for each size, ascending."""
    inside = np.flatnonzero(groups.size > 1)
    order = inside[np.argsort(groups.group[inside], kind="stable")]
    first = np.flatnonzero(order == groups.group[order])
    sizes = groups.size[order[first]]
    return [order[first[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes).tolist()]
