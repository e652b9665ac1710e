"""Files to segments: reads every input once, finds its layout, and leaves the text as Arrow in the run folder.

    formats.read -> Records -> layouts.segments -> private/segments.arrow, and fingerprints where asked for
                            -> what no segment covers -> private/unread.arrow, where asked for

What becomes of one piece of a source stands in segmenting.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from scanner import flatreading, formats, jsontext, layouts, unread
from scanner.errors import InputError, LayoutError, ScanError
from scanner.fingerprints import Fingerprinter
from scanner.growing import Growing, Place
from scanner.inplace import Again, TextInPlace
from scanner.mapped import steady
from scanner.objects import Damage, Records, Rows, Skip, Source
from scanner.ordering import stable_order
from scanner.running import submitting
from scanner.segmenting import Chunk, segment
from scanner.settings import Settings
from scanner.store import RunFolder
from scanner.storedtext import BYTES_PER_BATCH, ROWS_PER_BATCH, SegmentWriter

SAMPLE = 200
"""Records of each source from which its layout is found."""
JOBS_AHEAD = 2
ROWS_AHEAD, TIMES_AHEAD = 1 << 20, 32
"""Rows that room may be made for though they have not been seen, at least, and as a multiple of those seen."""


def read_all(
    sources: list[Source],
    run: RunFolder | TextInPlace,
    settings: Settings,
    threads: int,
    advance: Callable[[Source, int, int], None] = lambda source, rows, byte: None,
    printer: Fingerprinter | None = None,
    otherwise: str = "",
    unread_too: bool = False,
) -> tuple[Rows, list[Skip]]:
    """Read every source into RUN/private/segments.arrow; returns where the rows stand and what was skipped.

    unread_too: whether fields that no trainer reads are kept too, in RUN/private/unread.arrow. Where `run` is a
    TextInPlace, no text is kept. `advance` is told the source, how many rows were added and the byte position reached
    in it. `printer` makes the fingerprints of every row meanwhile. `otherwise` is the layout of sources that no layout
    fits; without it, LayoutError.
    """
    names: list[str] = []
    firsts: list[int] = []
    next_row = 0
    size, before, begun = sum(source.bytes_on_disk for source in sources), 0, 0
    is_kept = isinstance(run, RunFolder)
    rooms = [flatreading.Room() for _ in range(threads + JOBS_AHEAD)]
    is_known, private = (unread.names_of(settings), unread.private_names(settings)) if unread_too else (None, None)
    # subtle: the last pieces of a source are still looked at when its stream has ended
    with (
        _written_to(run) as writer, _beside(run, unread_too) as beside, steady(sources), submitting(threads) as submit
    ):  # fmt: skip
        gathered = _Gathered(writer, beside, rooms, printer, advance)
        for source in sources:
            name, stream = _with_layout(source, settings, next_row, otherwise)
            names.append(name)
            firsts.append(next_row)
            layout = layouts.load(name)
            waiting: deque[_Piece] = deque()
            last = next_row - 1
            for records in _pieces(stream):
                begun += len(records)
                expected = _expected(begun, before + int(records.end.max(initial=0)), size)
                place = printer.reserve(len(records), expected) if printer else None
                room = rooms.pop() if is_kept else None
                job = submit(segment, records, layout, settings, room, printer, place, is_known, private)
                waiting.append(_Piece(source, job, room, place, expected))
                if len(waiting) >= threads + JOBS_AHEAD:
                    last = max(last, gathered.take(waiting.popleft()))
            for piece in waiting:
                last = max(last, gathered.take(piece))
            next_row = last + 1
            before += source.bytes_on_disk
    skips = gathered.skips
    if not gathered.has_rows:
        reasons = f"; the first of {len(skips):,}: line {skips[0].line}: {skips[0].reason}" if skips else ""
        raise InputError(f"{', '.join(s.name for s in sources)}: no record could be read{reasons}")
    return gathered.rows(names, firsts), sorted(skips, key=lambda s: s.row_id)


class _Piece(NamedTuple):
    """A piece of a source that is being cut into segments by another thread."""

    source: Source
    job: Future[Chunk]
    room: flatreading.Room | None  # memory that holds its text until that is written
    place: Place | None  # where its fingerprints go
    expected: int  # rows of all sources together, as far as is known; 0: not known


@dataclass
class _Gathered:
    """What the pieces add up to, taken one after another in the order of the input."""

    writer: SegmentWriter | TextInPlace
    beside: SegmentWriter | None  # for fields that no trainer reads, where these are wanted
    rooms: list[flatreading.Room]  # free for further pieces
    printer: Fingerprinter | None
    advance: Callable[[Source, int, int], None]
    skips: list[Skip] = field(default_factory=list)
    _damage: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # what, of what -> every "file:line" of it
    _columns: Growing | None = None  # of Rows; None before the first piece

    def take(self, piece: _Piece) -> int:
        """Wait for a piece and add what it holds; returns its largest row_id, read or skipped, -1 without any."""
        chunk = piece.job.result()
        if isinstance(chunk.text, Again) or chunk.text.num_rows:
            self.writer.append(chunk.text)
        if self.beside is not None and chunk.unread is not None and chunk.unread.num_rows:
            self.beside.append(chunk.unread)
        if piece.room is not None:
            self.rooms.append(piece.room)  # the text stood in it, and is on disk now
        self.skips.extend(chunk.skips)
        for note in chunk.notes:
            where, _, what = note.partition(": ")
            kind, _, line = where.partition(" ")
            met = self._damage.setdefault((what, "record" if kind == "line" else kind), [])
            met.append(f"{piece.source.name}:{line}")
        found = chunk.rows(piece.source.index)
        if self._columns is None:
            self._columns = Growing(found)
        self._columns.append(found, piece.expected)
        if self.printer is not None and piece.place is not None:
            self.printer.settle(piece.place, len(chunk.row_id))
        self.advance(piece.source, len(chunk.row_id), int(chunk.end.max(initial=0)))
        return max((*chunk.row_id[-1:].tolist(), *(s.row_id for s in chunk.skips)), default=-1)

    @property
    def has_rows(self) -> bool:
        """Whether any record was read."""
        return self._columns is not None and len(self._columns) > 0

    def rows(self, layouts_found: list[str], first_rows: list[int]) -> Rows:
        """All rows taken; needs at least one. layouts_found, first_rows: by source, as `Rows` has them."""
        assert self._columns is not None
        columns = self._columns.arrays()
        return Rows(
            **columns,
            order=stable_order(columns["digest"]),
            layout=tuple(layouts_found),
            first_row=tuple(first_rows),
            damage=tuple(
                Damage(what, len(places), places[0], of) for (what, of), places in sorted(self._damage.items())
            ),
        )


def _expected(rows: int, reached: int, size: int) -> int:
    """Rows in all, if those seen by this byte are like the others; 0 where no byte is known."""
    return min(int(rows * size / reached), max(ROWS_AHEAD, TIMES_AHEAD * rows)) if reached > 0 else 0


def layout_of(source: Source, settings: Settings) -> str:
    """The layout of a source, found on its first records; LayoutError where none fits."""
    return _with_layout(source, settings, 0, "")[0]


def _with_layout(source: Source, settings: Settings, first_row: int, otherwise: str) -> tuple[str, Iterator[Records]]:
    """The layout of a source, found on its first records, and the stream of all of them."""
    stream = formats.read(source, settings, first_row)
    held: list[Records] = []
    seen: list[Any] = []
    for records in stream:
        held.append(records)
        seen += sample(records, SAMPLE - len(seen))
        if len(seen) >= SAMPLE:
            break

    def again() -> Iterator[Records]:
        yield from held
        yield from stream

    if not seen:
        return settings.layout or "text", again()
    try:
        return layouts.detect(seen, settings, source.format), again()
    except LayoutError as error:
        if otherwise:
            return otherwise, again()
        raise LayoutError(f"{source.name}: {error}") from error


def sample(records: Records, count: int) -> list[Any]:
    """The first `count` records, parsed; those that cannot be read are passed over."""
    if records.values is not None:
        return list(records.values[:count])
    found = []
    for i in range(min(count, len(records))):
        try:
            found.append(jsontext.parse(records.raw(i)))
        except ScanError:
            continue
    return found


def _pieces(stream: Iterator[Records]) -> Iterator[Records]:
    """Records cut into pieces of at most ROWS_PER_BATCH and, but for one longer record, BYTES_PER_BATCH.

    The skips go with the first piece.
    """
    for records in stream:
        n = len(records)
        if not n and records.skips:
            yield records
        ends = np.zeros(n, np.int64) if records.buffer is None else np.cumsum(records.end - records.start)
        at = after = 0
        while after < n:
            at = after
            before = ends[at - 1] if at else 0
            fitting = int(np.searchsorted(ends, before + BYTES_PER_BATCH, "right"))
            after = min(n, at + ROWS_PER_BATCH, max(at + 1, fitting))
            part = slice(at, after)
            yield Records(
                source=records.source,
                row_id=records.row_id[part],
                line=records.line[part],
                start=records.start[part],
                end=records.end[part],
                buffer=records.buffer,
                values=None if records.values is None else records.values[part],
                skips=records.skips if at == 0 else (),
                notes=records.notes if at == 0 else (),
            )


def _written_to(run: RunFolder | TextInPlace) -> AbstractContextManager[SegmentWriter | TextInPlace]:
    return SegmentWriter(run.segments_path) if isinstance(run, RunFolder) else nullcontext(run)


def _beside(run: RunFolder | TextInPlace, wanted: bool) -> AbstractContextManager[SegmentWriter | None]:
    return SegmentWriter(run.unread_path) if wanted and isinstance(run, RunFolder) else nullcontext()
