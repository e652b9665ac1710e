"""For every item the rows that ask most like it, and by how much the two stand out among their neighbours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from scanner import embedding
from scanner.objects import Bool, Float32, Float64, Int64
from scanner.ordering import row_keys
from scanner.ranges import laid_out

COSINE = 0.5
"""Cosine from which a row may be an item's candidate; a neighbour counts as at least so near."""
NEAREST = 8
"""Items of which each row may be a candidate."""
PROPOSED, LEAST_COSINE = 16, 0.35
"""Items that are known for each row, of those that are at least so near: what a better encoder may look at."""
NEIGHBOURS = 4
"""Neighbours on either side whose mean cosine is the usual one."""
SAME_ROW, SAME_ITEM = 0.97, 0.95
"""Cosine from which two rows, two items are copies: neither neighbours nor rivals of one another."""
EXACT_PRODUCTS = 400_000_000
"""Pairs of row and question up to which all are compared; above, the lists around the nearest centroids."""
_PROBES, _LISTS_PER_ROOT, _POINTS_PER_LIST, _ROUNDS = 8, 4, 39, 6
_ROWS_PER_BLOCK = 1024
ROWS_PER_ITEM = 6
"""Rows that may be an item's candidates, not counting those that ask word for word the same."""
_KNOWN_ROWS = 18  # rows of an item that are looked at: its candidates, their copies, and the next


@dataclass(frozen=True)
class Views:
    """Items as vectors of length 1: one for the whole question, one for its last line where it has several."""

    vectors: Float32  # (v, d)
    item: Int64  # (v,)
    last: Int64  # (items,) the view that holds what is asked last, -1 for items that are not compared
    whole: Int64  # (items,) the view that holds the whole question, -1 for items that are not compared

    def are_same(self, items: Int64, others: Int64) -> Bool:
        """(c, k) whether others (c, k) are copies of items (c,): in whole or in what is asked last; -1 is none."""
        out = np.zeros(others.shape, np.bool_)
        for view in (self.whole, self.last):
            mine, theirs = self.vectors[view[items]], self.vectors[view[others]]
            out |= np.einsum("cd,ckd->ck", mine, theirs) > SAME_ITEM
        return out & (others >= 0)


@dataclass(frozen=True)
class Candidates:
    """Pairs of an item and the rows that ask most like it, to which no other item is nearer, and their equals."""

    place: Int64  # (c,) the row's
    item: Int64  # (c,)
    cosine: Float64  # (c,)
    margin: Float64  # (c,) log of the cosine over the mean of the usual cosines of both sides
    rank: Int64  # (c,) 0 for the likest row of the item, ROWS_PER_ITEM - 1 at most

    def at(self, place: Int64) -> Candidates:
        """The same pairs with other numbers for the rows."""
        return Candidates(place, self.item, self.cosine, self.margin, self.rank)


@dataclass(frozen=True)
class Near:
    """The items nearest to each of some rows; rows that ask word for word the same are one."""

    rows: Int64  # (n,) place of the first row of each kind
    equal: Int64  # (r,) places of all rows, by kind
    equal_at: Int64  # (n + 1,) into equal
    item: Int64  # (n, k) the nearest first, -1 beyond the last with a cosine of LEAST_COSINE
    cosine: Float64  # (n, k) 0 beyond the last

    def with_equals(self, found: Candidates) -> Candidates:
        """The candidates by the places of rows instead of numbers of kinds, with all rows of each kind."""
        begin, end = self.equal_at[found.place], self.equal_at[found.place + 1]
        each = np.repeat(np.arange(len(found.place)), end - begin)
        of_pair = (found.item[each], found.cosine[each], found.margin[each], found.rank[each])
        return Candidates(self.equal[laid_out(begin, end)], *of_pair)


