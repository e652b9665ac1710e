"""Files to records and back: what the user names becomes sources, a source becomes runs of records.

Every file of this folder offers NAME, DESCRIPTION, EXTENSIONS, FOLDER, `sniff(path, first, extension) -> float`,
`read(source, settings, first_row) -> Iterator[Records]` and `write(source, settings, edits, sink) -> Written`, where
`sink` is an open binary file, or the path of a new folder where FOLDER is True.
"""

from __future__ import annotations

import functools
import glob
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import IO, NamedTuple

from scanner import plugins
from scanner.errors import EmptyError, FormatError, InputError, ScanError
from scanner.formats import _files
from scanner.mapped import steady
from scanner.objects import Records, Source
from scanner.settings import Settings
from scanner.shownnames import shown

PACKAGE = "scanner.formats"
_LEAST_SURE = 0.2
_SMALL_BYTES = 1 << 16  # on disk: a table without rows still has its schema
_METADATA = {
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "package.json",
    "manifest.json",
}  # fmt: skip
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_OWN_OUTPUT = (".removed.jsonl", ".manifest.json")
UNKNOWN = "of a kind that is not read"
_PAPERS = ("readme", "license", "licence", "copying", "notice", "changelog")


class LeftOut(NamedTuple):
    """A file that was found and is not read."""

    name: str
    why: str


class Found(NamedTuple):
    """What lies where the user pointed."""

    sources: list[Source]
    left_out: tuple[LeftOut, ...]


def load(name: str) -> ModuleType:
    """The format of that name."""
    return plugins.load(PACKAGE, name)


def discover(arguments: list[str], stdin: Path | None = None) -> list[Source]:
    """The sources that the arguments name; see `survey`."""
    return survey(arguments, stdin).sources


def survey(arguments: list[str], stdin: Path | None = None) -> Found:
    """The sources that the arguments name, in their order, each once; files of a folder or pattern sorted by name.

    An argument is a file, a folder, a pattern or "-", which stands for the file `stdin` (see `spool_stdin`). Files
    without a record are left out where others hold some, as empty shards do. Raises InputError where nothing is
    found, FormatError where a format is unknown.
    """
    found: list[Source] = []
    left: list[LeftOut] = []
    for argument in arguments:
        if argument == "-":
            if stdin is None:
                raise InputError("'-' stands for the standard input, which was not given; name a file instead")
            found += [replace(s, name="stdin") for s in _sources_of_file(stdin, left, is_named=True)]
            continue
        path = Path(argument)
        if path.exists():
            found += _sources_of(path, left)
            continue
        matches = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) else []
        if not matches:
            raise InputError(
                f"{argument}: there is no such file or folder; expected a data file, a folder, a pattern such as "
                "'data/*.jsonl', or '-' for the standard input"
            )
        found += [source for match in matches for source in _sources_of(Path(match), left, is_named=False)]
    if not found:
        raise InputError(f"no data files in {', '.join(arguments)}; expected files ending in {', '.join(_known())}")
    once: dict[tuple[Path, str], Source] = {}
    for source in found:
        once.setdefault((source.path.resolve(), source.member), source)
    sources = _with_records(list(once.values()), left)
    names = shown(name for name, _ in left)
    return Found(sources, tuple(LeftOut(name, why) for name, (_, why) in zip(names, left, strict=True)))


def _with_records(sources: list[Source], left: list[LeftOut]) -> list[Source]:
    """The sources under their names, but for small ones without a record; EmptyError where that is all of them."""
    named = _with_names(sources)
    empty = {source.index: error for source in named if len(named) > 1 and (error := _emptiness(source))}
    if empty and len(empty) == len(named):
        raise empty[0]
    left += [LeftOut(named[i].name, "without a record") for i in empty]
    return _with_names([source for source, known in zip(sources, named, strict=True) if known.index not in empty])


def _emptiness(source: Source) -> EmptyError | None:
    """What reading the source says if it is a small file that holds no record."""
    if source.bytes_on_disk > _SMALL_BYTES:
        return None
    try:
        next(read(source, Settings(), 0))
    except EmptyError as error:
        return error
    except ScanError:
        pass  # what is damaged is said when it is read
    return None


def read(source: Source, settings: Settings, first_row: int = 0) -> Iterator[Records]:
    """The records of a source in runs; row_id is first_row + the record's place, and broken records take one too.

    Raises InputError where the file changes before the last of them was asked for.
    """
    with steady([source]):
        yield from load(source.format).read(source, settings, first_row)


def called(name: str) -> list[str]:
    """The formats that a file of this name would have by its ending alone."""
    extension = _files.extension(name)
    return [format_name for format_name, module in _modules().items() if extension in module.EXTENSIONS]


def spool_stdin(path: Path, stream: IO[bytes] | None = None) -> Path:
    """Copy the standard input into the private file `path`, so that it can be read more than once."""
    if stream is None and sys.stdin is None:
        raise InputError("the standard input is closed, expected JSONL on it; name a file instead")
    stream = stream or sys.stdin.buffer
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        while block := stream.read(_files.BLOCK_BYTES):
            file.write(block)
    return path


@functools.cache
def _modules() -> dict[str, ModuleType]:
    return plugins.load_all(PACKAGE)


@functools.cache
def _known() -> tuple[str, ...]:
    return tuple(sorted({suffix for module in _modules().values() for suffix in module.EXTENSIONS}))


