"""JSON Lines: one record per line; blank lines are none, and carriage returns before the line end are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import orjson

from scanner.errors import FormatError
from scanner.formats._elements import Elements, line_elements, line_records, write_elements
from scanner.formats._files import BOM, HEAD_BYTES, content
from scanner.jsonediting import replace_strings
from scanner.objects import Edits, Records, Source, UInt8, Written
from scanner.settings import Settings

NAME = "jsonl"
DESCRIPTION = "JSON Lines, one record per line"
EXTENSIONS = (".jsonl", ".ndjson", ".jsonlines")
FOLDER = False

_LINES_TRIED = 20
_FIRST_LINE = 1 << 13
"""Bytes that hold the first line of most files: where one ends in them, no more are copied."""


def sniff(path: Path, first: bytes, extension: str) -> float:
    """How sure these first bytes are JSON Lines, 0 to 1."""
    lines = [line.strip() for line in _lines(first.removeprefix(BOM))]
    complete = [line for line in lines[: _LINES_TRIED + 1][:-1] or lines if line]
    if len(lines) <= _LINES_TRIED and lines[-1] and len(lines) > 1:
        complete.append(lines[-1])
    by_name = extension in EXTENSIONS
    if by_name and len(lines) == 1 and len(first) == HEAD_BYTES:
        return 0.8  # one row longer than what is looked at
    if not complete:
        return 0.5 if by_name else 0.0
    parsed = sum(_is_json(line) for line in complete) / len(complete)
    shaped = sum(line[:1] == b"{" and line[-1:] == b"}" for line in complete) / len(complete)
    if parsed >= 0.5 and (len(complete) > 1 or by_name) and complete[0][:1] in b'{["':
        return 0.9
    if shaped >= 0.5:
        return 0.8 if len(complete) > 1 or by_name else 0.4
    return 0.45 if by_name else 0.0


def _lines(first: bytes) -> list[bytes]:
    """The first lines; what follows them, not copied as a whole, stands for one more."""
    end = -1
    for _ in range(_LINES_TRIED + 1):
        after = first.find(b"\n", end + 1)
        if after < 0:
            return first.split(b"\n")
        end = after
    return [*first[:end].split(b"\n"), first[end + 1 : end + 2]]


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def elements(source: Source, settings: Settings) -> Elements:
    """Where the lines stand."""
    return line_elements(source, content(source, settings.max_decompressed_bytes))


def read(source: Source, settings: Settings, first_row: int) -> Iterator[Records]:
    """Spans of the lines; nothing is parsed."""
    data = content(source, settings.max_decompressed_bytes)
    _refuse_carriage_returns(source, data)
    yield from line_records(source, data, first_row)


def _refuse_carriage_returns(source: Source, data: UInt8) -> None:
    """FormatError for records that carriage returns alone divide, which would all be one line."""
    if b"\n" in data[:_FIRST_LINE].tobytes():
        return
    first = data[:HEAD_BYTES].tobytes()
    if b"\n" not in first and re.search(rb"\}[ \t]*\r[ \t]*\{", first):
        raise FormatError(
            f"{source.name}: its lines end in carriage returns alone, expected line feeds; convert it with "
            "`tr '\\r' '\\n' < OLD > NEW`"
        )


def write(source: Source, settings: Settings, edits: Edits, sink: IO[bytes]) -> Written:
    """The file with its records dropped or changed, every other byte as it was."""
    return write_elements(elements(source, settings), edits, sink, replace_strings)
