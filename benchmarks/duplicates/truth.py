"""What is true about duplicates, without any sketch, and how a tool's answer compares.

`similar_pairs`: every pair of rows at or above a similarity, by an exact join with prefixes. The rest: measures of
clusters given as one number per row (rows with the same number are together).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


def similar_pairs(sets: Iterable[Iterable[str]], level: float) -> dict[tuple[int, int], float]:
    """Jaccard of every pair at or above `level`.

    Sorted from rare to common, two sets with Jaccard >= t share one of their first floor((1 - t) size) + 1 shingles
    (Chaudhuri et al. 2006), so only rows with such a shingle in common are compared.
    """
    known = [frozenset(own) for own in sets]
    share = Counter(shingle for own in known for shingle in own)
    rank = {shingle: place for place, (shingle, _) in enumerate(sorted(share.items(), key=lambda item: item[1]))}
    index: dict[int, list[int]] = defaultdict(list)
    found = {}
    for row, own in enumerate(known):
        ranks = sorted(rank[shingle] for shingle in own)
        candidates: set[int] = set()
        for place in ranks[: int((1 - level) * len(ranks) + 1e-9) + 1]:
            candidates.update(index[place])
            index[place].append(row)
        for other in candidates:
            a, b = len(known[other]), len(own)
            if min(a, b) >= level * max(a, b) - 1e-9:
                both = len(known[other] & own)
                if both >= level * (a + b - both) - 1e-9:
                    found[other, row] = both / (a + b - both)
    return found


@dataclass(frozen=True)
class Agreement:
    """Clusters beside the true groups."""

    precision: float  # of pairs of rows put together, the share that belongs together
    recall: float  # of pairs that belong together, the share put together
    f1: float
    b_cubed_precision: float  # the same per row, averaged: Bagga and Baldwin 1998
    b_cubed_recall: float
    b_cubed_f1: float
    exact_sets: float  # share of rows whose cluster is exactly their group
    lost_groups: int  # groups of which not one row is kept, if each cluster keeps its first row
    removed_rows: int


def _pairs(counts: np.ndarray) -> int:
    return int((counts * (counts - 1) // 2).sum())


def agreement(clusters: np.ndarray, groups: np.ndarray) -> Agreement:
    """Compare; both are one number per row."""
    _, clusters = np.unique(clusters, return_inverse=True)
    _, groups = np.unique(groups, return_inverse=True)
    _, cell_of, both = np.unique(
        clusters.astype(np.int64) * (groups.max() + 1) + groups, return_inverse=True, return_counts=True
    )
    cluster_size, group_size = np.bincount(clusters), np.bincount(groups)
    together, wanted, right = _pairs(cluster_size), _pairs(group_size), _pairs(both)
    precision = right / together if together else 1.0
    recall = right / wanted if wanted else 1.0
    shared = both[cell_of]
    row_precision = float((shared / cluster_size[clusters]).mean())
    row_recall = float((shared / group_size[groups]).mean())
    exact = (shared == cluster_size[clusters]) & (shared == group_size[groups])
    _, kept = np.unique(clusters, return_index=True)
    return Agreement(
        precision, recall, _f1(precision, recall), row_precision, row_recall, _f1(row_precision, row_recall),
        float(exact.mean()), len(group_size) - len(np.unique(groups[kept])), len(clusters) - len(kept),
    )  # fmt: skip


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
