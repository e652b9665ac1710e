"""Text formats share one idea: a file is its records and the bytes between them.

`Elements` holds where each record stands. Reading hands them on in runs; writing copies the file and leaves out or
replaces some of them, so that every other byte stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from scanner.errors import EmptyError
from scanner.formats._files import BOM
from scanner.jsontext import NOT_UTF8
from scanner.objects import Edits, Int64, Records, Skip, Source, UInt8, Written

ROWS_PER_RUN = 16_384  # parsed rows in one Records
RAW_BYTES = 4096  # of a skipped record that are kept for private/
FIRST_RUN, LEAST_RUN, MOST_RUN = 1 << 19, 2 << 20, 4 << 20  # bytes of unparsed rows in one Records
_BLOCK = (1 << 19) - 64  # bytes searched for line ends at a time; a count for each is less than growing.LARGE

Texts = Mapping[tuple[str | int, ...], str]


@dataclass(frozen=True)
class Elements:
    """Every record of one source, in order, the broken ones among them."""

    data: UInt8  # the decompressed source
    start: Int64  # (n,)
    end: Int64  # (n,)
    line: Int64  # (n,) from 1
    broken: dict[int, str] = field(default_factory=dict)  # place -> reason
    is_container: bool = False  # True where brackets around the records must stay when none is left
    notes: tuple[str, ...] = ()  # what was tolerated, as "line 3: duplicate key"

    def __len__(self) -> int:
        return len(self.start)

    def raw(self, place: int) -> bytes:
        return self.data[self.start[place] : self.end[place]].tobytes()

    def skip(self, source: Source, place: int, first_row: int, reason: str) -> Skip:
        """The broken record at `place`, as stages report it."""
        raw = self.data[self.start[place] : min(self.end[place], self.start[place] + RAW_BYTES)].tobytes()
        return Skip(first_row + place, source.name, int(self.line[place]), reason, raw)


def require_records(source: Source, elements: Elements) -> Elements:
    """The elements, unless there are none."""
    if not len(elements):
        raise EmptyError(
            f"{source.name}: holds no records ({len(elements.data):,} bytes of white space, brackets or headers), "
            "expected at least one; leave it out"
        )
    return elements


def content_begins(data: UInt8) -> int:
    """Where content begins: after a byte order mark."""
    return len(BOM) if data[:3].tobytes() == BOM else 0


def line_spans(data: UInt8) -> tuple[Int64, Int64, Int64]:
    """start, end and number of every line that is not blank."""
    start, end, line = (np.concatenate(parts) for parts in zip(*line_runs(data, lambda read: len(data)), strict=True))
    return start, end, line


def line_elements(source: Source, data: UInt8) -> Elements:
    """A record for each line that holds one."""
    return require_records(source, Elements(data, *line_spans(data)))


def run_bytes(read: int) -> int:
    """Bytes of the next run of unparsed rows: an eighth of what was read, so that small files keep all threads busy.

    The first is small: until it is found and understood, nobody else has anything to do.
    """
    return min(MOST_RUN, max(LEAST_RUN, read // 8)) if read else FIRST_RUN


def line_runs(data: UInt8, size: Callable[[int], int] = run_bytes) -> Iterator[tuple[Int64, Int64, Int64]]:
    """start, end and number of the lines that are not blank, in runs of about so many bytes; one run at least."""
    from scanner.kernels import records

    # subtle: one array of this size would lie in large pages, and clearing those takes longer than finding the lines
    room = [np.empty(min(len(data), _BLOCK) + 1, np.int64) for _ in range(3)]
    state = records.new_state(content_begins(data))
    parts: list[Int64] = []
    begin = 0
    for low in range(0, max(len(data), 1), _BLOCK):
        high = min(low + _BLOCK, len(data))
        found = records.line_spans(data, low, high, state, *room)
        parts.append(np.stack([column[:found] for column in room]))
        if high == len(data) or (high - begin >= size(begin) and parts[-1].size):
            start, end, line = np.concatenate(parts, axis=1)
            yield start, end, line
            parts, begin = [], high


def line_records(source: Source, data: UInt8, first_row: int) -> Iterator[Records]:
    """The lines that are not blank as records, a run at a time, so that reading them can begin at once."""
    row = first_row
    for start, end, line in line_runs(data):
        if len(start):
            yield Records(source, np.arange(row, row + len(start)), line, start, end, buffer=data)
        row += len(start)
    if row == first_row:
        require_records(source, Elements(data, start, end, line))


def span_runs(source: Source, elements: Elements, first_row: int) -> Iterator[Records]:
    """Records that are not parsed: views of the buffer with their spans."""
    high = 0
    while high < len(elements):
        low, begin = high, int(elements.start[high])
        high = max(low + 1, int(np.searchsorted(elements.end, begin + run_bytes(begin), "right")))
        skips = tuple(
            elements.skip(source, place, first_row, reason)
            for place, reason in sorted(elements.broken.items())
            if low <= place < high
        )
        places = np.arange(low, high, dtype=np.int64)
        if skips:
            places = np.setdiff1d(places, np.array([s.row_id - first_row for s in skips], np.int64))
        yield Records(
            source, first_row + places, elements.line[places], elements.start[places], elements.end[places],
            buffer=elements.data, skips=skips, notes=() if low else elements.notes,
        )  # fmt: skip


def value_runs(
    source: Source, elements: Elements, first_row: int, parse: Callable[[bytes], tuple[Any, str]]
) -> Iterator[Records]:
    """Records parsed here. `parse` gives (value, reason); a reason means that the record could not be read."""
    for low in range(0, len(elements), ROWS_PER_RUN):
        high = min(low + ROWS_PER_RUN, len(elements))
        places, values, skips, notes = [], [], [], [] if low else [*elements.notes]
        for place in range(low, high):
            raw = elements.raw(place)
            value, reason = (None, elements.broken[place]) if place in elements.broken else parse(raw)
            if reason:
                skips.append(elements.skip(source, place, first_row, reason))
                continue
            if not raw.isascii() and not _is_utf8(raw):
                notes.append(f"line {elements.line[place]}: {NOT_UTF8}")
            places.append(place)
            values.append(value)
        chosen = np.array(places, np.int64)
        yield Records(
            source, first_row + chosen, elements.line[chosen], elements.start[chosen], elements.end[chosen],
            values=values, skips=tuple(skips), notes=tuple(notes),
        )  # fmt: skip


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def write_elements(
    elements: Elements, edits: Edits, sink: IO[bytes], replace: Callable[[bytes, Texts], bytes]
) -> Written:
    """Copy the source into `sink` without the dropped records and with new texts in some others.

    A dropped record takes the bytes before it along (separator, line end, indent); where no record is kept before
    it, those after it. Broken records are kept unless they are to be dropped; rows of other sources are passed over.
    """
    n = len(elements)
    own = range(edits.first_row, edits.first_row + n)
    drop = {row - edits.first_row for row in edits.drop if row in own}
    change = {row - edits.first_row: texts for row, texts in edits.replace.items() if texts and row in own}
    change = {place: texts for place, texts in change.items() if place not in drop and place not in elements.broken}
    first_kept = next((place for place in range(n) if place not in drop), n)
    data, start, end = elements.data, elements.start, elements.end
    unreadable = len(set(elements.broken) - drop)
    if first_kept == n and n:
        _copy(data, 0, int(start[0]), sink)
        if elements.is_container:
            tail = data[end[-1] :].tobytes().lstrip(b" \t\r\n,")
            sink.write(tail)
        return Written(0, n, 0, 0)
    at = 0
    if first_kept:
        _copy(data, 0, int(start[0]), sink)
        at = int(start[first_kept])
    for place in sorted((drop | change.keys()) - set(range(first_kept))):
        if place in drop:
            _copy(data, at, int(end[place - 1]), sink)
        else:
            _copy(data, at, int(start[place]), sink)
            sink.write(replace(elements.raw(place), change[place]))
        at = int(end[place])
    _copy(data, at, len(data), sink)
    return Written(n - len(drop) - unreadable, len(drop), len(change), unreadable)


def _copy(data: UInt8, start: int, end: int, sink: IO[bytes]) -> None:
    """Bytes start to end, in blocks, so that a mapped file is never held as a whole."""
    for low in range(start, end, 1 << 24):
        sink.write(data[low : min(end, low + (1 << 24))].data)
