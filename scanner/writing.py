"""Files that are written whole or not at all: to a temporary name beside the final one, then renamed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

TEMPORARY = ".tmp-"
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


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
