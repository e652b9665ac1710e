"""The text of a run on disk: segments as an Arrow file, appended batch by batch, read memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from scanner.objects import ROLE_CODE, ROLES, Int64, SegmentBatch
from scanner.ranges import laid_out
from scanner.rowsegments import RowSegments
from scanner.writing import atomic

ROWS_PER_BATCH = 16_384
"""Rows per record batch of segments.arrow; a batch also ends at BYTES_PER_BATCH."""
BYTES_PER_BATCH = 64 << 20
ROLE_TYPE = pa.dictionary(pa.int8(), pa.string())
SEGMENT_SCHEMA = pa.schema(
    [
        ("row_id", pa.int64()),
        ("segment", pa.int32()),
        ("turn", pa.int32()),
        ("role", ROLE_TYPE),
        ("field_path", pa.string()),  # JSON pointer (RFC 6901) from the record's root
        ("supervised", pa.bool_()),
        ("text", pa.large_string()),
    ]
)


class SegmentWriter:
    """Appends record batches to a segments file, which appears under its final name only when complete."""

    def __init__(self, path: Path):
        self._context = atomic(path)
        self._temporary = self._context.__enter__()
        self._file = pa.OSFile(str(self._temporary), "wb")
        self._writer = pa.ipc.new_file(self._file, SEGMENT_SCHEMA)

    def append(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *problem: Any) -> None:
        try:
            with self._file:
                self._writer.close()
        except OSError as error:  # where the disk is full, closing fails as writing did
            self._context.__exit__(type(error), error, error.__traceback__)
            raise
        self._context.__exit__(*problem)


class TextReader(Protocol):
    """The text of all rows, wherever it stands: `SegmentReader`, or `inplace.TextInPlace`."""

    def __iter__(self) -> Iterator[SegmentBatch]: ...

    def segments_of(self, positions: Int64) -> RowSegments: ...

    def rows(self, row_ids: list[int], columns: list[str]) -> pl.DataFrame: ...


class HasText(Protocol):
    """What has the text of all rows: a `RunFolder`, or `inplace.TextInPlace`."""

    def segments(self) -> TextReader: ...


class SegmentReader:
    """Memory-mapped segments; every batch holds whole rows."""

    def __init__(self, path: Path):
        self._map = pa.memory_map(str(path), "r")
        self._whole = np.frombuffer(self._map.read_buffer(self._map.size()), np.uint8)
        self._map.seek(0)
        self._reader = pa.ipc.open_file(self._map)
        self.batches = self._reader.num_record_batches
        self._seen: list[SegmentBatch] = []  # views, which cost little to keep and some time to make
        self._lock = Lock()

    def __iter__(self) -> Iterator[SegmentBatch]:
        for i in range(self.batches):
            with self._lock:
                if i == len(self._seen):
                    first = self._seen[-1].first + len(self._seen[-1]) if i else 0
                    self._seen.append(views(self._reader.get_batch(i), first))
            yield self._seen[i]

    def segments_of(self, positions: Int64) -> RowSegments:
        """The segments of the rows at these positions (ascending)."""
        from scanner.kernels.sorting import take_segments

        positions = np.asarray(positions, np.int64)
        found, sizes = [], [np.zeros(1, np.int64)]
        first = 0
        for batch in self:
            starts = batch.row_starts() if len(batch) else np.zeros(1, np.int64)
            here = positions[slice(*np.searchsorted(positions, (first, first + len(starts) - 1)))] - first
            first += len(starts) - 1
            if len(here):
                found.append((batch, here, starts))
                sizes.append(starts[here + 1] - starts[here])
        row_start = np.concatenate(sizes).cumsum()
        begin, end, *others = (
            np.empty(row_start[-1], kind) for kind in (np.int64, np.int64, np.int32, np.uint8, np.bool_)
        )
        at = 0
        for batch, here, starts in found:
            shift = batch.data.ctypes.data - self._whole.ctypes.data if len(batch.data) else 0
            at = take_segments(
                here, starts, batch.offsets, batch.segment, batch.role, batch.supervised, shift, at, begin, end, *others
            )
        return RowSegments(self._whole, begin, end, row_start, *others)

    def text_frames(self) -> Iterator[pl.DataFrame]:
        """One polars frame (row_id, segment, role, field_path, text) per record batch; the text is not copied."""
        for i in range(self.batches):
            frame = pl.from_arrow(self._reader.get_batch(i).select(["row_id", "segment", "role", "field_path", "text"]))
            assert isinstance(frame, pl.DataFrame)
            yield frame

    def frame(self, columns: list[str] | None = None) -> pl.DataFrame:
        """All segments as one polars frame (columns of SEGMENT_SCHEMA)."""
        table = self._reader.read_all()
        frame = pl.from_arrow(table.select(columns) if columns else table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def rows(self, row_ids: list[int], columns: list[str] | None = None) -> pl.DataFrame:
        """The segments of some rows; batches that hold none of them are not decoded."""
        wanted = np.unique(np.asarray(row_ids, dtype=np.int64))
        found = []
        for i in range(self.batches):
            batch = self._reader.get_batch(i)
            ids = batch.column("row_id").to_numpy()
            if not len(ids):
                continue
            inside = wanted[slice(*np.searchsorted(wanted, (ids[0], ids[-1] + 1)))]
            first, last = np.searchsorted(ids, inside, "left"), np.searchsorted(ids, inside, "right")
            index = laid_out(first, last)
            if len(index):
                part = pl.from_arrow((batch.select(columns) if columns else batch).take(pa.array(index)))
                assert isinstance(part, pl.DataFrame)
                found.append(part)
        if found:
            return pl.concat(found)
        empty = pl.from_arrow(SEGMENT_SCHEMA.empty_table())
        assert isinstance(empty, pl.DataFrame)
        return empty.select(columns) if columns else empty


def views(batch: pa.RecordBatch, first: int = 0) -> SegmentBatch:
    """A record batch as numpy views; only `supervised` (bit-packed in Arrow) is copied."""
    text = batch.column("text")
    _, offsets, data = text.buffers()
    n = len(text)
    # subtle: a batch read from a file starts at offset 0, but a slice would not
    at = np.frombuffer(offsets, np.int64, n + 1, text.offset * 8) if n else np.zeros(1, np.int64)
    return SegmentBatch(
        row_id=batch.column("row_id").to_numpy(),
        segment=batch.column("segment").to_numpy(),
        turn=batch.column("turn").to_numpy(),
        role=batch.column("role").indices.to_numpy().view(np.uint8),
        supervised=batch.column("supervised").to_numpy(zero_copy_only=False),
        offsets=at,
        data=np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8),
        first=first,
    )


def with_texts(segments: pl.DataFrame, texts: Mapping[tuple[int, str], str]) -> SegmentBatch:
    """Segments of whole rows (SEGMENT_SCHEMA), some with another text: by row_id and field_path."""
    ordered = segments.sort("row_id", "segment")
    old = ordered.select("row_id", "field_path", "text").iter_rows()
    new = [texts.get((row, path), text).encode() for row, path, text in old]
    return SegmentBatch(
        row_id=ordered["row_id"].to_numpy(),
        segment=ordered["segment"].to_numpy(),
        turn=ordered["turn"].to_numpy(),
        role=np.array([ROLE_CODE[role] for role in ordered["role"].cast(pl.String)], np.uint8),
        supervised=ordered["supervised"].to_numpy(),
        offsets=np.concatenate(([0], np.cumsum([len(text) for text in new]))).astype(np.int64),
        data=np.frombuffer(b"".join(new), np.uint8),
    )


def roles_array(codes: np.ndarray) -> pa.DictionaryArray:
    """Role codes as the dictionary column of SEGMENT_SCHEMA; the same dictionary in every batch."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.view(np.int8)), pa.array(list(ROLES)))
