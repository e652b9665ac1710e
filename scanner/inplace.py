"""The text of all rows where nothing is stored: read from the input again whenever some of it is wanted.

Duplicates are found by fingerprints; the text itself is looked at for a few rows only. Where nobody asks for the text
later, writing it down takes longer than reading those rows once more. Only what the fast reader cannot read is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from scanner import flatreading
from scanner.fingerprints import Fingerprinter
from scanner.growing import Place
from scanner.objects import ROLES, Int64, Records, SegmentBatch, UInt8, UInt64
from scanner.rowsegments import RowSegments
from scanner.storedtext import views

STEP_BYTES = 1 << 15
"""Bytes of records read before they are fingerprinted, where the text is not kept: it stays in a core's cache."""


@dataclass(frozen=True)
class Again:
    """Records that the fast reader can read, where they stand in the input."""

    buffer: UInt8
    row_id: Int64  # (n,)
    start: Int64
    end: Int64
    shape: flatreading.FlatShape

    def decoded(self) -> SegmentBatch:
        """Their segments, in memory of their own."""
        room = flatreading.Room()
        return flatreading.decode(self.buffer, self.row_id, self.start, self.end, self.shape, room).batch()

    def take(self, which: Int64) -> Again:
        """Some of them."""
        return Again(self.buffer, self.row_id[which], self.start[which], self.end[which], self.shape)

    def goes_on_in(self, other: Again) -> bool:
        """Whether both can be read in one go."""
        return self.buffer is other.buffer and self.shape == other.shape


def joined(parts: list[Again]) -> Again:
    """Parts that can be read in one go, as one."""
    if len(parts) == 1:
        return parts[0]
    row_id, start, end = (np.concatenate([getattr(p, name) for p in parts]) for name in ("row_id", "start", "end"))
    return Again(parts[0].buffer, row_id, start, end, parts[0].shape)


def fingerprint(
    records: Records, shape: flatreading.FlatShape, digest: UInt64, printer: Fingerprinter, place: Place
) -> Again | None:
    """Fingerprint a piece without keeping its text; None where a record needs the parser.

    digest (n, 2): filled.
    """
    assert records.buffer is not None
    start, end = records.start, records.end
    if int((end - start).max(initial=0)) > flatreading.LONGEST_FAST_RECORD:
        return None
    fields = records.buffer, start, end, *shape.tables, *shape.canonical
    read = printer.fill_flat(place, fields, *shape.roles, STEP_BYTES, digest)
    return Again(records.buffer, records.row_id, start, end, shape) if read == len(records) else None


class TextInPlace:
    """Pieces of the input in the order of their rows; asked like a `SegmentReader`, and like a run for its text."""

    def __init__(self) -> None:
        self._pieces: list[Again | SegmentBatch] = []
        self._ends = [0]  # rows up to the end of each piece

    def append(self, piece: Again | pa.RecordBatch) -> None:
        """The next rows; the memory of a record batch must stay as it is."""
        kept = piece if isinstance(piece, Again) else views(piece)
        self._pieces.append(kept)
        self._ends.append(self._ends[-1] + len(_row_ids(kept)))

    def segments(self) -> TextInPlace:
        """The text, as a run folder gives it."""
        return self

    def __iter__(self) -> Iterator[SegmentBatch]:
        for piece in self._pieces:
            yield piece.decoded() if isinstance(piece, Again) else piece

    def segments_of(self, positions: Int64) -> RowSegments:
        """The segments of the rows at these positions (ascending)."""
        found = self._read(np.asarray(positions, np.int64)) or [_NOTHING]
        starts, shift, at = [np.zeros(1, np.int64)], 0, 0
        begin, end = [], []
        for batch in found:
            starts.append(batch.row_starts()[1:] + at)
            begin.append(batch.offsets[:-1] + shift)
            end.append(batch.offsets[1:] + shift)
            shift, at = shift + len(batch.data), at + len(batch)
        columns = [[getattr(batch, name) for batch in found] for name in ("segment", "role", "supervised")]
        return RowSegments(
            _one([batch.data for batch in found]), _one(begin), _one(end), np.concatenate(starts), *map(_one, columns)
        )

    def _read(self, positions: Int64) -> list[SegmentBatch]:
        """The rows at these positions, in batches."""
        found: list[SegmentBatch] = []
        waiting: list[Again] = []
        edges = np.searchsorted(positions, self._ends).tolist()
        for piece, first, a, b in zip(self._pieces, self._ends, edges[:-1], edges[1:], strict=False):
            if a == b:
                continue
            here = positions[a:b] - first
            if waiting and not (isinstance(piece, Again) and waiting[0].goes_on_in(piece)):
                found.append(joined(waiting).decoded())
                waiting = []
            if isinstance(piece, Again):
                waiting.append(piece.take(here))
            else:
                found.append(_rows_of(piece, here))
        if waiting:
            found.append(joined(waiting).decoded())
        return found

    def rows(self, row_ids: list[int], columns: list[str]) -> pl.DataFrame:
        """row_id, role and text of the segments of some rows, or some of these columns."""
        known = np.concatenate([_row_ids(piece) for piece in self._pieces])
        positions = np.flatnonzero(np.isin(known, row_ids))
        some = self.segments_of(positions)
        text = some.data.data
        return pl.DataFrame(
            {
                "row_id": np.repeat(known[positions], np.diff(some.row_start)),
                "role": [ROLES[code] for code in some.role.tolist()],
                "text": [str(text[a:b], "utf-8") for a, b in zip(some.begin.tolist(), some.end.tolist(), strict=True)],
            },
            schema={"row_id": pl.Int64, "role": pl.String, "text": pl.String},
        ).select(columns)


_NOTHING = SegmentBatch(
    np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.bool_),
    np.zeros(1, np.int64), np.zeros(0, np.uint8), starts=np.zeros(1, np.int64),
)  # fmt: skip


def _row_ids(piece: Again | SegmentBatch) -> Int64:
    return piece.row_id if isinstance(piece, Again) else piece.row_id[piece.row_starts()[:-1]]


def _rows_of(batch: SegmentBatch, which: Int64) -> SegmentBatch:
    """Some rows of a batch, their text copied."""
    starts = batch.row_starts()
    counts = np.diff(starts)[which]
    ends = np.cumsum(counts)
    return batch.only(np.repeat(starts[which] - ends + counts, counts) + np.arange(int(counts.sum())))


def _one(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
