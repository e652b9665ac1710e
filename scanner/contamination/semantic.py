"""Rows that ask an item's question in other words: embeddings propose, what is unusual and in common decides.

    encode -> neighbours.find -> shared -> paraphrases.probability

A static table puts any two sums about pizza close together. What tells a paraphrase is that the two stand out among
their neighbours, keep rare words and numbers, and are not alone: see paraphrases.py. A match is only ever for review.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scanner import embedding
from scanner.contamination import neighbours, paraphrases
from scanner.contamination.items import Items, words_of
from scanner.contamination.shared import Rarity, numbers_in_common, said
from scanner.decontaminating import file_of
from scanner.objects import ROLE_CODE, Bool, Float64, Int64, SegmentBatch
from scanner.store import SegmentReader

SHORTEST = 5
"""Words of a question that is compared by meaning."""
_ASKING, _PLAIN, _HIDDEN = ROLE_CODE["user"], ROLE_CODE["text"], ROLE_CODE["tools"]


@dataclass(frozen=True)
class Alike:
    """Rows and items that ask the same in other words, in row order."""

    row_id: Int64  # (m,)
    item: Int64  # (m,)
    cosine: Float64  # (m,)
    notes: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """Every candidate with what is known of it, (c,) each, and the part of its benchmark that each item is of."""

    place: Int64  # the row's, among all rows
    item: Int64
    cosine: Float64
    margin: Float64  # see neighbours.Candidates
    overlap: Float64  # of words, weighted by rarity, in [0, 1]
    numbers: Float64  # Jaccard similarity
    group: Int64  # (items,)
    notes: dict[str, Any]


def find(
    reader: SegmentReader, row_id: Int64, item_reader: SegmentReader, items: Items, encoder: embedding.Encoder,
    threads: int,
) -> Alike:  # fmt: skip
    """Compare what each row asks first with every question; row_id: all rows, ascending."""
    found = compare(reader, row_id, item_reader, items, encoder, threads)
    ratio = paraphrases.evidence(found.margin, found.overlap, found.numbers)
    believed, expected = paraphrases.probability(ratio, found.item, found.group)
    is_match = np.flatnonzero(believed >= paraphrases.MATCH)
    order = is_match[np.lexsort((found.item[is_match], found.place[is_match]))]
    notes = found.notes | {"looked_at": len(found.item), "expected_items": round(float(expected.sum()), 1)}
    return Alike(row_id[found.place[order]], found.item[order], found.cosine[order], notes)


def compare(
    reader: SegmentReader, row_id: Int64, item_reader: SegmentReader, items: Items, encoder: embedding.Encoder,
    threads: int,
) -> Compared:  # fmt: skip
    """The candidates and what speaks for each; row_id: all rows, ascending."""
    asking, questions = _asking(reader), list(_questions(item_reader, items))
    lines = list(_last_lines(questions))
    asked = embedding.encode(asking, row_id, encoder, "full", threads)
    views, notes = _views(questions, lines, items, encoder, threads)
    notes |= {"encoder": encoder.name, "rows_not_measured": int((~asked.measured).sum())}
    found = neighbours.find(asked, np.flatnonzero(asked.measured), views, threads)
    common = _in_common(asking, row_id[found.place], (questions, lines), found.item, Rarity(items))
    return Compared(found.place, found.item, found.cosine, found.margin, *common, _parts_of_benchmarks(items), notes)


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
    """The questions alone, with items in place of rows."""
    for batch in reader:
        inside = slice(batch.first, batch.first + len(batch))
        owner = items.of_segment[inside]
        places = np.flatnonzero(items.part[inside] == 0)
        if len(places):
            part = batch.only(places)
            yield replace(part, row_id=owner[places], role=np.full(len(places), _ASKING, np.uint8))


def _last_lines(questions: Iterable[SegmentBatch]) -> Iterator[SegmentBatch]:
    """What is asked after a passage: the last line of each question that has several, where it is long enough."""
    for batch in questions:
        ends = batch.row_starts()[1:] - 1
        text = batch.data.tobytes()
        lines, owners = [], []
        for end in ends.tolist():
            whole = text[batch.offsets[end] : batch.offsets[end + 1]].rstrip()
            line = whole[whole.rfind(b"\n") + 1 :].strip()
            several = len(line) < len(whole.lstrip()) or (end > 0 and batch.row_id[end - 1] == batch.row_id[end])
            if several:
                lines.append(line)
                owners.append(end)
        if not lines:
            continue
        offsets = np.concatenate(([0], np.cumsum([len(line) for line in lines]))).astype(np.int64)
        cut = replace(
            batch.only(np.array(owners, np.int64)), offsets=offsets, data=np.frombuffer(b"".join(lines), np.uint8)
        )
        long_enough = np.flatnonzero(np.diff(words_of(cut)[1]) >= SHORTEST)
        if len(long_enough):
            yield cut.only(long_enough)


def _views(
    questions: list[SegmentBatch], lines: list[SegmentBatch], items: Items, encoder: embedding.Encoder, threads: int
) -> tuple[neighbours.Views, dict[str, Any]]:
    """The items as vectors; items that are too short, or that the encoder cannot represent, have none."""
    whole = embedding.encode(questions, np.arange(len(items)), encoder, "full", threads)
    long_enough = whole.measured & (items.lengths()[::2] >= SHORTEST)
    known = np.flatnonzero(long_enough)
    of_line = np.concatenate([np.zeros(0, np.int64), *(batch.row_id for batch in lines)])
    last = embedding.encode(lines, of_line, encoder, "full", threads)
    usable = np.flatnonzero(last.measured & long_enough[of_line])
    vectors = np.concatenate((whole.vectors[known], last.vectors[usable])).astype(np.float32)
    vectors /= np.concatenate((whole.norms()[known], last.norms()[usable]))[:, None]
    view_of_whole = np.full(len(items), -1)
    view_of_whole[known] = np.arange(len(known))
    view_of_last = view_of_whole.copy()
    view_of_last[of_line[usable]] = len(known) + np.arange(len(usable))
    views = neighbours.Views(vectors, np.concatenate((known, of_line[usable])), whole=view_of_whole, last=view_of_last)
    return views, {"questions_not_measured": int((~long_enough).sum())}


def _in_common(
    asking: list[SegmentBatch], row_id: Int64, views: Iterable[list[SegmentBatch]], item: Int64, rarity: Rarity
) -> tuple[Float64, Float64]:
    """(c,) words weighted by rarity and numbers in common; with the whole question or its last line, what is more."""
    rows = said(_only(asking, row_id))
    texts = [said(_only(view, item)) for view in views]
    words, numbers = np.zeros((2, len(item)))
    for i, (row, question) in enumerate(zip(row_id.tolist(), item.tolist(), strict=True)):
        for view in texts:
            if question in view:
                words[i] = max(words[i], rarity.overlap(rows[row], view[question]))
                numbers[i] = max(numbers[i], numbers_in_common(rows[row], view[question]))
    return words, numbers


def _only(batches: Iterable[SegmentBatch], row_id: Int64) -> Iterator[SegmentBatch]:
    """What some rows, or items, ask."""
    for batch in batches:
        places = np.flatnonzero((batch.role == _ASKING) & np.isin(batch.row_id, row_id))
        if len(places):
            yield batch.only(places)


def _parts_of_benchmarks(items: Items) -> Int64:
    """(i,) the part of its benchmark that each item is of: each file of an archive by itself."""
    names = list(zip(items.benchmark.tolist(), map(file_of, items.item), strict=True))
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], np.int64)
