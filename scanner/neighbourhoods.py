"""Statistics of nearest neighbours, for embeddings of the data and for hidden states of a model alike.

Density says how close a row's neighbours are, local intrinsic dimension how many directions they spread in, the mean
cosine how alike a whole set is. Nothing here searches: neighbours and vectors are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanner.objects import Bool, Float64, Int64, Neighbours, UInt8

REASONS = ("", "fewer than 2 neighbours", "all distances equal")
"""Why a local dimension is not measured; LocalDimension.reason holds the index."""

_BLOCK = 4096
_FIXED_POINT = 2.0**40  # unit vectors are summed as whole numbers, so the order of rows cannot matter


@dataclass(frozen=True)
class LocalDimension:
    """(n,) local intrinsic dimension; NaN where it is not measured, and then why."""

    value: Float64
    reason: UInt8  # index into REASONS


@dataclass(frozen=True)
class EmbeddingGap:
    """How alike the prompts of a group are (S_input), how alike the whole rows (S_full), and the difference (dS).

    After "Skewed Memorization in Large Language Models" (arXiv 2502.01187).

    (g,) mean cosine over all pairs of different rows of the group; NaN for groups of fewer than 2 measured rows.
    """

    rows: Int64  # measured rows, of which the means are taken
    s_input: Float64
    s_full: Float64

    @property
    def difference(self) -> Float64:
        """dS = S_full - S_input."""
        return self.s_full - self.s_input


def density(neighbours: Neighbours) -> Float64:
    """(n,) mean cosine to the nearest neighbours, between -1 and 1; NaN where a row has none."""
    there = neighbours.position >= 0
    total = np.where(there, neighbours.cosine, 0).sum(axis=1, dtype=np.float64)
    count = there.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def chord_distances(cosine: npt.NDArray[np.floating]) -> Float64:
    """Euclidean distance between unit vectors of that cosine: sqrt(2 - 2 cos), exactly 0 at cosine 1."""
    return np.sqrt(np.maximum(0.0, 2.0 - 2.0 * cosine.astype(np.float64)))


def local_intrinsic_dimension(distances: npt.NDArray[np.floating]) -> LocalDimension:
    """The maximum-likelihood estimate -(1/k sum ln(d_i / d_k))^-1 of Levina and Bickel, per row.

    distances: (n, k) to the nearest neighbours, ascending; NaN stands for "none", then k counts the others. A nearest
    neighbour at distance 0 gives 0; equal distances (above 0) give NaN: they carry no estimate.
    """
    d = np.asarray(distances, np.float64)
    there = ~np.isnan(d)
    k = there.sum(axis=1)
    farthest = np.where(there, d, 0).max(axis=1, initial=0)
    nearest = np.where(there, d, np.inf).min(axis=1, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(there, np.log(d / farthest[:, None]), 0.0).sum(axis=1)
        value = np.where(nearest == 0, 0.0, -k / logs)
    reason = np.zeros(len(d), np.uint8)
    reason[(nearest == farthest) & (nearest > 0)] = 2
    reason[k < 2] = 1
    value[reason > 0] = np.nan
    return LocalDimension(value, reason)


def group_mean_cosine(vectors: npt.NDArray[np.generic], group: npt.NDArray[np.integer], groups: int) -> Float64:
    """(groups,) mean cosine over the pairs within each group; group: (n,), -1 for rows to leave out.

    Rows of length 0 count as orthogonal to everything. NaN for groups of fewer than 2 rows.
    """
    size = np.bincount(group[group >= 0], minlength=groups)
    rows = np.flatnonzero((group >= 0) & (size[group] >= 2))
    rows = rows[np.argsort(group[rows], kind="stable")]
    mean = np.full(groups, np.nan)
    total = np.zeros(vectors.shape[1], np.int64)  # of the group that the last block ended in
    self_total, open_group = 0.0, -1

    def close(which: int, sums: Int64, own: float) -> None:
        whole = sums.astype(np.float64) / _FIXED_POINT
        mean[which] = (whole @ whole - own) / (size[which] * (size[which] - 1))

    for at in range(0, len(rows), _BLOCK):
        part = rows[at : at + _BLOCK]
        block = vectors[part].astype(np.float64)
        length = np.sqrt(np.einsum("ij,ij->i", block, block))
        unit = np.rint(block * (_FIXED_POINT / np.where(length > 0, length, 1.0))[:, None]).astype(np.int64)
        first = np.flatnonzero(np.diff(group[part], prepend=-2))
        sums = np.add.reduceat(unit, first, axis=0)
        own = np.add.reduceat((length > 0).astype(np.float64), first)
        for which, vector_sum, units in zip(group[part][first].tolist(), sums, own.tolist(), strict=True):
            if which != open_group:
                if open_group >= 0:
                    close(open_group, total, self_total)
                total, self_total, open_group = np.zeros_like(total), 0.0, which
            total = total + vector_sum
            self_total += units
    if open_group >= 0:
        close(open_group, total, self_total)
    return mean


def embedding_gap(
    full: npt.NDArray[np.generic],
    prompt: npt.NDArray[np.generic],
    measured: Bool,
    group: npt.NDArray[np.integer] | None = None,
    groups: int = 1,
) -> EmbeddingGap:
    """S_input and S_full per group (source or cluster), both over the rows that are measured in both.

    full, prompt: (n, d) vectors of whole rows and of their prompts · measured: (n,) both are measured · group: (n,),
    -1 for none; without it all rows are one group.
    """
    of_row = np.zeros(len(full), np.int64) if group is None else group.astype(np.int64)
    of_row = np.where(measured, of_row, -1)
    rows = np.bincount(of_row[of_row >= 0], minlength=groups).astype(np.int64)
    return EmbeddingGap(rows, group_mean_cosine(prompt, of_row, groups), group_mean_cosine(full, of_row, groups))
