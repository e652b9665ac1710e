"""The run folder: Arrow and Parquet in and out, memory-mapped, written to a temporary name and renamed.

    RUN/                 mode 0700
      scan.json  rows.parquet  pairs.parquet  spans.parquet  prediction.parquet  plan.parquet  report.html ...
      index/             fixed-width signatures with their algorithm, parameters and version
      private/           the only place with raw text: segments.arrow, unread.arrow, skipped raw bytes

A temporary name begins with ".tmp-"; `RunFolder.open_for_writing` removes what a killed run left.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import polars as pl
import pyarrow as pa

from scanner.errors import RunError
from scanner.storedtext import SegmentReader
from scanner.writing import TEMPORARY, atomic, save_table, write_bytes

SCHEMA_VERSION = 6


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
        if (called := os.fsencode(path).decode("utf-8", "backslashreplace")) != str(path):
            raise RunError(f"{called}: the name is not UTF-8, which Arrow does not open; choose another with --out")
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
            seen = "it is a file" if path.exists() else "there is no such folder"
            raise RunError(f"{path} is not a run folder: {seen}; create one with `scan DATASET`")
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
                    f"{self.path} is being written by another process; wait until it is done, or work in "
                    "another folder (an audit: --out; else a copy of this one)"
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

    def read_table(self, name: str, columns: list[str] | None = None, where: pl.Expr | None = None) -> pl.DataFrame:
        """Read RUN/<name>.parquet; of a long table whose lines are wanted `where` something holds only these."""
        path = self.path / f"{name}.parquet"
        if not path.exists():
            raise RunError(f"{self.path} has no {path.name}; run the audit again with `scan DATASET --force`")
        with readable(path):  # glob: a folder may be called [draft]
            if where is None:
                return pl.read_parquet(path, columns=columns, glob=False)
            wanted = pl.scan_parquet(path, glob=False).filter(where)
            return wanted.select(columns or pl.all()).collect(engine="streaming")

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
        array = np.ascontiguousarray(array)
        with atomic(self.index / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)  # np.save would not say why a disk took only a part of it

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