def _with_names(sources: list[Source]) -> list[Source]:
    """Numbered, and where several have one name, called by as much of their paths as tells them apart.

    What is private in a name is masked: names stand in tables and reports.
    """
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.name, []).append(source)
    names: dict[int, str] = {}
    for name, group in groups.items():
        parents = [source.path.absolute().parts[:-1] for source in group]
        depth = 0
        while len({p[max(0, len(p) - depth) :] for p in parents}) < len(group) and depth < max(map(len, parents)):
            depth += 1
        for source, parts in zip(group, parents, strict=True):
            names[id(source)] = "/".join((*parts[max(0, len(parts) - depth) :], name))
    told = shown(names[id(source)] for source in sources)
    return [replace(source, index=i, name=name) for i, (source, name) in enumerate(zip(sources, told, strict=True))]


def _sources_of(path: Path, left: list[LeftOut], is_named: bool = True) -> list[Source]:
    if not path.is_dir():
        return _sources_of_file(path, left, is_named)
    if _is_run_folder(path):
        if is_named:
            raise InputError(f"{path} is a run folder, not a data set; expected data files; name the data itself")
        left.append(LeftOut(path.name, "a run folder"))
        return []
    for name, module in _modules().items():
        if module.FOLDER and module.sniff(path, b"", ""):
            return [_folder_source(path, name, member) for member in module.members(path)]
    found = []
    for child in sorted(path.iterdir()):
        if child.name.startswith("."):
            continue
        if child.is_dir():
            if child.is_symlink():  # it may lead back here
                left.append(LeftOut(child.name, "a link to a folder"))
                continue
            found += _sources_of(child, left, is_named=False)
        elif not _is_about_data(child.name):
            found += _sources_of_file(child, left, is_named=False)
    return found


def _is_about_data(name: str) -> bool:
    """Whether a file found beside data describes them, or is what an earlier run wrote about them."""
    return name in _METADATA or name.endswith(_OWN_OUTPUT) or Path(name).stem.lower() in _PAPERS


def _is_run_folder(path: Path) -> bool:
    return (path / "scan.json").is_file() and (path / "private").is_dir()


def _folder_source(path: Path, format_name: str, member: str) -> Source:
    size = sum(file.stat().st_size for file in (path / member).glob("*.arrow"))
    name = f"{path.name}/{member}" if member else path.name
    return Source(0, path, name, format_name, member, "", size)


def _sources_of_file(path: Path, left: list[LeftOut], is_named: bool) -> list[Source]:
    """One source, or one per member of an archive; files of unknown kind count only where the user named them."""
    if not path.exists():
        raise InputError(f"{path} is a link to a file that is not there; mend the link or remove it")
    if not path.is_file():  # subtle: opening a pipe would wait for a writer, and it can be read only once
        raise InputError(
            f"{path} is a pipe or a device, expected a file; give its content to `scan -`, which keeps a copy"
        )
    known = _known()
    suffix = path.suffix.lower()
    archive_suffix = suffix == ".zip"
    if suffix in _files.UNREAD and (is_named or _files.extension(path.stem) in known):
        raise InputError(
            f"{path.name}: {suffix} files are not read; expected a plain file, .gz, .zst or .zip; unpack it first: "
            f"{_files.UNREAD[suffix]} {path.name}"
        )
    if not is_named and not archive_suffix and _files.extension(path.name) not in known:
        left.append(LeftOut(path.name, UNKNOWN))
        return []
    if (called := os.fsencode(path).decode("utf-8", "backslashreplace")) != str(path):
        raise InputError(f"{called}: the name is not UTF-8, and scan.json could not keep it; rename it")
    compression = _files.compression_of(path)
    size = path.stat().st_size
    if compression != "zip":
        return [Source(0, path, path.name, _format_of(path, compression, ""), "", compression, size)]
    members = _files.zip_members(path)
    data = [m for m in members if _files.extension(m) in known and not _is_about_data(Path(m).name)]
    if not data and len(members) == 1:
        data = list(members)
    if not data and is_named:
        raise InputError(
            f"{path.name}: the archive holds no data files; expected files ending in {', '.join(_known())}"
        )
    others = (m for m in members if m not in data and not _is_about_data(Path(m).name))
    left += [LeftOut(f"{path.name}/{m}", UNKNOWN) for m in others]
    return [
        Source(0, path, f"{path.name}/{m}", _format_of(path, compression, m), m, compression, members[m]) for m in data
    ]


def _format_of(path: Path, compression: str, member: str) -> str:
    """The format that is surest of the file; by name alone where it is empty."""
    first = _files.head(path, compression, member)
    if compression and (inner := _files.packing_of(first)):
        raise FormatError(
            f"{path.name}{'/' * bool(member)}{member}: is packed twice ({inner} inside {compression}), expected data "
            f"packed once; unpack {path.name} first"
        )
    if first.startswith(_LFS_POINTER):
        raise FormatError(
            f"{member or path.name}: is a pointer of Git LFS, expected the data themselves; fetch them with `git lfs "
            "pull`"
        )
    extension = _files.extension(member or path.name)
    by_name = called(member or path.name)
    if not first.strip(b" \t\r\n" + _files.BOM) or _files.is_utf16(first):
        # Nothing to sniff: reading it will say that it is empty, or in the wrong encoding.
        return by_name[0] if by_name else "text"
    scores = {name: m.sniff(path, first, extension) for name, m in _modules().items()}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] < (_LEAST_SURE if extension not in ("", ".md", ".log") else 0.05):
        kind = "binary data" if b"\0" in first else f"text under the ending {extension!r}"
        raise FormatError(
            f"{member or path.name}: the format is unknown: it looks like {kind}; expected one of "
            f"{', '.join(sorted(scores))}; rename the file after what it holds, for example to end in .jsonl or .txt"
        )
    return best
