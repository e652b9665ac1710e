"""Rows that mean the same: the k nearest rows by embedding, and the pairs above a cosine threshold.

    vectors -> groups of equal vectors -> lists around centroids -> k nearest rows -> pairs for review

Up to EXACT_ROWS distinct vectors every pair is compared. Above, vectors are sorted into lists around centroids and
each vector is compared with the lists nearest to it (an inverted file); how many, is chosen so that the wanted share
of the true neighbours of a sample is found. Everything is whole numbers: the result depends on the vectors and on the
order given, not on threads or on where the rows stand.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.embedding import UNIT, Embeddings, thread_count
from scanner.objects import Bool, Float64, Int32, Int64, Neighbours, Pairs

NEEDS = ("neighbours",)

EXACT_ROWS = 20_000
RECALL = 0.95
"""Wanted share of the true k nearest that an inverted file finds."""
RECALL_SAMPLE = 500
_LISTS_PER_ROOT = 4  # lists = this x sqrt(distinct vectors)
_SAMPLE_PER_LIST = 20
_ROUNDS = 3  # of k-means
_ROWS_PER_TASK = 512

Int16Matrix = npt.NDArray[np.int16]
Work = Callable[[int, int], None]


@dataclass(frozen=True)
class _Lists:
    """Rows by list: list l holds rows[at[l]:at[l + 1]], those nearest to centroid l."""

    rows: Int32
    at: Int64
    centroids: Int16Matrix
    probes: int  # lists each row is compared with


def search(
    embeddings: Embeddings,
    order: Int64,
    k: int = 10,
    threads: int = 0,
    seed: int = 0,
    exact_rows: int = EXACT_ROWS,
    recall: float = RECALL,
) -> Neighbours:
    """The k nearest measured rows of every measured row, by cosine, ties broken by `order`.

    order: (n,) all positions, sorted by content hash, so that equal input gives equal output wherever its rows stand.
    seed chooses the sample from which centroids are trained and recall is measured.
    """
    n = len(embeddings)
    position = np.full((n, k), -1, np.int32)
    dots = np.zeros((n, k), np.int32)
    notes: dict[str, Any] = {**embeddings.notes, "k": k}
    rows = order[embeddings.measured[order]].astype(np.int32)  # measured rows in content order
    if len(rows) > 1:
        finder = _Finder(embeddings.vectors, order, rows, k, thread_count(threads))
        notes |= finder.run(position, dots, exact_rows, recall, seed)
    else:
        notes |= {"index": "none", "recall": 1.0, "distinct_vectors": len(rows)}
    return Neighbours(position, _cosine(embeddings, position, dots), embeddings.measured, notes)


def pairs(neighbours: Neighbours, row_id: Int64, cosine: float) -> Pairs:
    """Every pair of rows of which one is among the other's k nearest with at least that cosine.

    notes["rows_at_least_k"] counts rows whose k nearest all lie at or above the threshold: they have at least k
    partners, further ones may be missing here.
    """
    k = neighbours.position.shape[1]
    with np.errstate(invalid="ignore"):
        near = (neighbours.position >= 0) & (neighbours.cosine >= np.float32(cosine))
    row, place = np.nonzero(near)
    a, b = row_id[row], row_id[neighbours.position[row, place]]
    low, high = np.minimum(a, b), np.maximum(a, b)
    found = np.lexsort((high, low))
    low, high = low[found], high[found]
    similarity = neighbours.cosine[row, place][found]
    first = np.ones(len(low), np.bool_)
    first[1:] = (np.diff(low) != 0) | (np.diff(high) != 0)
    low, high, similarity = low[first], high[first], similarity[first]
    nowhere = np.full(len(low), np.nan, np.float32)
    notes = {**neighbours.notes, "cosine": cosine, "rows_at_least_k": int((near.sum(axis=1) == k).sum()) if k else 0}
    relation = np.full(len(low), "semantic", dtype=object)
    return Pairs("semantic", low, high, relation, similarity, nowhere, nowhere.copy(), notes)


class _Finder:
    """One search: the arrays that its steps share."""

    def __init__(self, vectors: Int16Matrix, order: Int64, rows: Int32, k: int, threads: int):
        self.vectors, self.rows, self.k, self.threads = vectors, rows, k, threads
        self.rank = np.empty(len(order), np.int64)
        self.rank[order] = np.arange(len(order))
        self.squares = _squares(vectors)
        self.inverse: Float64 = np.zeros(len(vectors))
        self.inverse[rows] = 1 / np.sqrt(self.squares[rows].astype(np.float64))

    def run(self, position: Int32, dots: Int32, exact_rows: int, recall: float, seed: int) -> dict[str, Any]:
        """Fill position and dots; returns notes."""
        from scanner.kernels.nearest import expand

        group, group_rows, group_at = self._groups()
        leaders = group_rows[group_at[:-1]]  # one row per distinct vector, in content order
        notes: dict[str, Any] = {"index": "exact", "recall": 1.0}
        if len(leaders) <= exact_rows:
            queries = leaders
            near_row, near_dot = self._all(queries, leaders)
        else:
            lists, notes = self._inverted(leaders, recall, seed)
            queries = lists.rows
            near_row, near_dot = self._listed(lists)
        near = np.full((len(leaders), self.k), -1, np.int32)
        near_dots = np.zeros_like(near)
        own = group[queries]
        near[own] = np.where(near_row >= 0, group[near_row], -1)
        near_dots[own] = near_dot

        def work(begin: int, end: int) -> None:
            expand(near, near_dots, self.rows, group, group_rows, group_at, self.inverse, self.rank, begin, end,
                   position, dots)  # fmt: skip

        self._parallel(work, len(self.rows))
        return {**notes, "distinct_vectors": len(leaders)}

    def _groups(self) -> tuple[Int64, Int32, Int64]:
        """Rows with equal vectors: (n,) group of each row, rows by group and content order, (g + 1,) their bounds.

        Searching once per distinct vector keeps many copies of one row from costing their square.
        """
        from scanner.kernels.nearest import vector_hashes

        hashes = np.empty(len(self.rows), np.uint64)
        vector_hashes(self.vectors, self.rows, hashes)
        _, first, inside = np.unique(hashes, return_index=True, return_inverse=True)
        # groups are numbered by their first row in content order
        number = np.empty(len(first), np.int64)
        number[np.argsort(first)] = np.arange(len(first))
        of_row = number[inside]
        by_group = np.argsort(of_row, kind="stable")
        at = np.concatenate(([0], np.cumsum(np.bincount(of_row)))).astype(np.int64)
        group = np.full(len(self.vectors), -1, np.int64)
        group[self.rows] = of_row
        return group, self.rows[by_group], at

    def _inverted(self, leaders: Int32, recall: float, seed: int) -> tuple[_Lists, dict[str, Any]]:
        """Lists around centroids, and as many probes as the wanted recall takes."""
        count = round(_LISTS_PER_ROOT * np.sqrt(len(leaders)))
        chosen = np.random.default_rng(seed).permutation(len(leaders))
        centroids = self._centroids(leaders[np.sort(chosen[: count * _SAMPLE_PER_LIST])], count)
        place = self._assign(leaders, centroids)
        by_list = np.argsort(place, kind="stable")
        at = np.concatenate(([0], np.cumsum(np.bincount(place, minlength=count)))).astype(np.int64)
        sample = np.sort(chosen[-RECALL_SAMPLE:])
        found, _ = self._all(leaders[sample], leaders)
        # A true neighbour is found if its list is probed: at which probe tells the recall of any number of probes.
        list_of = np.full(len(self.vectors), -1, np.int32)
        list_of[leaders] = place
        similarity = self.vectors[leaders[sample]].astype(np.float32) @ centroids.T.astype(np.float32)  # exact, see UNIT
        probe_of = np.argsort(np.argsort(-similarity, axis=1, kind="stable"), axis=1)
        query, _ = np.nonzero(found >= 0)
        needed = probe_of[query, list_of[found[found >= 0]]]
        reached = np.cumsum(np.bincount(needed, minlength=count)) / len(needed)
        enough = int(np.argmax(reached >= recall))
        notes = {
            "index": "inverted lists",
            "lists": count,
            "probes": enough + 1,
            "recall": float(reached[enough]),
            "recall_sample_rows": len(sample),
        }
        return _Lists(leaders[by_list], at, centroids, enough + 1), notes

    def _centroids(self, sample: Int32, count: int) -> Int16Matrix:
        """(count, d) of length UNIT: spherical k-means; a centroid that attracts nothing stays where it is."""
        from scanner.kernels.nearest import add_up

        centroids = self.vectors[sample[np.linspace(0, len(sample) - 1, count).astype(np.int64)]]
        for _ in range(_ROUNDS):
            sums = np.zeros(centroids.shape, np.int64)
            add_up(self.vectors, sample, self._assign(sample, centroids), sums)
            length = np.sqrt((sums.astype(np.float64) ** 2).sum(axis=1))
            some = length > 0
            centroids[some] = np.rint(sums[some] * (UNIT / length[some])[:, None]).astype(np.int16)
        return centroids

    def _assign(self, rows: Int32, centroids: Int16Matrix) -> Int32:
        """(m,) the centroid nearest to each row."""
        from scanner.kernels.nearest import assign

        out = np.empty(len(rows), np.int32)
        self._parallel(lambda begin, end: assign(self.vectors, rows, centroids, begin, end, out), len(rows))
        return out

    def _all(self, queries: Int32, members: Int32) -> tuple[Int32, Int32]:
        """(q, k) nearest members of the queries and their inner products, every one compared."""
        from scanner.kernels.nearest import nearest_of_all

        row_out, dot_out = self._empty(len(queries))

        def work(begin: int, end: int) -> None:
            nearest_of_all(self.vectors, self.inverse, self.rank, queries, begin, end, members, row_out, dot_out)

        self._parallel(work, len(queries))
        return row_out, dot_out

    def _listed(self, lists: _Lists) -> tuple[Int32, Int32]:
        """(q, k) nearest rows of lists.rows and their inner products, among the lists they probe."""
        from scanner.kernels.nearest import nearest_in_lists

        row_out, dot_out = self._empty(len(lists.rows))

        def work(begin: int, end: int) -> None:
            nearest_in_lists(self.vectors, self.inverse, self.rank, lists.rows, begin, end, lists.centroids,
                             lists.probes, lists.rows, lists.at, row_out, dot_out)  # fmt: skip

        self._parallel(work, len(lists.rows))
        return row_out, dot_out

    def _empty(self, queries: int) -> tuple[Int32, Int32]:
        return np.full((queries, self.k), -1, np.int32), np.zeros((queries, self.k), np.int32)

    def _parallel(self, work: Work, rows: int) -> None:
        """Call work(begin, end) on consecutive ranges of rows."""
        tasks = max(self.threads, -(-rows // _ROWS_PER_TASK))
        cuts = np.unique(np.linspace(0, rows, tasks + 1).astype(np.int64)).tolist()
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, cuts[:-1], cuts[1:]))


def _squares(vectors: Int16Matrix) -> Int64:
    """(n,) exact squared lengths."""
    out = np.empty(len(vectors), np.int64)
    for at in range(0, len(vectors), 4096):
        block = vectors[at : at + 4096].astype(np.int64)
        out[at : at + 4096] = np.einsum("ij,ij->i", block, block)
    return out


def _cosine(embeddings: Embeddings, position: Int32, dots: Int32) -> npt.NDArray[np.float32]:
    """(n, k) cosines, the same for both directions of a pair and exactly 1 for equal vectors; NaN where there is none."""
    squares = _squares(embeddings.vectors)
    some: Bool = position >= 0
    cosine = np.full(position.shape, np.nan, np.float32)
    row = np.nonzero(some)[0]
    cosine[some] = dots[some] / np.sqrt((squares[row] * squares[position[some]]).astype(np.float64))
    return cosine
