"""Which theme a row is about, by its vector alone: the pairs of one theme are found, or not, together.

    vectors -> a few centroids among the rows, by spherical k-means -> the nearest centroid of each row

Where reading finds pairs above the threshold, others about the same thing are likelier than their parts say
(scanner/signals/_odds.py learns how much), and where it finds none, less likely. All sums are of whole numbers below
2**24, so that neither threads nor the order of the rows changes a theme.
"""

from __future__ import annotations

import numpy as np

from scanner.embedding import UNIT, Int16
from scanner.objects import Float32, Int64

MOST_THEMES = 64
_ROWS_PER_THEME = 16  # at least; fewer rows than two themes take have none
_ROWS_FITTED = 100  # per theme, evenly spread
_ROUNDS = 8
_AT_ONCE = 4096


def themes(vectors: Int16, rows: Int64) -> Int64:
    """(n,) number of the theme of each row: 0 where all rows have one, or the row is not among `rows`.

    vectors: (n, d) of length UNIT. rows: (m,) positions in content order, whose vectors make the themes.
    """
    found = np.zeros(len(vectors), np.int64)
    count = min(MOST_THEMES, len(rows) // _ROWS_PER_THEME)
    if count > 1:
        spread = np.linspace(0, len(rows) - 1, min(len(rows), count * _ROWS_FITTED)).astype(np.int64)
        centroids = _centroids(vectors[rows[spread]], count)
        for at in range(0, len(rows), _AT_ONCE):
            part = rows[at : at + _AT_ONCE]
            found[part] = _nearest(vectors[part], centroids)
    return found


def _centroids(points: Int16, count: int) -> Float32:
    """(count, d) whole numbers of length UNIT; a centroid that attracts nothing stays where it is."""
    centroids = points[np.linspace(0, len(points) - 1, count).astype(np.int64)].astype(np.float32)
    for _ in range(_ROUNDS):
        near = _nearest(points, centroids)
        order = np.argsort(near, kind="stable")
        some, first = np.unique(near[order], return_index=True)
        sums = np.add.reduceat(points[order].astype(np.float64), first)
        length = np.sqrt((sums**2).sum(axis=1))
        kept = length > 0
        centroids[some[kept]] = np.rint(sums[kept] * (UNIT / length[kept])[:, None])
    return centroids


def _nearest(points: Int16, centroids: Float32) -> Int64:
    """(n,) the centroid with the largest inner product, the first of equals."""
    nearest: Int64 = np.argmax(points.astype(np.float32) @ centroids.T, axis=1)
    return nearest
