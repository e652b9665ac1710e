"""Rows grouped by equal keys."""

from __future__ import annotations

import numpy as np

from scanner.kernels.grouping import maybe_repeated
from scanner.objects import Groups, Int64, UInt64
from scanner.ordering import stable_order


def group_by(keys: UInt64) -> Groups:
    """Rows with equal keys (n, c), well-mixed hashes: the smallest position of each group, and its size."""
    keys = np.ascontiguousarray(keys)
    places = np.empty(len(keys), np.int64)
    places = places[: maybe_repeated(keys, places)]
    return groups_in_order(keys, places[stable_order(keys[places])])


def groups_in_order(keys: UInt64, order: Int64) -> Groups:
    """The same, where `order` holds the positions, equal keys side by side and ascending.

    Positions that are not in it share their key with no other row.
    """
    group, size = np.arange(len(keys)), np.ones(len(keys), np.int64)
    ordered = keys[order]
    new = np.ones(len(order) + 1, np.bool_)
    new[1:-1] = ordered[1:, 0] != ordered[:-1, 0]
    for column in ordered.T[1:]:
        new[1:-1] |= column[1:] != column[:-1]
    inside = np.flatnonzero(~(new[:-1] & new[1:]))  # of the order: rows that share their key
    first = np.flatnonzero(new[inside])
    lengths = np.diff(np.append(first, len(inside)))
    # subtle: the order is stable, so the first of each run is the smallest position
    members = order[inside]
    group[members] = np.repeat(members[first], lengths)
    size[members] = np.repeat(lengths, lengths)
    return Groups(group, size)


def blocks_of(groups: Groups) -> list[np.ndarray]:
    """Positions of the members of every group of two or more rows: a block (groups, size) for each size, ascending."""
    inside = np.flatnonzero(groups.size > 1)
    order = inside[np.argsort(groups.group[inside], kind="stable")]
    first = np.flatnonzero(order == groups.group[order])
    sizes = groups.size[order[first]]
    return [order[first[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes).tolist()]
