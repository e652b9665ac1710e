"""Rows that ask an item's question in other words: embeddings propose, words and numbers in common must agree.

A static table puts any two sums about pizza close together; what a paraphrase keeps are the numbers and the rare words.
So a cosine alone is never a match (thresholds: benchmarks/contamination), and a match is only ever for review.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner import embedding
from scanner.contamination.items import Items, words_of
from scanner.objects import ROLE_CODE, Bool, Float64, Int64, SegmentBatch, UInt64
from scanner.store import SegmentReader

COSINE = 0.7
"""Cosine from which a pair is looked at; every match has it."""
NEAREST = 3
"""Items that are looked at for each row."""
FEWEST_NUMBERS, FEWEST_WORDS = 2, 20
"""A sum in words: question and row with so many words, the question with so many different numbers ..."""
SHARED_NUMBERS, SHARED_WORDS = 0.6, 0.4
"""... matches if this share of the numbers of both (Jaccard) and of the rare words is in common (see `_overlap`)."""
PLAIN_COSINE, PLAIN_NUMBERS, PLAIN_WORDS = 0.85, 0.75, 0.75
"""What any other question must reach."""
LONGER = 2.0
"""A paraphrase is at most so many times as long as the question, or as short."""
SHORTEST = 5
"""Words of a question that is compared by meaning."""
EXACT_PRODUCTS = 400_000_000
"""Pairs of row and item up to which all are compared; above, the lists around the nearest centroids."""
_PROBES, _LISTS_PER_ROOT, _POINTS_PER_LIST, _ROUNDS = 8, 4, 39, 6
_ROWS_PER_BLOCK = 1024
_NUMBER = re.compile(r"\d+")
_ASKING, _PLAIN, _HIDDEN = ROLE_CODE["user"], ROLE_CODE["text"], ROLE_CODE["tools"]


@dataclass(frozen=True)
class Alike:
    """Rows and items that ask the same in other words, in row order."""

    row_id: Int64  # (m,)
    item: Int64  # (m,)
    cosine: Float64  # (m,)
    notes: dict[str, Any]


def find(
    reader: SegmentReader, row_id: Int64, item_reader: SegmentReader, items: Items, encoder: embedding.Encoder,
    threads: int,
) -> Alike:  # fmt: skip
    """Compare what each row asks first with every question; row_id: all rows, ascending."""
    asked = embedding.encode(_asking(reader), row_id, encoder, "full", threads)
    numbers = np.arange(len(items), dtype=np.int64)
    questions = embedding.encode(_questions(item_reader, items), numbers, encoder, "full", threads)
    long_enough = questions.measured & (items.lengths()[::2] >= SHORTEST)
    known = np.flatnonzero(long_enough)
    rows = np.flatnonzero(asked.measured)
    notes = {
        "encoder": encoder.name,
        "questions_not_measured": int((~long_enough).sum()),
        "rows_not_measured": int((~asked.measured).sum()),
    }
    if not len(known) or not len(rows):
        nothing = np.zeros(0, np.int64)
        return Alike(nothing, nothing, np.zeros(0), notes)
    place, item, cosine = _nearest(asked, rows, questions, known, threads)
    agree = _agree(reader, row_id[place], item_reader, items, item, cosine)
    return Alike(row_id[place][agree], item[agree], cosine[agree], notes | {"looked_at": len(place)})


def _asking(reader: Iterable[SegmentBatch]) -> list[SegmentBatch]:
    """The batches with all but the first question (or the plain text) of each row hidden from the encoder."""
    return [
        replace(batch, role=np.where(_first_question(batch), _ASKING, _HIDDEN).astype(np.uint8)) for batch in reader
    ]


def _first_question(batch: SegmentBatch) -> Bool:
    """(s,) user segments before the row's first answer, and plain text."""
    if not len(batch):
        return np.zeros(0, np.bool_)
    starts = batch.row_starts()
    answers = batch.supervised & (batch.role != _PLAIN)
    before = np.cumsum(answers)
    at_row = np.repeat(before[starts[:-1]] - answers[starts[:-1]], np.diff(starts))
    first: Bool = ((batch.role == _ASKING) & (before == at_row)) | (batch.role == _PLAIN)
    return first


def _questions(reader: Iterable[SegmentBatch], items: Items) -> Iterator[SegmentBatch]:
    """The evaluation batches with items in place of rows, and all but the questions hidden from the encoder."""
    for batch in reader:
        inside = slice(batch.first, batch.first + len(batch))
        role = np.where(items.part[inside] == 0, _ASKING, _HIDDEN).astype(np.uint8)
        yield replace(batch, row_id=items.of_segment[inside], role=role)


