"""What every output needs: the parts to write, where each goes, and the new files, packed as their names say."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, cast

from scanner.errors import OutputError
from scanner.mapped import steady
from scanner.objects import Edits, Source, Written
from scanner.writing import Place


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
def new_file(path: Path, parts: Sequence[Part], place: Place) -> Iterator[IO[bytes]]:
    """An open file that is to appear as `path`, compressed as that name ends (.gz, .zst).

    InputError where a source of the parts changes meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with steady([part.source for part in parts]), ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(place(path).open("wb"))
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
def new_folder(path: Path, parts: Sequence[Part], place: Place) -> Iterator[Path]:
    """A folder that is to appear as `path`; InputError where a source of the parts changes meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = place(path)
    temporary.mkdir()
    with steady([part.source for part in parts]):
        yield temporary
