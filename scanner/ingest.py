"""Files to segments: reads every input once, finds its layout, and leaves the text as Arrow in the run folder.

    formats.read -> Records -> layouts.segments -> private/segments.arrow, and fingerprints where asked for
                            -> what no segment covers -> private/unread.arrow, where asked for

What becomes of one piece of a source stands in segmenting.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any

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
    made: Growing | None = None
    skips: list[Skip] = []
    damage: dict[str, list[str]] = {}
    names: list[str] = []
    firsts: list[int] = []
    next_row = 0
    size, before, begun = sum(source.bytes_on_disk for source in sources), 0, 0
    is_kept = isinstance(run, RunFolder)
    rooms = [flatreading.Room() for _ in range(threads + JOBS_AHEAD)]
    is_known = unread.names_of(settings) if unread_too else None
    # subtle: the last pieces of a source are still looked at when its stream has ended
    with (
        _written_to(run) as writer, _beside(run, unread_too) as beside, steady(sources), submitting(threads) as submit
    ):  # fmt: skip
        for source in sources:
            name, stream = _with_layout(source, settings, next_row, otherwise)
            names.append(name)
            firsts.append(next_row)
            layout = layouts.load(name)
            waiting: list[tuple[Future[Chunk], flatreading.Room | None, Place | None, int]] = []

            def finish(
                source: Source, job: Future[Chunk], room: flatreading.Room | None, place: Place | None, expected: int
            ) -> int:
                nonlocal made
                chunk = job.result()
                if isinstance(chunk.text, Again) or chunk.text.num_rows:
                    writer.append(chunk.text)
                if beside is not None and chunk.unread is not None and chunk.unread.num_rows:
                    beside.append(chunk.unread)
                if room is not None:
                    rooms.append(room)  # the text stands in it, and is on disk now
                skips.extend(chunk.skips)
                for note in chunk.notes:
                    line, _, what = note.partition(": ")
                    damage.setdefault(what, []).append(f"{source.name}:{line.removeprefix('line ')}")
                found = chunk.rows(source.index)
                if made is None:
                    made = Growing(found)
                made.append(found, expected)
                if printer is not None and place is not None:
                    printer.settle(place, len(chunk.row_id))
                advance(source, len(chunk.row_id), int(chunk.end.max(initial=0)))
                return max((*chunk.row_id[-1:].tolist(), *(s.row_id for s in chunk.skips)), default=-1)

            last = next_row - 1
            for piece in _pieces(stream):
                begun += len(piece)
                expected = _expected(begun, before + int(piece.end.max(initial=0)), size)
                place = printer.reserve(len(piece), expected) if printer else None
                room = rooms.pop() if is_kept else None
                job = submit(segment, piece, layout, settings, room, printer, place, is_known)
                waiting.append((job, room, place, expected))
                if len(waiting) >= threads + JOBS_AHEAD:
                    last = max(last, finish(source, *waiting.pop(0)))
            for jobs in waiting:
                last = max(last, finish(source, *jobs))
            next_row = last + 1
            before += source.bytes_on_disk
    if made is None or not len(made):
        reasons = f"; the first of {len(skips):,}: line {skips[0].line}: {skips[0].reason}" if skips else ""
        raise InputError(f"{', '.join(s.name for s in sources)}: no record could be read{reasons}")
    columns = made.arrays()
    rows = Rows(
        **columns,
        order=stable_order(columns["digest"]),
        layout=tuple(names),
        first_row=tuple(firsts),
        damage=tuple(Damage(what, len(places), places[0]) for what, places in sorted(damage.items())),
    )
    return rows, sorted(skips, key=lambda s: s.row_id)


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
