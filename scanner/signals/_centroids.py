"""Spherical k-means in whole numbers, so that neither threads nor the order of sums changes a centroid."""

from __future__ import annotations

import numpy as np

from scanner.embedding import UNIT
from scanner.objects import Float32, Int64


def begin(points: Float32, count: int) -> Float32:
    """(count, d) centroids to begin with: points, evenly spread over their order."""
    return points[np.linspace(0, len(points) - 1, count).astype(np.int64)].copy()


def move(centroids: Float32, points: Float32, nearest: Int64) -> None:
    """Put each centroid, of length UNIT, amid the points it attracts; nearest (n,): the centroid of each point.

    One that attracts nothing, or whose points cancel each other, stays where it is.
    """
    order = np.argsort(nearest, kind="stable")
    some, first = np.unique(nearest[order], return_index=True)
    sums = np.add.reduceat(points[order].astype(np.float64), first)
    length = np.sqrt((sums**2).sum(axis=1))
    kept = length > 0
    centroids[some[kept]] = np.rint(sums[kept] * (UNIT / length[kept])[:, None])
