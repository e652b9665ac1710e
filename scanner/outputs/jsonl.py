"""JSON Lines from any format: one record per line, in the input's order, its own keys kept.

Records that could not be read cannot be turned into another format; they are left out and counted as unreadable.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from scanner import jsonediting, jsontext
from scanner.objects import Records, Written
from scanner.outputs._parts import Output, Part, distinct_names, new_file, refuse_inputs
from scanner.settings import Settings
from scanner.writing import Place

NAME = "jsonl"
DESCRIPTION = "JSON Lines, whatever the input's format"


def targets(parts: Sequence[Part], out: Path) -> list[Path]:
    """Where each part goes: to a file of its own."""
    if len(parts) == 1 and not out.is_dir():
        found = [out]
    else:
        paths = [part.source.path for part in parts]
        names = [f"{Path(part.source.member or part.source.name).stem.split('.')[0]}.jsonl" for part in parts]
        found = [out / name for name in distinct_names(paths, names)]
    refuse_inputs(parts, found)
    return found


def write(parts: Sequence[Part], targets: Sequence[Path], settings: Settings, place: Place) -> list[Output]:
    """Write every part to its target, as JSON Lines."""
    written = []
    for part, target in zip(parts, targets, strict=True):
        with new_file(target, [part], place) as file:
            written.append(Output(part.source, target, _write_part(part, settings, file)))
    return written


def _write_part(part: Part, settings: Settings, file: IO[bytes]) -> Written:
    kept = dropped = replaced = unreadable = 0
    edits = part.edits
    for records in part.format.read(part.source, settings, edits.first_row):
        unreadable += len(records.skips)
        for i, row in enumerate(records.row_id.tolist()):
            if row in edits.drop:
                dropped += 1
                continue
            texts = edits.replace.get(row, {})
            line = _raw_line(records, i, texts) if records.buffer is not None else _value_line(records, i, texts)
            if line is None:
                unreadable += 1
                continue
            file.write(line + b"\n")
            kept += 1
            replaced += bool(texts)
    return Written(kept, dropped, replaced, unreadable)


def _raw_line(records: Records, i: int, texts: Any) -> bytes | None:
    """A JSON record on one line: as it stands where it is one line already."""
    assert records.buffer is not None
    raw = records.buffer[records.start[i] : records.end[i]].tobytes()
    try:
        if texts:
            raw = jsonediting.replace_strings(raw, texts)
        if b"\n" not in raw and b"\r" not in raw:
            return raw
        return jsontext.dumps(jsontext.parse(raw), raw.isascii())
    except jsontext.RecordError:
        return None


def _value_line(records: Records, i: int, texts: Any) -> bytes:
    assert records.values is not None
    value = records.values[i]
    if texts:
        value = copy.deepcopy(value)
        for path, text in texts.items():
            old = jsonediting.get_at(value, path)
            value = jsonediting.set_at(value, path, jsonediting.keep_json(old, text) if isinstance(old, str) else text)
    try:
        return orjson.dumps(value, default=str)
    except TypeError:
        return jsontext.dumps(value)
