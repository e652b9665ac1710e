"""Verified pairs to clusters: stars around a kept row, every member verified against the kept row itself.

Chains are never followed: if a is like b and b like c, but a not like c, then c is not dropped for a.
"""

from __future__ import annotations

import numpy as np

from scanner.objects import Clusters, Groups, Int64


def cluster(texts: Groups, a: Int64, b: Int64, priority: Int64) -> Clusters:
    """Greedy stars in order of priority.

    texts: rows of equal text (each group is one node; its members are verified by equality) · a, b (p,): positions
    of verified pairs that may be dropped for one another; each end stands for its whole group · priority (n,): rank
    of every row, 0 is kept first; no two rows share one.
    Of each group the row of best priority stands for it. A free group becomes kept and takes its free neighbours.
    """
    n = len(priority)
    best = _best_of_group(texts, priority)
    left, right = texts.group[a], texts.group[b]
    across = left != right
    left, right = left[across], right[across]
    neighbours = _adjacency(np.concatenate((left, right)), np.concatenate((right, left)))
    heads = np.fromiter(neighbours, np.int64, len(neighbours))
    heads = heads[np.argsort(priority[best[heads]])]
    centre = np.arange(n)  # per group head: the head of the group it is dropped for
    taken = np.zeros(n, np.bool_)
    for head in heads.tolist():
        if taken[head]:
            continue
        taken[head] = True
        for other in neighbours[head]:
            if not taken[other]:
                taken[other] = True
                centre[other] = head
    inside = np.flatnonzero(taken[texts.group] | (texts.size > 1))  # all others stay, in no cluster
    keep, size, cluster = np.arange(n), np.ones(n, np.int64), np.full(n, -1, np.int64)
    keep[inside] = best[centre[texts.group[inside]]]
    # subtle: np.unique numbers clusters by kept position, so numbers do not depend on the order of discovery
    _, number, members = np.unique(keep[inside], return_inverse=True, return_counts=True)
    size[inside] = members[number]
    cluster[inside] = np.where(members > 1, np.cumsum(members > 1) - 1, -1)[number]
    return Clusters(cluster=cluster, size=size, keep=keep)


def _best_of_group(texts: Groups, priority: Int64) -> Int64:
    """(n,) at each group's head: the member of best priority."""
    best = np.arange(len(priority))
    inside = np.flatnonzero(texts.size > 1)
    order = inside[np.argsort(-priority[inside])]  # worst first, so the best is written last
    best[texts.group[order]] = order
    return best


def _adjacency(left: Int64, right: Int64) -> dict[int, list[int]]:
    """Neighbours of every node that has any, ascending."""
    if not len(left):
        return {}
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    nodes, first = np.unique(left, return_index=True)
    ends, others = [*first[1:].tolist(), len(right)], right.tolist()
    return {node: others[a:b] for node, a, b in zip(nodes.tolist(), first.tolist(), ends, strict=True)}
