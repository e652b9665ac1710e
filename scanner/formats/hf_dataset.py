"""A folder written by Hugging Face `datasets` with save_to_disk: state.json beside Arrow streams; splits in folders.

Read and written with pyarrow alone. A DatasetDict is one source per split; Source.member names the split.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanner.errors import FormatError
from scanner.formats._files import opened
from scanner.formats._tables import readable, row_runs, write_batches
from scanner.mapped import mapped
from scanner.objects import Edits, Records, Source, Written
from scanner.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "hf_dataset"
DESCRIPTION = "a folder saved by Hugging Face datasets (Dataset or DatasetDict)"
EXTENSIONS = ()
FOLDER = True

_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def sniff(path: Path, first: bytes, extension: str) -> float:
    """1.0 for a folder that save_to_disk wrote, else 0."""
    if not path.is_dir():
        return 0.0
    is_split = (path / _STATE).is_file() and ((path / _INFO).is_file() or any(path.glob("*.arrow")))
    return 1.0 if is_split or (path / _SPLITS).is_file() else 0.0


def members(path: Path) -> list[str]:
    """The splits of a DatasetDict, in its order; [""] for a plain Dataset."""
    if not (path / _SPLITS).is_file():
        return [""]
    return [str(name) for name in _json(path / _SPLITS).get("splits", [])]


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise FormatError(
            f"{path.parent.name}: {path.name} is missing or not a JSON object; expected a folder as save_to_disk "
            "writes it; save the data set again"
        )
    return value


def _folder(source: Source) -> Path:
    return source.path / source.member if source.member else source.path


def _files(source: Source) -> list[Path]:
    """The data files in their order; none where the split has no rows."""
    folder = _folder(source)
    state = _json(folder / _STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise FormatError(
            f"{source.name}: rows are chosen by an indices file, which is not supported; expected a flat data set; "
            "call flatten_indices() before save_to_disk"
        )
    named = state.get("_data_files")
    files = [folder / Path(str(entry.get("filename", ""))).name for entry in named or []]
    missing = [file.name for file in files if not file.is_file()]
    if missing or named is None:
        raise FormatError(
            f"{source.name}: {_STATE} names {len(files)} data files of which {len(missing)} are missing; expected "
            "all of them beside it; copy the whole folder again"
        )
    return files


def _batches(source: Source) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for path in _files(source):
        with readable(source, "Arrow"), opened(path) as file:
            yield from pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(mapped(file, path))))


def read(source: Source, settings: Settings, first_row: int) -> Iterator[Records]:
    """Rows as dicts, in batches; `line` is the row's number within its split."""
    yield from row_runs(source, _batches(source), first_row)


def write(source: Source, settings: Settings, edits: Edits, sink: Path) -> Written:
    """The same data set in the new folder `sink` (the split's folder below it for a DatasetDict)."""
    import pyarrow as pa

    folder = sink / source.member if source.member else sink
    folder.mkdir(parents=True, exist_ok=True)
    state = _json(_folder(source) / _STATE)
    name = "data-00000-of-00001.arrow"
    with pa.memory_map(str(_files(source)[0])) as first:
        schema = pa.ipc.open_stream(first).schema
    with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        written = write_batches(_batches(source), edits, writer.write_batch)
    state["_data_files"] = [{"filename": name}]
    # A fingerprint names a content in caches, so a changed content must not keep the old one.
    state["_fingerprint"] = _fingerprint(str(state.get("_fingerprint", "")), edits)
    (folder / _STATE).write_text(json.dumps(state, indent=2), "utf-8")
    if (_folder(source) / _INFO).is_file():
        shutil.copyfile(_folder(source) / _INFO, folder / _INFO)
    if source.member:
        shutil.copyfile(source.path / _SPLITS, sink / _SPLITS)
        for name in members(source.path):  # which are no sources, but are named in _SPLITS
            other = replace(source, member=name)
            if not any(batch.num_rows for batch in _batches(other)):
                shutil.copytree(_folder(other), sink / name, dirs_exist_ok=True)
    return written


def _fingerprint(old: str, edits: Edits) -> str:
    if not edits:
        return old
    changes = (old, sorted(edits.drop), sorted((row, sorted(map(str, t.items()))) for row, t in edits.replace.items()))
    return hashlib.blake2b(repr(changes).encode("utf-8", "replace"), digest_size=8).hexdigest()
