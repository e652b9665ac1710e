"""What rows ask first and what items ask, as segments, and what two such questions have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from scanner.contamination.items import Items, words_of
from scanner.contamination.shared import Rarity, numbers_in_common, said
from scanner.objects import ROLE_CODE, Bool, Float64, Int64, SegmentBatch

SHORTEST = 5
"""Words of a question that is compared by meaning."""
_ASKING, _PLAIN, _HIDDEN = ROLE_CODE["user"], ROLE_CODE["text"], ROLE_CODE["tools"]


@dataclass(frozen=True)
class Asked:
    """Batches of segments: of rows, and of items, whose numbers then stand in place of row ids."""

    rows: list[SegmentBatch]  # see `_first`
    items: list[SegmentBatch]
    last_lines: list[SegmentBatch]  # of items whose question has several lines

    def only(self, row_id: Int64, item: Int64) -> Asked:
        """What some rows and some items ask."""
        return Asked(*(list(_only(part, ids)) for part, ids in (
            (self.rows, row_id), (self.items, item), (self.last_lines, item)
        )))  # fmt: skip

    def in_common(self, row_id: Int64, item: Int64, rarity: Rarity) -> tuple[Float64, Float64]:
        """(c,) words weighted by rarity and numbers; with the whole question or its last line, what is more."""
        here = self.only(row_id, item)
        rows, texts = said(here.rows), [said(here.items), said(here.last_lines)]
        words, numbers = np.zeros((2, len(item)))
        for i, (row, question) in enumerate(zip(row_id.tolist(), item.tolist(), strict=True)):
            for view in texts:
                if question in view:
                    words[i] = max(words[i], rarity.overlap(rows[row], view[question]))
                    numbers[i] = max(numbers[i], numbers_in_common(rows[row], view[question]))
        return words, numbers


def read(reader: Iterable[SegmentBatch], item_reader: Iterable[SegmentBatch], items: Items) -> Asked:
    """What the rows of `reader` ask first (or their plain text), and what the items ask."""
    rows = [
        replace(batch, role=np.where(_first_question(batch), _ASKING, _HIDDEN).astype(np.uint8)) for batch in reader
    ]
    questions = list(_questions(item_reader, items))
    return Asked(rows, questions, list(_last_lines(questions)))


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


def _only(batches: Iterable[SegmentBatch], row_id: Int64) -> Iterator[SegmentBatch]:
    """What some rows, or items, ask."""
    for batch in batches:
        places = np.flatnonzero((batch.role == _ASKING) & np.isin(batch.row_id, row_id))
        if len(places):
            yield batch.only(places)
