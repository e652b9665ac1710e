"""Files that are written whole or not at all, alone or several together: to a temporary name, then renamed."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

TEMPORARY = ".tmp-"
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")

Place = Callable[[Path], Path]
"""From the name of a file, or of a folder, to the temporary one beside it under which it is written."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it is renamed to `path`, on failure it is removed."""
    with together() as place:
        yield place(path)


@contextmanager
def together() -> Iterator[Place]:
    """Give temporary names for files that belong together: on success all are renamed, on failure none is.

    What was asked for first appears last: whoever sees that file finds the others beside it. Where not all can be
    renamed, those that were take their temporary names again, and what they replaced is put back.
    """
    new: dict[Path, Path] = {}
    old: dict[Path, Path] = {}

    def place(path: Path) -> Path:
        return new.setdefault(path, path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}"))

    try:
        yield place
        _rename(new, old)
    except (OSError, pl.exceptions.ComputeError) as error:
        number, name = getattr(error, "errno", None), getattr(error, "filename", None)
        if number is None and (told := _OS_ERROR.search(str(error))):  # polars tells it in words only
            number = int(told[1])
        known = {str(temporary): path for path, temporary in new.items()}.get(str(name))
        if name is None and number in _OF_WRITING and new:
            known = list(new)[-1]
        if number is None or known is None:
            raise
        raise OSError(number, os.strerror(number), str(known)) from None  # the name that the user knows
    finally:
        for left in (*new.values(), *old.values()):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            with suppress(OSError):  # where it could not even be made
                left.unlink()


def _rename(new: dict[Path, Path], old: dict[Path, Path]) -> None:
    """Put every temporary file in its place, or none; `old` is filled with where the files went that stood there."""
    try:
        for path, temporary in reversed(new.items()):
            if len(new) > 1 and (path.is_symlink() or path.is_file()):  # a folder there is never moved away
                old[path] = path.with_name(f"{TEMPORARY}{os.getpid()}-old-{path.name}")
                os.replace(path, old[path])
            os.replace(temporary, path)
    except BaseException:
        for path, temporary in new.items():
            if not os.path.lexists(temporary):
                os.replace(path, temporary)
            if path in old and os.path.lexists(old[path]):
                os.replace(old[path], path)
        raise


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
