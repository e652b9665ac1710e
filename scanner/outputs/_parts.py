"""What every output needs: the parts to write, where each goes, and files that appear whole or not at all."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, cast

from scanner.errors import OutputError
from scanner.mapped import steady
from scanner.objects import Edits, Source, Written
from scanner.writing import TEMPORARY, atomic


@dataclass(frozen=True)
class Part:
    """One source, its format plugin and what to change in it."""

    source: Source
    format: ModuleType
    edits: Edits


@dataclass(frozen=True)
class Output:
    """One source as it was written; the members of an archive share a path."""

    source: Source
    path: Path
    written: Written


def refuse_inputs(parts: Sequence[Part], paths: Sequence[Path]) -> None:
    """OutputError if a path that is to be written is one that is read."""
    inputs = {part.source.path.resolve() for part in parts}
    for path in paths:
        if path.resolve() in inputs:
            raise OutputError(
                f"{path} is the audited file itself; expected another name, so that the original stays; choose a "
                "different -o"
            )


def distinct_names(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """File names for several outputs in one folder; where two are equal, the parent folder's name is put before."""
    out: list[str] = []
    for path, name in zip(paths, names, strict=True):
        unique, parents = name, list(path.parent.parts)
        while unique in out and parents:
            unique = f"{parents.pop()}-{unique}".replace(os.sep, "")
        number = 2
        while unique in out:
            unique, number = f"{number}-{name}", number + 1
        out.append(unique)
    return out


@contextmanager
def new_file(path: Path, parts: Sequence[Part]) -> Iterator[IO[bytes]]:
    """An open file that appears as `path` only when it is complete, compressed as the name ends (.gz, .zst).

    It does not appear where a source of the parts changes meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, steady([part.source for part in parts]), ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(temporary.open("wb"))
        suffix = path.suffix.lower()
        if suffix in (".gz", ".gzip"):
            # No name and time inside, so that the same content gives the same bytes.
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)
            yield cast("IO[bytes]", stack.enter_context(packed))
        elif suffix in (".zst", ".zstd"):
            import zstandard

            yield stack.enter_context(zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False))
        else:
            yield file


@contextmanager
def new_folder(path: Path, parts: Sequence[Part]) -> Iterator[Path]:
    """A folder that appears as `path` only when it is complete; a folder that is there already is refused.

    It does not appear where a source of the parts changes meanwhile.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists and is not an empty folder; expected a new name; choose a different -o")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    temporary.mkdir()
    try:
        with steady([part.source for part in parts]):
            yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
