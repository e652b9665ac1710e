"""Rows that hold the words of an item: candidates by runs in common, decided on the words themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scanner import running
from scanner.contamination.items import Index, Items, words_of
from scanner.kernels import commonruns, ngrams
from scanner.objects import ROLE_CODE, Int64, SegmentBatch, UInt8
from scanner.storedtext import SegmentReader
from scanner.text import code_point_classes, folded_code_points

SIDE_OF_ROLE = np.full(len(ROLE_CODE), ngrams.ASKED, np.uint8)
for _role, _side in (("assistant", ngrams.SAID), ("rejected", ngrams.SAID), ("text", ngrams.PLAIN)):
    SIDE_OF_ROLE[ROLE_CODE[_role]] = _side
SIDE_OF_ROLE[ROLE_CODE["tools"]] = ngrams.UNSEARCHED


@dataclass(frozen=True)
class Compared:
    """Pairs of a row and a text of the benchmarks with what they have in common, in order of row and text."""

    row_id: Int64  # (p,)
    text: Int64  # (p,)
    flags: UInt8  # (p,) commonruns.EQUAL, commonruns.WITHIN
    marks: UInt8  # per pair, one per word of its text: commonruns.SHINGLE_FOUND, commonruns.GRAM_FOUND
    marks_at: Int64  # (p + 1,)

    def __len__(self) -> int:
        return len(self.row_id)


def propose(
    reader: SegmentReader,
    index: Index,
    threads: int,
    advance: Callable[[int], None] = lambda rows: None,
    room: int = 1 << 14,
) -> tuple[Int64, Int64]:
    """(p,) row ids and (p,) texts that share enough runs, or are equal; one pass over all the text.

    room: pairs of a batch that memory is taken for at first.
    """
    classes, fold = code_point_classes(), folded_code_points()
    own = threading.local()

    def work(batch: SegmentBatch) -> tuple[Int64, Int64, int]:
        if not hasattr(own, "last_row"):
            own.last_row = np.full(index.entries, -1, np.int64)
            own.shared, own.touched = np.zeros((2, len(index.need)), np.int32)
        starts = batch.row_starts()
        row_id, side, made = batch.row_id[starts[:-1]], SIDE_OF_ROLE[batch.role], np.zeros(1, np.int64)
        rows, texts = np.empty((2, room), np.int64)
        begin = 0
        while begin < len(row_id):
            begin = ngrams.probe(
                begin, batch.data, batch.offsets, starts, row_id, batch.turn, batch.role, side, classes, fold,
                index.bits, index.keys, index.entry, index.post_at, index.post, index.need, own.last_row, own.shared,
                own.touched, rows, texts, made,
            )  # fmt: skip
            if begin < len(row_id):
                own.last_row.fill(-1)
                rows, texts = (np.concatenate((part, np.empty_like(part))) for part in (rows, texts))
        return rows[: made[0]].copy(), texts[: made[0]].copy(), len(row_id)

    found: list[tuple[Int64, Int64]] = []
    for rows, texts, count in running.in_order(work, (batch for batch in reader if len(batch)), threads):
        found.append((rows, texts))
        advance(count)
    empty = np.zeros(0, np.int64)
    return np.concatenate([empty, *(r for r, _ in found)]), np.concatenate([empty, *(t for _, t in found)])


def compare(reader: SegmentReader, items: Items, row_id: Int64, text: Int64) -> Compared:
    """What each proposed pair has in common; the rows' text is read again, and only theirs."""
    lengths = np.minimum(items.lengths()[text], commonruns.LONGEST)
    marks_at = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    flags, marks = np.zeros(len(text), np.uint8), np.zeros(int(marks_at[-1]), np.uint8)
    for batch in reader:
        if not len(batch):
            continue
        low, high = np.searchsorted(row_id, (batch.row_id[0], batch.row_id[-1] + 1))
        if low == high:
            continue
        some = batch.only(np.flatnonzero(np.isin(batch.row_id, np.unique(row_id[low:high]))))
        row_words, segment_at = words_of(some)
        starts = some.row_starts()
        group = (some.turn.astype(np.int64) << 8) | some.role
        place = np.searchsorted(some.row_id[starts[:-1]], row_id[low:high])
        commonruns.compare(
            row_words, segment_at, starts, group, SIDE_OF_ROLE[some.role], place, text[low:high], items.words,
            items.text_at, items.letter, marks_at[low : high + 1] - marks_at[low], flags[low:high],
            marks[marks_at[low] : marks_at[high]],
        )  # fmt: skip
    return Compared(row_id, text, flags, marks, marks_at)