def find(asked: embedding.Embeddings, rows: Int64, views: Views, threads: int) -> Candidates:
    """The candidates among the rows at places `rows` (ascending)."""
    near = search(asked, rows, views, threads)
    return near.with_equals(likest(asked, near, views))


def search(asked: embedding.Embeddings, rows: Int64, views: Views, threads: int, known: int = NEAREST) -> Near:
    """The `known` items nearest to the rows at places `rows` (ascending)."""
    nothing = np.zeros(0, np.int64)
    if not len(rows) or not len(views.item):
        return Near(nothing, nothing, np.zeros(1, np.int64), np.zeros((0, known), np.int64), np.zeros((0, known)))
    _, first, which = np.unique(row_keys(asked.vectors)[rows], return_index=True, return_inverse=True)
    item, cosine = _nearest(asked, rows[first], views, threads, known)
    ends = np.cumsum(np.bincount(which))
    return Near(rows[first], rows[np.argsort(which, kind="stable")], np.append(0, ends), item, cosine)


def likest(asked: embedding.Embeddings, near: Near, views: Views) -> Candidates:
    """The candidates among different rows, by their number in `near`."""
    nothing = np.zeros(0, np.int64)
    items, cosine = near.item[:, :NEAREST], near.cosine[:, :NEAREST]
    row, rank = np.nonzero(cosine >= COSINE)
    item = items[row, rank]
    order = np.lexsort((row, -cosine[row, rank], item))
    row, item, value = row[order], item[order], cosine[row, rank][order]
    known, starts = np.unique(item, return_index=True)
    ends = np.append(starts[1:], len(item))
    chosen = [(nothing, nothing, np.zeros(0), np.zeros(0), nothing)]
    for first in range(0, len(known), _ROWS_PER_BLOCK):
        block = slice(first, first + _ROWS_PER_BLOCK)
        at = starts[block, None] + np.arange(_KNOWN_ROWS)
        there = at < ends[block, None]
        at = np.minimum(at, len(item) - 1)
        others, found, here = row[at], np.where(there, value[at], 0.0), known[block]
        before = np.zeros(len(here), np.int64)
        are_same = (_cosines(asked, near.rows[others], ROWS_PER_ITEM) >= SAME_ROW) & there[:, None]
        for at_rank in range(ROWS_PER_ITEM):
            best, best_cosine, same_row = others[:, at_rank], found[:, at_rank], are_same[:, at_rank]
            is_copy = same_row[:, :at_rank].any(axis=1)  # but for its numbers, maybe
            same_row[:, : at_rank + 1] = True  # those that are liker are no neighbours either
            same_item = views.are_same(here, items[best])
            rival = np.where(same_item | (cosine[best] < COSINE), 0.0, cosine[best])
            usual = (_usual(np.where(same_row, 0.0, found)) + _usual(rival)) / 2
            is_nearest = best_cosine >= rival.max(axis=1) - 1e-6
            keep = np.flatnonzero(there[:, at_rank] & is_nearest & ~is_copy)
            margin = np.log(best_cosine[keep] / usual[keep])
            chosen.append((best[keep], here[keep], best_cosine[keep], margin, before[keep]))
            before[keep] += 1
    return Candidates(*(np.concatenate(part) for part in zip(*chosen, strict=True)))


def proposals(near: Near) -> Candidates:
    """Every pair that is known, by the row's number in `near`: what a better encoder may look at.

    Here copies are neighbours like others, for the order alone depends on it.
    """
    row, rank = np.nonzero(near.item >= 0)
    item, cosine = near.item[row, rank], near.cosine[row, rank]
    usual = (_usual_of_others(row, cosine) + _usual_of_others(item, cosine)) / 2
    return Candidates(row, item, cosine, np.log(cosine / usual), np.zeros(len(row), np.int64))


