"""Reading a source the way the driver does: spans parsed, everything counted."""

from dataclasses import dataclass, field
from typing import Any

from scanner import formats, jsontext
from scanner.objects import Skip, Source
from scanner.settings import Settings


@dataclass
class Contents:
    source: Source
    rows: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_source(source: Source, settings: Settings, first_row: int = 0) -> Contents:
    out = Contents(source)
    for records in formats.read(source, settings, first_row):
        out.skips += records.skips
        out.notes += records.notes
        for i, row in enumerate(records.row_id.tolist()):
            if records.values is not None:
                value = records.values[i]
            else:
                assert records.buffer is not None
                raw = records.buffer[records.start[i] : records.end[i]].tobytes()
                try:
                    value = jsontext.parse(raw, out.notes)
                except jsontext.RecordError as error:
                    out.skips.append(Skip(row, source.name, int(records.line[i]), error.reason, raw))
                    continue
            out.rows.append(row)
            out.lines.append(int(records.line[i]))
            out.values.append(value)
    return out
