"""The cleaned data set in its own format, schema and order: untouched rows come out as they went in.

Byte for byte in formats of text, value for value in Parquet, Arrow and Hugging Face folders. The members of an
archive go into one archive again, files in it that hold no data included. Compression follows the output's name.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from scanner.errors import OutputError
from scanner.outputs._parts import Output, Part, distinct_names, new_file, new_folder, refuse_inputs
from scanner.settings import Settings
from scanner.writing import Place

NAME = "original"
DESCRIPTION = "the input's own format and schema, untouched rows unchanged"


def targets(parts: Sequence[Part], out: Path) -> list[Path]:
    """Where each part goes; those of one input file go into one output file. OutputError where they do not fit."""
    groups: dict[Path, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.source.path, []).append(part)
    if len(groups) == 1 and not (out.is_dir() and not parts[0].format.FOLDER):
        found = [out]
    else:
        names = distinct_names(list(groups), [_file_name(group[0]) for group in groups.values()])
        found = [out / name for name in names]
    refuse_inputs(parts, found)
    for target, group in zip(found, groups.values(), strict=True):
        if group[0].format.FOLDER:
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise OutputError(
                    f"{target} exists and is not an empty folder; expected a new name; choose a different -o"
                )
        elif len(group) > 1 and target.suffix.lower() != ".zip":
            raise OutputError(
                f"{target.name}: the input is an archive of {len(group)} data files; expected a name that ends in "
                ".zip; choose a different -o"
            )
    by_file = dict(zip(groups, found, strict=True))
    return [by_file[part.source.path] for part in parts]


def write(parts: Sequence[Part], targets: Sequence[Path], settings: Settings, place: Place) -> list[Output]:
    """Write every part to its target."""
    groups: dict[Path, list[Part]] = {}
    for part, target in zip(parts, targets, strict=True):
        groups.setdefault(target, []).append(part)
    written: list[Output] = []
    for target, group in groups.items():
        written += _write_group(group, target, settings, place)
    return written


def _file_name(part: Part) -> str:
    return "stdin.jsonl" if part.source.name == "stdin" else part.source.path.name


def _write_group(group: list[Part], target: Path, settings: Settings, place: Place) -> list[Output]:
    first = group[0]
    if first.format.FOLDER:
        with new_folder(target, group, place) as folder:
            return [Output(p.source, target, p.format.write(p.source, settings, p.edits, folder)) for p in group]
    if target.suffix.lower() == ".zip":
        with new_file(target, group, place) as file:
            return _write_archive(group, target, file, settings)
    with new_file(target, group, place) as file:
        return [Output(first.source, target, first.format.write(first.source, settings, first.edits, file))]


def _write_archive(group: list[Part], target: Path, file: IO[bytes], settings: Settings) -> list[Output]:
    """A zip with the parts under their own names, and whatever else the input archive held."""
    written = []
    is_archive = group[0].source.compression == "zip"
    by_member = {p.source.member or Path(target.name).stem: p for p in group}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        names = list(by_member)
        if is_archive:
            with zipfile.ZipFile(group[0].source.path) as old:
                names = [info.filename for info in old.infolist()]
        for name in names:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o40700 << 16) if info.is_dir() else (0o600 << 16)
            if info.is_dir():
                archive.writestr(info, b"")
                continue
            with archive.open(info, "w", force_zip64=True) as sink:
                part = by_member.get(name)
                if part:
                    done = part.format.write(part.source, settings, part.edits, sink)
                    written.append(Output(part.source, target, done))
                else:
                    with zipfile.ZipFile(group[0].source.path) as old, old.open(name) as other:
                        shutil.copyfileobj(other, sink, 1 << 20)
    return written
