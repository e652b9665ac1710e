"""Where the files of an applied plan go, and whether they may and can: asked before any of them is written.

-o clean.jsonl    clean.jsonl, or with several inputs files in a folder of that name
                  clean.jsonl.removed.jsonl, clean.jsonl.manifest.json beside it
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from scanner import formats, outputs
from scanner.errors import OutputError
from scanner.objects import Edits, Source
from scanner.settings import Settings


@dataclass(frozen=True)
class Places:
    """Where an applied plan goes."""

    targets: list[Path]  # one for each source; the members of an archive share one
    removed: Path
    manifest: Path


def check(
    run_path: Path, sources: Sequence[Source], settings: Settings, out: Path, target: str | None = None
) -> Places:
    """Where everything goes; OutputError where it must not, or cannot. Reads no data, so an audit may ask first."""
    named = out if out.name not in ("", "..") else out.resolve()  # . and .. have names too
    if not named.name:
        raise OutputError(f"{out} has no name that its companions could be called after; choose a different -o")
    parts = [outputs.Part(source, formats.load(source.format), Edits()) for source in sources]
    targets = outputs.load(target or "original").targets(parts, named)
    removed, manifest = (named.with_name(named.name + end) for end in (".removed.jsonl", ".manifest.json"))
    may_be_folders = {t for t, part in zip(targets, parts, strict=True) if part.format.FOLDER and not target}
    _check_places(list(dict.fromkeys((*targets, removed, manifest))), may_be_folders, run_path, sources, settings)
    _check_name(named, sources, target)
    return Places(targets, removed, manifest)


def _check_places(
    paths: Sequence[Path],
    may_be_folders: Collection[Path],
    run_path: Path,
    sources: Sequence[Source],
    settings: Settings,
) -> None:
    """OutputError where a file would take the place of what the audit read or wrote, or cannot be written at all."""
    read = {source.path.resolve(): "is the audited file itself" for source in sources}
    read |= {Path(p).resolve(): "is evaluation data" for named in settings.evaluation for p in glob.glob(str(named))}
    # subtle: what an audit will write there is not there yet, and what is no file of it goes with the next --force
    read |= {folder.resolve(): "lies in the folder of a run" for folder in (run_path, *settings.against)}
    for path in paths:
        place = path.resolve()
        folder = next(above for above in place.parents if above.exists())
        if not folder.is_dir():
            raise OutputError(f"{path}: {folder} is a file, and a folder is expected there; choose a different -o")
        for taken in (place, *place.parents):
            if taken in read:
                raise OutputError(
                    f"{path} {read[taken]}; expected another name, so that the original stays; choose a different -o"
                )
        if path.is_dir() and path not in may_be_folders:
            raise OutputError(
                f"{path} is a folder, and a file of that name is to be written; move it away, or choose a different -o"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: there is no right to write in {folder}; ask for it, or choose a different -o")


def _check_name(out: Path, sources: Sequence[Source], target: str | None) -> None:
    """OutputError where one file would be called after another format than that of its content."""
    first = sources[0]
    content = target or first.format
    claimed = formats.called(out.name)
    if out.is_dir() or len({source.path for source in sources}) > 1 or not claimed:
        return
    if content in claimed or {content, *claimed} <= {"json", "jsonl"} or claimed == formats.called(first.path.name):
        return
    what = content if target else f"{content}, as the input is"
    cure = ", or --to jsonl" if "jsonl" in claimed and not target else ""
    raise OutputError(
        f"{out.name}: the name says {claimed[0]}, and what is written is {what}; choose another name{cure}"
    )
