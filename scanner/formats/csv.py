"""Delimited text: comma, tab, semicolon or bar; quoted cells may hold line breaks; a row is a dict by column name.

Files without a header row get the column names column_1, column_2, ... Whether the first row is one is found from what
it holds, unless the settings say so. A name that repeats an earlier one gets a number, as in pandas: name, name.1; that
is told as what is tolerated of records is.
Rows with fewer cells than columns are read (the missing cells are None), rows with more are listed as skipped. So is
the line of a quote that is never closed: the next one would close it, and make one row of all that stands between.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from scanner.errors import FormatError, OutputError
from scanner.figures import listed
from scanner.formats._elements import Elements, Texts, require_records, value_runs, write_elements
from scanner.formats._files import BOM, content
from scanner.objects import Edits, Records, Source, UInt8, Written
from scanner.settings import Settings
from scanner.shownnames import shown
from scanner.text import one_line

NAME = "csv"
DESCRIPTION = "delimited text (comma, tab, semicolon or bar), with or without a header row"
EXTENSIONS = (".csv", ".tsv")
FOLDER = False

DELIMITERS = ",\t;|"
_ROOM = 1 << 16
_SAMPLE_BYTES = 1 << 16
_LONGEST_CELL = 1 << 31
_MOST_REWINDS = 50  # unclosed quotes after which the rest of the file is given up as one row: linear time
_HEADER_CELL = re.compile(r"[^\W\d][\w .\-/()]{0,39}\Z")
_SENTENCE = re.compile(r"(?:\S+\s+){2,}\S*[^\W\d]\.|(?:\S+\s+){5,}\S+")  # three words and a full stop, or six words
_ROWS_LOOKED_AT = 20  # for the delimiter, and after a first row of names, to tell whether it is a header
_SHOWN_NAMES, _SHOWN_NAME = 3, 40  # names of a header in what is told of it, and characters of each
_LINE_END = re.compile(rb"\n")
_CURE = "close it, or double it where it is part of a quoted cell"
_UNTERMINATED = f"a quote that is not closed before the end of the file; {_CURE}"


@dataclass(frozen=True)
class Table:
    """A delimited file, its rows found but not parsed."""

    elements: Elements
    columns: tuple[str, ...]
    delimiter: str


def sniff(path: Path, first: bytes, extension: str) -> float:
    """How sure these first bytes are delimited text, 0 to 1."""
    return 0.8 if extension in EXTENSIONS and b"\0" not in first[:4096] else 0.0


def table(source: Source, settings: Settings) -> Table:
    """Rows, column names and delimiter of a source."""
    csv.field_size_limit(_LONGEST_CELL)  # the module's own limit of 128 kB is one for the whole process
    data = content(source, settings.max_decompressed_bytes)
    at = len(BOM) if data[:3].tobytes() == BOM else 0
    delimiter = _delimiter(data[at : at + _SAMPLE_BYTES])
    elements = _rows(data, at, delimiter)
    if not len(elements):
        require_records(source, elements)
    if 0 in elements.broken:
        raise FormatError(f"{source.name}:{elements.line[0]}: the first row has {elements.broken[0]}")
    try:
        first = _cells(elements.raw(0), delimiter)
    except csv.Error:
        raise FormatError(
            f"{source.name}: the first row holds a carriage return outside quotes, expected rows that end in a line "
            "feed; convert the file with `tr '\\r' '\\n' < OLD > NEW`"
        ) from None
    names = [cell.strip() for cell in first]
    has_header = settings.header
    if has_header is None:
        has_header = _is_header(names, lambda: _some_rows(elements, delimiter))
    columns = _told_apart(names) if has_header else [f"column_{i + 1}" for i in range(len(names))]
    if has_header:
        told = _told_of(names, columns)
        elements = Elements(
            data, elements.start[1:], elements.end[1:], elements.line[1:],
            {place - 1: reason for place, reason in elements.broken.items() if place},
            notes=(f"header {elements.line[0]}: {told}",) if told else (),
        )  # fmt: skip
    return Table(require_records(source, elements), tuple(columns), delimiter)


def _delimiter(sample: UInt8) -> str:
    """The delimiter that splits the first rows into the same number of cells, the most cells winning."""
    best, most = ",", 1
    for candidate in DELIMITERS:
        found = _rows(sample, 0, candidate)
        whole = itertools.islice((i for i in range(len(found)) if i not in found.broken), _ROWS_LOOKED_AT)
        try:
            widths = [len(_cells(found.raw(i), candidate)) for i in whole]
        except csv.Error:
            continue
        if widths and widths[0] > most and sum(w == widths[0] for w in widths) >= 0.8 * len(widths):
            best, most = candidate, widths[0]
    return best


def _rows(data: UInt8, at: int, delimiter: str) -> Elements:
    from scanner.kernels import records as kernel

    state = kernel.new_state(at)
    start, end, line = (np.empty(_ROOM, np.int64) for _ in range(3))
    starts, ends, lines, count = [], [], [], 0
    broken: dict[int, str] = {}
    rewinds = 0
    while True:
        n = kernel.csv_records(data, len(data), ord(delimiter), state, start, end, line)
        starts.append(start[:n].copy())
        ends.append(end[:n].copy())
        lines.append(line[:n].copy())
        count += n
        if state[kernel.STATUS] == kernel.ENDED:
            break
        if state[kernel.STATUS] in (kernel.UNTERMINATED, kernel.JOINED):
            # The record is given up to the end of the line that opens the quote; reading goes on behind it.
            first, quote, at_line = (int(state[i]) for i in (kernel.AT, kernel.WHERE, kernel.WHERE_LINE))
            is_joined = state[kernel.STATUS] == kernel.JOINED
            rewinds += not is_joined  # which are read twice at most, up to the next quote
            line_end = _LINE_END.search(data.data, quote) if rewinds <= _MOST_REWINDS else None
            last = line_end.start() if line_end else len(data)
            broken[count] = _joined(int(state[kernel.LINE])) if is_joined else _UNTERMINATED
            starts.append(np.array([first]))
            ends.append(np.array([last - int(last > first and data[last - 1] == 13)]))
            lines.append(np.array([at_line]))
            count += 1
            state[kernel.AT] = min(last + 1, len(data))
            state[kernel.LINE] = at_line + 1
    joined = [np.concatenate(parts).astype(np.int64) for parts in (starts, ends, lines)]
    return Elements(data, joined[0], joined[1], joined[2], broken)


def _joined(line: int) -> str:
    return f"a quote that is not closed before another opens a cell in line {line}; {_CURE}"


def _some_rows(elements: Elements, delimiter: str) -> list[list[str]]:
    """The cells of the first rows after the first one."""
    rows: list[list[str]] = []
    for place in range(1, min(len(elements), 1 + _ROWS_LOOKED_AT)):
        with suppress(csv.Error):  # such a row is listed as skipped
            rows.append(_cells(elements.raw(place), delimiter))
    return rows


def _is_header(names: list[str], following: Callable[[], list[list[str]]]) -> bool:
    """Whether the first row is a header: short, wordlike cells, unlike those below and no sentences.

    The first cell of a header may be empty, as pandas leaves it above its index. following: the next rows. Where names
    repeat, most of these must hold a cell that is no name; a cell that stands again in its own column is no name (but
    for the files that repeat their header).
    """
    words = names[1:] if not names[0] else names
    is_choice = len(names) > 2 and names[-1] in ("A", "B", "C", "D", "E") and any(len(name) > 1 for name in names)
    if is_choice:  # a row that ends in a letter is a multiple-choice item, not a header
        return False
    if not words or not all(_HEADER_CELL.match(word) for word in words):
        return False
    if all(" " in word for word in words) and any(_SENTENCE.fullmatch(word) for word in words):
        return False
    below = [[cell.strip() for cell in row] for row in following()]
    if len({name.lower() for name in names}) < len(names):
        return 2 * sum(all(map(_HEADER_CELL.match, row)) for row in below) < len(below)
    return not any(
        len(cell) > 1 and cell == name for row in below if row != names for name, cell in zip(names, row, strict=False)
    )


def _told_apart(names: list[str]) -> list[str]:
    """Names of which each that stood before gets the first free number: a, b, a -> a, b, a.1.

    Empty ones are called as pandas calls them: Unnamed: 0.
    """
    called = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    taken = set(called)
    out: list[str] = []
    for name in called:
        free = name
        if name in out:
            free = next(f"{name}.{i}" for i in itertools.count(1) if f"{name}.{i}" not in taken)
            taken.add(free)
        out.append(free)
    return out


def _told_of(names: list[str], columns: list[str]) -> str:
    """Which names of a header stand several times and what their columns are called; "" where all differ."""
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if name:
            places.setdefault(name, []).append(i)
    repeated = {name: found for name, found in places.items() if len(found) > 1}
    if not repeated:
        return ""
    called = [one_line(name, _SHOWN_NAME) for name in shown(columns)]  # a row of data may have been taken for a header
    said = [
        f"columns {listed([str(i + 1) for i in found])} are read as {listed([called[i] for i in found])}"
        for found in itertools.islice(repeated.values(), _SHOWN_NAMES)
    ]
    more = f" and {len(repeated) - len(said):,} more" if len(repeated) > len(said) else ""
    return f"repeated names: {', '.join(said)}{more}; rename them to choose"


def _cells(raw: bytes, delimiter: str) -> list[str]:
    return next(csv.reader([raw.decode("utf-8", "replace")], delimiter=delimiter, strict=False), [])


def read(source: Source, settings: Settings, first_row: int) -> Iterator[Records]:
    """Rows as dicts of text; cells that are missing at the end of a row are None."""
    found = table(source, settings)
    yield from value_runs(source, found.elements, first_row, _parser(found))


def _parser(found: Table) -> Callable[[bytes], tuple[Any, str]]:
    columns, width = found.columns, len(found.columns)

    def parse(raw: bytes) -> tuple[Any, str]:
        try:
            cells: list[str | None] = list(_cells(raw, found.delimiter))
        except csv.Error:
            return None, "a line break outside quotes, expected one row per line"
        if len(cells) > width:
            return None, f"{len(cells)} cells, expected {width}"
        return dict(zip(columns, cells + [None] * (width - len(cells)), strict=True)), ""

    return parse


def write(source: Source, settings: Settings, edits: Edits, sink: IO[bytes]) -> Written:
    """The file with rows dropped or cells changed, every other byte as it was; rows that cannot be read stay."""
    found = table(source, settings)
    parse = _parser(found)
    unreadable = {
        place: reason
        for place in _places(edits, len(found.elements))
        if (reason := parse(found.elements.raw(place))[1])
    }
    elements = Elements(
        found.elements.data, found.elements.start, found.elements.end, found.elements.line,
        {**found.elements.broken, **unreadable},
    )  # fmt: skip

    def replace(raw: bytes, texts: Texts) -> bytes:
        return _replace(raw, texts, found)

    return write_elements(elements, edits, sink, replace)


def _places(edits: Edits, n: int) -> list[int]:
    named = {row - edits.first_row for row in edits.drop | edits.replace.keys()}
    return [place for place in named if 0 <= place < n]


def _replace(raw: bytes, texts: Texts, found: Table) -> bytes:
    """The row with new texts in some cells; the others keep their quotes and spaces."""
    text = raw.decode("utf-8", "surrogateescape")
    spans = _cell_spans(text, found.delimiter)
    new = {}
    for path, value in texts.items():
        index = found.columns.index(str(path[0]))
        if index >= len(spans):
            raise OutputError(f"a new text is meant for cell {index + 1} of a row of {len(spans)}; audit again")
        new[index] = value
    out, at = [], 0
    for index in sorted(new):
        start, end = spans[index]
        was_quoted = text[start : start + 1] == '"'
        must_quote = any(c in new[index] for c in (found.delimiter, '"', "\n", "\r"))
        cell = '"' + new[index].replace('"', '""') + '"' if was_quoted or must_quote else new[index]
        out += [text[at:start].encode("utf-8", "surrogateescape"), cell.encode("utf-8", "replace")]
        at = end
    out.append(text[at:].encode("utf-8", "surrogateescape"))
    return b"".join(out)


def _cell_spans(text: str, delimiter: str) -> list[tuple[int, int]]:
    """Where the cells of a row stand, quotes included; the twin of the kernel for one row."""
    spans, start, i = [], 0, 0
    in_quotes = False
    while i < len(text):
        c = text[i]
        if in_quotes:
            if c == '"':
                if text[i + 1 : i + 2] == '"':
                    i += 1
                else:
                    in_quotes = False
        elif c == delimiter:
            spans.append((start, i))
            start = i + 1
        elif c == '"' and i == start:
            in_quotes = True
        i += 1
    spans.append((start, len(text)))
    return spans
