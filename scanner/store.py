"""The run folder: Arrow and Parquet in and out, memory-mapped, written to a temporary name and renamed.

    RUN/                 mode 0700
      scan.json  rows.parquet  pairs.parquet  spans.parquet  prediction.parquet  plan.parquet  report.html ...
      index/             fixed-width signatures with their algorithm, parameters and version
      private/           the only place with raw text: segments.arrow, unread.arrow, skipped raw bytes

A temporary name begins with ".tmp-"; `RunFolder.open_for_writing` removes what a killed run left.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import polars as pl
import pyarrow as pa

from scanner.errors import RunError
from scanner.objects import ROLES, Int64, RowSegments, SegmentBatch

SCHEMA_VERSION = 5
ROWS_PER_BATCH = 16_384
"""Rows per record batch of segments.arrow; a batch also ends at BYTES_PER_BATCH."""
BYTES_PER_BATCH = 64 << 20
TEMPORARY = ".tmp-"
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")

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


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it is renamed to `path`, on failure it is removed."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, pl.exceptions.ComputeError) as error:
        number, name = getattr(error, "errno", None), getattr(error, "filename", None)
        if number is None and (told := _OS_ERROR.search(str(error))):  # polars tells it in words only
            number = int(told[1])
        is_ours = name == str(temporary) or (name is None and number in _OF_WRITING)
        if number is None or not is_ours:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None  # the name that the user knows
    finally:
        with suppress(OSError):  # where it could not even be made
            temporary.unlink()


def save_table(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file atomically."""
    with atomic(path) as temporary:
        frame.write_parquet(temporary, compression="zstd", compression_level=3)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table atomically where the user wants it: as CSV under a name that ends so, else as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        table.write_csv(temporary) if path.suffix == ".csv" else table.write_parquet(temporary)


def pointer(path: tuple[str | int, ...]) -> str:
    """A path as JSON pointer (RFC 6901): ("turns", 3, "a/b") -> "/turns/3/a~1b"."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """RunError where a file of a run cannot be read; what its reader says may hold text, so it is not repeated."""
    try:
        yield
    except FileNotFoundError:
        raise RunError(f"{path} is missing; copy the run folder again, or audit again with --force") from None
    except (ValueError, EOFError, BadZipFile, pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise RunError(
            f"{path} is damaged or cut short ({type(error).__name__}); copy the run folder again, or audit again with "
            "--force"
        ) from None


class RunFolder:
    """One run on disk. Reading never creates anything."""

    def __init__(self, path: Path):
        self.path = path
        self._opened: dict[Path, tuple[tuple[int, int], SegmentReader]] = {}
        self._claimed: int | None = None  # descriptor of the locked file

    def __del__(self) -> None:
        if self._claimed is not None:
            os.close(self._claimed)

    @classmethod
    def open_for_writing(cls, path: Path) -> RunFolder:
        """Create the folder (0700) or take over an existing one, and remove what a killed run left half-written."""
        path.mkdir(parents=True, exist_ok=True)
        os.chmod(path, 0o700)
        run = cls(path)
        run.private.mkdir(exist_ok=True, mode=0o700)
        run.claim()
        for leftover in list(path.rglob(f"{TEMPORARY}*")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        run.index.mkdir(exist_ok=True)
        return run

    @classmethod
    def open_finished(cls, path: Path) -> RunFolder:
        """An existing, finished run; anything else is refused with what is missing."""
        if not path.is_dir():
            raise RunError(f"{path} is not a run folder: there is no such folder; create one with `scan DATASET`")
        if not (path / "scan.json").exists():
            raise RunError(f"{path} holds no finished run: scan.json is missing; run `scan DATASET` again to finish it")
        run = cls(path)
        schema = run.read_json("scan.json").get("schema_version")
        if schema != SCHEMA_VERSION:
            raise RunError(
                f"{path} was audited by a version whose tables have other columns (schema {schema}, now "
                f"{SCHEMA_VERSION}); audit the data again"
            )
        return run

    def claim(self) -> None:
        """Keep other processes from writing here as long as this object lives; RunError where one is at it already."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        lock = os.open(self.private / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, (BlockingIOError, PermissionError)):
                raise RunError(
                    f"{self.path} is being written by another process; wait until it is done, or choose another "
                    "folder with --out"
                ) from None
            return  # a file system without locks
        self._claimed = lock

    @property
    def private(self) -> Path:
        return self.path / "private"

    @property
    def index(self) -> Path:
        return self.path / "index"

    @property
    def segments_path(self) -> Path:
        return self.private / "segments.arrow"

    @property
    def unread_path(self) -> Path:
        return self.private / "unread.arrow"

    def write_table(self, name: str, frame: pl.DataFrame) -> None:
        """Write RUN/<name>.parquet."""
        save_table(self.path / f"{name}.parquet", frame)

    def read_table(self, name: str, columns: list[str] | None = None) -> pl.DataFrame:
        """Read RUN/<name>.parquet."""
        path = self.path / f"{name}.parquet"
        if not path.exists():
            raise RunError(f"{self.path} has no {path.name}; run the audit again with `scan DATASET --force`")
        with readable(path):
            return pl.read_parquet(path, columns=columns, glob=False)  # a folder may be called [draft]

    def has_table(self, name: str) -> bool:
        return (self.path / f"{name}.parquet").exists()

    def write_json(self, name: str, values: Any) -> None:
        """Write RUN/<name> as indented JSON; NaN becomes null."""
        text = json.dumps(_plain(values), indent=1, ensure_ascii=False, allow_nan=False)
        write_bytes(self.path / name, text.encode("utf-8", "replace") + b"\n")

    def read_json(self, name: str) -> Any:
        path = self.path / name
        with readable(path):
            return json.loads(path.read_text("utf-8"))

    def write_array(self, name: str, array: np.ndarray) -> None:
        """Write RUN/index/<name>.npy."""
        with atomic(self.index / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array)

    def read_array(self, name: str) -> np.ndarray:
        """RUN/index/<name>.npy, memory-mapped read-only."""
        path = self.index / f"{name}.npy"
        with readable(path):
            array: np.ndarray = np.load(path, mmap_mode="r")
            return array

    def segments(self) -> SegmentReader:
        """The audited text, memory-mapped."""
        return self._reader(self.segments_path)

    def unread(self) -> SegmentReader:
        """What stands in fields that no trainer reads, as segments without turns; see `scanner.unread`."""
        return self._reader(self.unread_path)

    def _reader(self, path: Path) -> SegmentReader:
        if not path.exists():
            raise RunError(f"{self.path} no longer holds the text (it was purged); audit the data set again")
        state = path.stat()
        file = state.st_ino, state.st_mtime_ns
        if path not in self._opened or self._opened[path][0] != file:
            with readable(path):
                self._opened[path] = file, SegmentReader(path)
        return self._opened[path][1]


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
            counts = last - first
            if counts.any():
                index = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
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


def roles_array(codes: np.ndarray) -> pa.DictionaryArray:
    """Role codes as the dictionary column of SEGMENT_SCHEMA; the same dictionary in every batch."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.view(np.int8)), pa.array(list(ROLES)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (np.bool_, bool)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (np.floating, float)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
