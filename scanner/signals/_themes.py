"""Which theme a row is about, by its vector alone: the pairs of one theme are found, or not, together.

    vectors -> a few centroids among the rows, by spherical k-means -> the nearest centroid of each row

Three times, into ever fewer themes: a fine one tells more, a coarse one sooner, and no single division decides. The
finest are more in a large file, of which more is read.
Where reading finds pairs above the threshold, others about the same thing are likelier than their parts say
(scanner/signals/_odds.py learns how much), and where it finds none, less likely. All sums are of whole numbers below
2**24, so that neither threads nor the order of the rows changes a theme.
"""

from __future__ import annotations

import numpy as np

from scanner.objects import Float32, Int16, Int64
from scanner.signals import _centroids

MOST_THEMES = (64, 32, 16)
_ROWS_PER_FINE_THEME = 200  # where that makes more of the finest themes
_FINEST = 512  # themes at most: to find them takes rows times themes
_ROWS_PER_THEME = 16  # at least; fewer rows than two themes take have none
_ROWS_FITTED = 100  # per theme, evenly spread
_ROUNDS = 8
_AT_ONCE = 4096


def themes_of_pairs(vectors: Int16, a: Int64, b: Int64, rank: Int64) -> Int64:
    """(p, 6) numbers of the themes of either row of pairs of positions, which together make the themes.

    Two columns for each of MOST_THEMES, the first of which grows with the rows; they share no number. rank: (n,) place
    of each row in content order.
    """
    rows = np.unique(np.concatenate((a, b)))
    rows = rows[np.argsort(rank[rows], kind="stable")]
    columns: list[Int64] = []
    before = 0
    finest = min(_FINEST, max(MOST_THEMES[0], len(rows) // _ROWS_PER_FINE_THEME))
    for most in (finest, *MOST_THEMES[1:]):
        found = before + themes(vectors, rows, most)
        columns += [found[a], found[b]]
        before = int(found.max(initial=before)) + 1
    return np.stack(columns, axis=1)


def themes(vectors: Int16, rows: Int64, most: int) -> Int64:
    """(n,) number of the theme of each row: 0 where all rows have one, or the row is not among `rows`.

    vectors: (n, d) of length UNIT. rows: (m,) positions in content order, whose vectors make at most `most` themes.
    """
    found = np.zeros(len(vectors), np.int64)
    count = min(most, len(rows) // _ROWS_PER_THEME)
    if count > 1:
        spread = np.linspace(0, len(rows) - 1, min(len(rows), count * _ROWS_FITTED)).astype(np.int64)
        centroids = _fitted(vectors[rows[spread]].astype(np.float32), count)
        for at in range(0, len(rows), _AT_ONCE):
            part = rows[at : at + _AT_ONCE]
            found[part] = _nearest(vectors[part], centroids)
    return found


def _fitted(points: Float32, count: int) -> Float32:
    """(count, d) centroids of the points."""
    centroids = _centroids.begin(points, count)
    for _ in range(_ROUNDS):
        _centroids.move(centroids, points, _nearest(points, centroids))
    return centroids


def _nearest(points: Int16 | Float32, centroids: Float32) -> Int64:
    """(n,) the centroid with the largest inner product, the first of equals."""
    nearest: Int64 = np.argmax(points.astype(np.float32, copy=False) @ centroids.T, axis=1)
    return nearest
