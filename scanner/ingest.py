"""Files to segments: reads every input once, finds its layout, and leaves the text as Arrow in the run folder.

    formats.read -> Records -> layouts.segments -> private/segments.arrow, and fingerprints where asked for
                            -> what no segment covers -> private/unread.arrow, where asked for

Flat records of strings go through a compiled reader (flatreading.py); all others are parsed one by one. Both give
the same segments and the same record hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner import flatreading, formats, inplace, jsontext, layouts, unread
from scanner.errors import InputError, LayoutError, ScanError
from scanner.fingerprints import Fingerprinter
from scanner.growing import Growing, Place
from scanner.inplace import Again, TextInPlace
from scanner.kernels.hashing import hash_texts
from scanner.mapped import steady
from scanner.objects import (
    ROLE_CODE,
    Bool,
    Damage,
    Int64,
    Records,
    Rows,
    Segment,
    Skip,
    Source,
    UInt64,
)
from scanner.ordering import stable_order
from scanner.running import submitting, uncollected
from scanner.settings import Settings
from scanner.store import (
    BYTES_PER_BATCH,
    ROWS_PER_BATCH,
    SEGMENT_SCHEMA,
    RunFolder,
    SegmentWriter,
    pointer,
    roles_array,
    views,
)

SAMPLE = 200
"""Records of each source from which its layout is found."""
JOBS_AHEAD = 2
ROWS_AHEAD, TIMES_AHEAD = 1 << 20, 32
"""Rows that room may be made for though they have not been seen, at least, and as a multiple of those seen."""


@dataclass(frozen=True)
class Chunk:
    """Some records of a source as one record batch of segments, with what is known about each row."""

    text: pa.RecordBatch | Again
    row_id: Int64  # (n,) rows with or without segments
    line: Int64
    start: Int64
    end: Int64
    turns: np.ndarray  # (n,) int32
    digest: UInt64  # (n, 2)
    skips: tuple[Skip, ...]
    notes: tuple[str, ...]  # what was tolerated, as "line 3: duplicate key"
    unread: pa.RecordBatch | None = None  # what stands beside the segments, where it is wanted

    def rows(self, source: int) -> dict[str, np.ndarray]:
        """What `Rows` holds of these rows, which are the source's of that index."""
        columns = {name: getattr(self, name) for name in ("row_id", "line", "start", "end", "turns", "digest")}
        return {**columns, "source": np.full(len(self.row_id), source, np.int32)}


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
    rooms = [flatreading.Room() for _ in range(threads + JOBS_AHEAD if is_kept else threads)]
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
                return max((*chunk.row_id.tolist()[-1:], *(s.row_id for s in chunk.skips)), default=-1)

            last = next_row - 1
            for piece in _pieces(stream):
                begun += len(piece)
                expected = _expected(begun, before + int(piece.end.max(initial=0)), size)
                place = printer.reserve(len(piece), expected) if printer else None
                room = rooms.pop() if is_kept else None
                job = submit(_segment, piece, layout, settings, room or rooms, printer, place, is_known)
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


def _segment(
    records: Records,
    layout: ModuleType,
    settings: Settings,
    room: flatreading.Room | list[flatreading.Room],
    printer: Fingerprinter | None,
    place: Place | None,
    is_known: Callable[[str], bool] | None = None,
) -> Chunk:
    """Segments of one piece: the fast reader where it applies, the general parser for the rest.

    room: for the text; or rooms, one for each thread, where the text is not kept. is_known: where unread fields are
    wanted, whether a rule knows the name of a field.
    """
    n = len(records)
    digest = np.zeros((n, 2), np.uint64)
    turns = np.zeros(n, np.int32)
    shape = flatreading.shape_of(records, layout, settings)
    fast: flatreading.Decoded | None = None
    slow = np.ones(n, np.bool_)
    if shape is not None:
        turns[:] = len({s.turn for s in shape.segments})
        if isinstance(room, list):
            again = inplace.fingerprint(records, shape, room, digest, printer, place)
            if again is not None:
                return _chunk(records, again, slice(None), turns, digest, (), list(records.notes))
            room = flatreading.Room()  # its text is kept
        assert records.buffer is not None
        fast = flatreading.decode(records.buffer, records.row_id, records.start, records.end, shape, room, digest)
        slow = fast.slow
    damage = list(records.notes)
    with uncollected():  # half the time over rows of thousands of fields
        collected, aside, skips = _read_slow(
            records, np.flatnonzero(slow), layout, settings, digest, turns, damage, is_known
        )
    if is_known is not None and shape is not None and (flat := unread.of_flat(records, shape, is_known)) is not None:
        aside = _merged(flat, aside)
    read: slice | Bool = slice(None)  # views where all could be read
    if skips:
        read = np.ones(n, np.bool_)
        read[[i for i, _ in skips]] = False
    stored = None if fast is None else fast.arrow()
    if fast is not None and stored is not None and not slow.any():
        batch, segments = stored, fast.batch()
    else:
        batch = collected if stored is None or not stored.num_rows else _merged(stored, collected)
        segments = views(batch)
    if printer is not None and place is not None:
        printer.fill(place, segments)
    return _chunk(records, batch, read, turns, digest, (skip for _, skip in skips), damage, aside)