def _usual_of_others(key: Int64, cosine: Float64) -> Float64:
    """(p,) `_usual` of all other pairs with the same key."""
    order = np.lexsort((-cosine, key))
    _, starts, sizes = np.unique(key[order], return_index=True, return_counts=True)
    which = np.repeat(np.arange(len(starts)), sizes)
    rank = np.arange(len(key)) - starts[which]
    floored = np.maximum(cosine[order], COSINE)
    largest = np.full((len(starts), NEIGHBOURS + 1), COSINE)
    leading = rank <= NEIGHBOURS
    largest[which[leading], rank[leading]] = floored[leading]
    without = np.where(leading, largest.sum(axis=1)[which] - floored, largest[which, :NEIGHBOURS].sum(axis=1))
    usual = np.empty(len(key))
    usual[order] = without / NEIGHBOURS
    return usual


def _usual(cosine: Float64) -> Float64:
    """(c,) mean of the NEIGHBOURS largest of (c, k) cosines, each at least COSINE; what is missing counts as that."""
    padded = np.pad(cosine, ((0, 0), (0, NEIGHBOURS)))
    largest = -np.sort(-padded, axis=1)[:, :NEIGHBOURS]
    usual: Float64 = np.maximum(largest, COSINE).mean(axis=1)
    return usual


def _cosines(asked: embedding.Embeddings, rows: Int64, first: int) -> Float64:
    """(c, first, k) cosines of the first of some rows (c, k) and all of them."""
    vectors = asked.vectors[rows].astype(np.float32)
    dots = (vectors[:, :first] @ vectors.transpose(0, 2, 1)).astype(np.float64)
    length = np.linalg.norm(vectors, axis=2)
    cosine: Float64 = dots / (length[:, :first, None] * length[:, None])
    return cosine


def _nearest(asked: embedding.Embeddings, rows: Int64, views: Views, threads: int, known: int) -> tuple[Int64, Float64]:
    """(n, known) the items nearest to each row, -1 beyond the last, and their cosines."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # blocks run side by side, and sums do not depend on the number of threads
    index: Any = faiss.IndexFlatIP(views.vectors.shape[1])
    if len(rows) * len(views.vectors) > EXACT_PRODUCTS:
        lists = int(_LISTS_PER_ROOT * len(views.vectors) ** 0.5)
        index = faiss.IndexIVFFlat(index, views.vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid, index.nprobe = _ROUNDS, _POINTS_PER_LIST, _PROBES
        index.cp.min_points_per_centroid = 1  # fewer are no reason to write warnings into our display
        index.train(views.vectors)
    index.add(views.vectors)
    width = min(2 * known, len(views.vectors))

    def work(first: int) -> tuple[Int64, Float64]:
        block = asked.vectors[rows[first : first + _ROWS_PER_BLOCK]].astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        dots, near = index.search(block, width)
        return _once(np.where(near >= 0, views.item[near], -1), np.minimum(dots, 1.0), known)

    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(work, range(0, len(rows), _ROWS_PER_BLOCK)))
    faiss.omp_set_num_threads(before)
    near, cosine = (np.concatenate(part) for part in zip(*found, strict=True))
    return near, cosine


def _once(item: Int64, cosine: Float64, known: int) -> tuple[Int64, Float64]:
    """(b, known) each row's items once, at their largest cosine; -1 and 0 where no more are near enough."""
    width = item.shape[1]
    repeated = (item[:, :, None] == item[:, None, :]) & np.tri(width, k=-1, dtype=np.bool_)
    gone = repeated.any(axis=2) | (item < 0) | (cosine < LEAST_COSINE)
    order = np.argsort(gone, axis=1, kind="stable")[:, :known]
    kept = ~np.take_along_axis(gone, order, 1)
    items = np.where(kept, np.take_along_axis(item, order, 1), -1)
    values = np.where(kept, np.take_along_axis(cosine, order, 1), 0.0)
    missing = max(0, known - width)
    return (
        np.pad(items, ((0, 0), (0, missing)), constant_values=-1),
        np.pad(values, ((0, 0), (0, missing))),
    )
