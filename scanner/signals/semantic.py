"""Rows that mean the same: the k nearest rows by embedding, and the pairs above a cosine threshold.

    vectors -> groups of equal vectors -> FAISS proposes candidates -> exact products rank them -> pairs for review

Up to EXACT_ROWS distinct vectors FAISS compares every pair. Above, it looks into the lists around the nearest
centroids (inverted file) and compares 4-bit product-quantised codes; how many lists, is chosen so that the wanted
share of the true neighbours of a sample is found, and the share that was found stands in the notes. Candidates are
always ranked by exact whole-number inner products. Rows are indexed in the order given and searched in blocks of one
size, each on one thread, so the result does not depend on threads or on where the rows stand.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner import running
from scanner.embedding import Embeddings
from scanner.objects import Bool, Float64, Int32, Int64, Neighbours, Pairs
from scanner.signals import _centroids

EXACT_ROWS = 20_000
RECALL = 0.95
"""Wanted share of the true k nearest that the approximate index finds ..."""
PROBES = (16, 32)
"""... by probing so many lists; the largest is a cap, and what it reaches is stated."""
RECALL_SAMPLE = 500
CLOSE = 0.8
"""Recall is stated for neighbours at or above this cosine too: those below are not what pairs are made of."""
_CANDIDATES = 8  # per wanted neighbour; codes rank coarsely, exact products decide
_SPARE = 16  # further candidates of an exact search, so that ties at the end are broken by order
_LISTS_PER_ROOT = 4  # lists = this x sqrt(distinct vectors)
_SAMPLE_PER_LIST = 20
_TRAINING_ROWS = 8192  # for the code books: 512 per word of 4 bits
_ROUNDS = 3  # of k-means
_DIMENSIONS_PER_CODE = 2  # 4 find 3 of 100 neighbours fewer in 9 % less time (300,000 rows)
_ROWS_PER_TASK = 512
_ROWS_PER_BLOCK = 1024

Int16Matrix = npt.NDArray[np.int16]
Work = Callable[[int, int], None]


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
        finder = _Finder(embeddings.vectors, order, rows, k, running.thread_count(threads))
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
        if len(leaders) <= exact_rows:
            notes: dict[str, Any] = {"index": "exact", "recall": 1.0}
            near_row, near_dot = self._ranked(leaders, leaders, self._flat(leaders), self.k + 1 + _SPARE)
        else:
            index, notes = self._inverted(leaders, recall, seed)
            near_row, near_dot = self._ranked(leaders, leaders, index, _CANDIDATES * (self.k + 1))
        near = np.where(near_row >= 0, group[near_row], -1).astype(np.int32)

        def work(begin: int, end: int) -> None:
            expand(near, near_dot, self.rows, group, group_rows, group_at, self.inverse, self.rank, begin, end,
                   position, dots)  # fmt: skip

        self._parallel(work, len(self.rows), _ROWS_PER_TASK)
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

    def _flat(self, members: Int32) -> Any:
        """An index that compares every pair; exact, since the vectors are whole numbers (see embedding.UNIT)."""
        import faiss

        index = faiss.IndexFlatIP(self.vectors.shape[1])
        self._add(index, members)
        return index

    def _inverted(self, leaders: Int32, recall: float, seed: int) -> tuple[Any, dict[str, Any]]:
        """An inverted file with as many probes as the wanted recall takes, and its notes."""
        import faiss

        d = self.vectors.shape[1]
        count = min(round(_LISTS_PER_ROOT * np.sqrt(len(leaders))), len(leaders))
        chosen = np.random.default_rng(seed).permutation(len(leaders))
        quantizer = self._centroids(leaders[np.sort(chosen[: count * _SAMPLE_PER_LIST])], count)
        codes = next(m for m in range(max(1, d // _DIMENSIONS_PER_CODE), 0, -1) if d % m == 0)
        index = faiss.IndexIVFPQFastScan(quantizer, d, count, codes, 4, faiss.METRIC_INNER_PRODUCT)
        faiss.omp_set_num_threads(1)  # the code books are sums of floats: one thread, one order of summation
        index.train(self.vectors[leaders[np.sort(chosen[:_TRAINING_ROWS])]].astype(np.float32))
        faiss.omp_set_num_threads(self.threads)
        self._add(index, leaders)

        sample = leaders[np.sort(chosen[-RECALL_SAMPLE:])]
        truth, dots = self._truth(sample, leaders)
        known: Bool = truth >= 0
        cosine = dots * self.inverse[sample][:, None] * np.where(known, self.inverse[truth], 0)
        close = known & (cosine >= CLOSE)
        hits = known
        for probes in sorted({min(p, count) for p in (*PROBES, count if recall >= 1 else 1)}):
            index.nprobe = probes
            found, _ = self._ranked(sample, leaders, index, _CANDIDATES * (self.k + 1))
            hits = (found[:, :, None] == truth[:, None, :]).any(axis=1) & known
            if hits.sum() >= recall * known.sum():
                break
        notes = {
            "index": "inverted lists",
            "codes": f"{codes} of 4 bits",
            "lists": count,
            "probes": int(index.nprobe),
            "recall": float(hits.sum() / max(1, known.sum())),
            "recall_close": float(hits[close].mean()) if close.any() else None,
            "close_cosine": CLOSE,
            "close_sampled": int(close.sum()),
            "recall_sample_rows": len(sample),
        }
        return index, notes

    def _truth(self, queries: Int32, members: Int32) -> tuple[Int32, Int32]:
        """(q, k) nearest members of a few queries and their inner products, every one compared.

        Only one block of members is in memory at a time.
        """
        from scanner.kernels.nearest import rank_candidates

        step = 16 * _ROWS_PER_BLOCK
        points = self.vectors[queries].astype(np.float32)
        found = []
        for at in range(0, len(members), step):
            block = members[at : at + step]
            _, place = self._flat(block).search(points, min(self.k + 1 + _SPARE, len(block)))
            found.append(place + at)
        row_out, dot_out = np.full((len(queries), self.k), -1, np.int32), np.zeros((len(queries), self.k), np.int32)
        candidates = np.ascontiguousarray(np.concatenate(found, axis=1))
        rank_candidates(self.vectors, self.inverse, self.rank, queries, members, candidates, 0, row_out, dot_out)
        return row_out, dot_out

    def _centroids(self, sample: Int32, count: int) -> Any:
        """A flat index of `count` centroids of length UNIT, by spherical k-means in whole numbers.

        A centroid that attracts nothing stays where it is.
        """
        import faiss

        points = self.vectors[sample].astype(np.float32)
        centroids = _centroids.begin(points, count)
        index = faiss.IndexFlatIP(points.shape[1])
        faiss.omp_set_num_threads(self.threads)
        for _ in range(_ROUNDS):
            index.reset()
            index.add(centroids)
            _centroids.move(centroids, points, index.search(points, 1)[1][:, 0])
        index.reset()
        index.add(centroids)
        return index

    def _add(self, index: Any, members: Int32) -> None:
        """Add rows in blocks, so that only one block at a time is there in float32."""
        for at in range(0, len(members), 16 * _ROWS_PER_BLOCK):
            index.add(self.vectors[members[at : at + 16 * _ROWS_PER_BLOCK]].astype(np.float32))

    def _ranked(self, queries: Int32, members: Int32, index: Any, candidates: int) -> tuple[Int32, Int32]:
        """(q, k) nearest members of the queries and their inner products, among the candidates of the index."""
        import faiss

        from scanner.kernels.nearest import rank_candidates

        row_out, dot_out = np.full((len(queries), self.k), -1, np.int32), np.zeros((len(queries), self.k), np.int32)
        wanted = min(candidates, len(members))

        def work(begin: int, end: int) -> None:
            faiss.omp_set_num_threads(1)  # for this thread only; the blocks run side by side
            block = self.vectors[queries[begin:end]].astype(np.float32)
            _, found = index.search(block, wanted)
            rank_candidates(self.vectors, self.inverse, self.rank, queries, members, found, begin, row_out, dot_out)

        self._parallel(work, len(queries), _ROWS_PER_BLOCK)
        return row_out, dot_out

    def _parallel(self, work: Work, rows: int, step: int) -> None:
        """Call work(begin, end) on consecutive ranges of `step` rows."""
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(lambda at: work(at, min(rows, at + step)), range(0, rows, step)))


def _squares(vectors: Int16Matrix) -> Int64:
    """(n,) exact squared lengths."""
    out = np.empty(len(vectors), np.int64)
    for at in range(0, len(vectors), 4096):
        block = vectors[at : at + 4096].astype(np.int64)
        out[at : at + 4096] = np.einsum("ij,ij->i", block, block)
    return out


def _cosine(embeddings: Embeddings, position: Int32, dots: Int32) -> npt.NDArray[np.float32]:
    """(n, k) cosines, equal for both directions of a pair, exactly 1 for equal vectors; NaN where there is none."""
    squares = _squares(embeddings.vectors)
    some: Bool = position >= 0
    cosine = np.full(position.shape, np.nan, np.float32)
    row = np.nonzero(some)[0]
    cosine[some] = dots[some] / np.sqrt((squares[row] * squares[position[some]]).astype(np.float64))
    return cosine