def _chunk(
    records: Records,
    text: pa.RecordBatch | Again,
    read: slice | Bool,
    turns: np.ndarray,
    digest: UInt64,
    skips: Iterable[Skip],
    damage: list[str],
    unread: pa.RecordBatch | None = None,
) -> Chunk:
    return Chunk(
        text=text,
        row_id=records.row_id[read],
        line=records.line[read],
        start=records.start[read],
        end=records.end[read],
        turns=turns[read],
        digest=digest[read],
        skips=(*records.skips, *skips),
        notes=tuple(damage),
        unread=unread,
    )


def _read_slow(
    records: Records,
    places: Int64,
    layout: ModuleType,
    settings: Settings,
    digest: UInt64,
    turns: np.ndarray,
    damage: list[str],
    is_known: Callable[[str], bool] | None,
) -> tuple[pa.RecordBatch, pa.RecordBatch, list[tuple[int, Skip]]]:
    """Segments of the records at `places`, parsed one by one, and what stands beside them where it is wanted.

    What cannot be read comes back as skips.
    """
    if not len(places):
        return _NO_SEGMENTS, _NO_SEGMENTS, []
    found: list[tuple[int, int, Segment]] = []
    aside: list[tuple[int, int, Segment]] = []
    canonical: list[bytes] = []
    skips: list[tuple[int, Skip]] = []
    kept: list[int] = []
    for i in places.tolist():
        raw = b""
        try:
            if records.values is not None:
                value = records.values[i]
            else:
                assert records.buffer is not None
                raw = records.raw(i)
                seen: list[str] = []
                value = jsontext.parse(raw, seen)
                damage += [f"line {records.line[i]}: {what}" for what in seen]
            # a row without any text still is a row: it gets one empty, unlearned segment
            said = layout.segments(value, settings) or [Segment((), "text", 0, False, "")]
            segments = flatreading.supervised(tuple(said), settings.supervise)
        except ScanError as error:
            skip = Skip(int(records.row_id[i]), records.source.name, int(records.line[i]), str(error), raw[:4096])
            skips.append((i, skip))
            continue
        row = int(records.row_id[i])
        found += [(row, number, s) for number, s in enumerate(segments)]
        if is_known is not None:
            others = unread.of_record(value, segments, is_known)
            aside += [
                (row, number, Segment(path, "text", 0, False, text)) for number, (path, text) in enumerate(others)
            ]
        turns[i] = len({s.turn for s in segments})
        canonical.append(jsontext.canonical(layouts.canonical_fields(value, layout.NAME)))
        kept.append(i)
    if kept:
        hashes = np.empty((len(kept), 2), np.uint64)
        offsets = np.cumsum([0, *map(len, canonical)]).astype(np.int64)
        hash_texts(np.frombuffer(b"".join(canonical), np.uint8), offsets, hashes)
        digest[kept] = hashes
    return _batch(found), _batch(aside), skips


def _batch(found: list[tuple[int, int, Segment]]) -> pa.RecordBatch:
    """(row_id, number, segment) as SEGMENT_SCHEMA has them."""
    pointers = {path: jsontext.encodable(pointer(path)) for path in {s.path for _, _, s in found}}
    arrays = [
        pa.array([row for row, _, _ in found], pa.int64()),
        pa.array([number for _, number, _ in found], pa.int32()),
        pa.array([s.turn for _, _, s in found], pa.int32()),
        roles_array(np.array([ROLE_CODE[s.role] for _, _, s in found], np.uint8)),
        pa.array([pointers[s.path] for _, _, s in found], pa.string()),
        pa.array([s.supervised for _, _, s in found], pa.bool_()),
        pa.array([jsontext.encodable(s.text) for _, _, s in found], pa.large_string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SEGMENT_SCHEMA)


_NO_SEGMENTS = pa.RecordBatch.from_pylist([], SEGMENT_SCHEMA)


def _merged(fast: pa.RecordBatch, slow: pa.RecordBatch) -> pa.RecordBatch:
    """Two batches of segments in row order."""
    if not slow.num_rows:
        return fast
    table = pa.Table.from_batches([fast, slow])
    order = pc.sort_indices(table, sort_keys=[("row_id", "ascending"), ("segment", "ascending")])
    return table.take(order).combine_chunks().to_batches()[0]