def _nearest(
    asked: embedding.Embeddings, rows: Int64, questions: embedding.Embeddings, known: Int64, threads: int
) -> tuple[Int64, Int64, Float64]:
    """Pairs of a row's place and one of its NEAREST items, with a cosine of at least COSINE."""
    import faiss

    vectors = questions.vectors[known].astype(np.float32)
    vectors /= questions.norms()[known, None]
    lengths = asked.norms()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # blocks run side by side, and sums do not depend on the number of threads
    index: Any = faiss.IndexFlatIP(vectors.shape[1])
    if len(rows) * len(known) > EXACT_PRODUCTS:
        lists = int(_LISTS_PER_ROOT * len(known) ** 0.5)
        index = faiss.IndexIVFFlat(index, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid, index.nprobe = _ROUNDS, _POINTS_PER_LIST, _PROBES
        index.train(vectors)
    index.add(vectors)

    def work(first: int) -> tuple[Int64, Int64, Float64]:
        block = rows[first : first + _ROWS_PER_BLOCK]
        dots, near = index.search(asked.vectors[block].astype(np.float32), min(NEAREST, len(known)))
        cosine = np.minimum(dots / lengths[block, None], 1.0)
        row, at = np.nonzero((cosine >= COSINE) & (near >= 0))
        return block[row], known[near[row, at]], cosine[row, at].astype(np.float64)

    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(work, range(0, len(rows), _ROWS_PER_BLOCK)))
    faiss.omp_set_num_threads(before)
    place, item, cosine = (np.concatenate(part) for part in zip(*found, strict=True))
    return place, item, cosine


@dataclass(frozen=True)
class _Side:
    """What one text says: its distinct words, and its numbers."""

    words: UInt64
    numbers: frozenset[str]
    length: int


def _agree(
    reader: SegmentReader, row_id: Int64, item_reader: SegmentReader, items: Items, item: Int64, cosine: Float64
) -> npt.NDArray[np.bool_]:
    """(p,) whether the words and numbers of each pair agree as well."""
    rarity = _Rarity(items)
    rows = _sides(reader, row_id, None)
    kept = _sides(item_reader, item, items)
    out = np.zeros(len(row_id), np.bool_)
    for i, (row, question, near) in enumerate(zip(row_id.tolist(), item.tolist(), cosine.tolist(), strict=True)):
        a, b = rows.get(row), kept.get(question)
        if a is None or b is None:
            continue
        both = a.numbers | b.numbers
        numbers = len(a.numbers & b.numbers) / len(both) if both else 1.0
        shorter, longer = sorted((a.length, b.length))
        is_sum = len(b.numbers) >= FEWEST_NUMBERS and shorter >= FEWEST_WORDS
        if longer > LONGER * shorter:
            continue
        if numbers < (SHARED_NUMBERS if is_sum else PLAIN_NUMBERS) or (not is_sum and near < PLAIN_COSINE):
            continue
        out[i] = rarity.overlap(a.words, b.words) >= (SHARED_WORDS if is_sum else PLAIN_WORDS)
    return out


class _Rarity:
    """How much a word says: log((items + 1) / (items that hold it + .5)), over all questions."""

    def __init__(self, items: Items):
        owner = np.repeat(np.arange(2 * len(items)), items.lengths())
        asked = owner % 2 == 0
        pairs = np.stack((items.words[asked], owner[asked].astype(np.uint64)), axis=1)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs = pairs[order]
        new = np.ones(len(pairs), np.bool_)
        new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        self._words, held = np.unique(pairs[new, 0], return_counts=True)
        self._weights = np.log((len(items) + 1) / (held + 0.5))
        self._unknown = float(np.log(2 * (len(items) + 1)))

    def overlap(self, a: UInt64, b: UInt64) -> float:
        """Geometric mean of the shares of both texts' words, weighted by rarity, that are in the other."""
        shared = float(self._weigh(np.intersect1d(a, b, assume_unique=True)).sum())
        whole = float(self._weigh(a).sum() * self._weigh(b).sum())
        return shared / whole**0.5 if whole > 0 else 0.0

    def _weigh(self, words: UInt64) -> Float64:
        at = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        return np.where(self._words[at] == words, np.maximum(self._weights[at], 0.0), self._unknown)


def _sides(reader: SegmentReader, wanted: Int64, items: Items | None) -> dict[int, _Side]:
    """Words and numbers of what some rows ask first; of some items' questions where `items` is given."""
    out: dict[int, _Side] = {}
    chosen = np.unique(wanted)
    for batch in reader:
        if not len(batch):
            continue
        inside = slice(batch.first, batch.first + len(batch))
        owner = batch.row_id if items is None else items.of_segment[inside]
        asked = _first_question(batch) if items is None else items.part[inside] == 0
        places = np.flatnonzero(asked & np.isin(owner, chosen))
        if not len(places):
            continue
        part = batch.only(places)
        words, at = words_of(part)
        data, offsets = part.data.tobytes(), part.offsets
        groups = np.flatnonzero(np.diff(owner[places], prepend=-1))
        for first, last in zip(groups.tolist(), [*groups[1:].tolist(), len(places)], strict=True):
            text = data[offsets[first] : offsets[last]].decode("utf-8", "replace")
            mine = words[at[first] : at[last]]
            out[int(owner[places[first]])] = _Side(np.unique(mine), frozenset(_NUMBER.findall(text)), len(mine))
    return out
