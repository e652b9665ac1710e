"""Files to segments: reads every input once, finds its layout, and leaves the text as Arrow in the run folder.

    formats.read -> Records -> layouts.segments -> private/segments.arrow

Flat records of strings go through a compiled reader (kernels.flatjson); all others are parsed one by one. Both give
the same segments and the same record hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner import formats, jsontext, layouts
from scanner.errors import InputError, LayoutError, ScanError
from scanner.kernels import flatjson
from scanner.objects import ROLE_CODE, Bool, Damage, Int64, Records, Rows, Segment, Skip, Source, UInt8, UInt64
from scanner.settings import Settings
from scanner.store import (
    BYTES_PER_BATCH,
    ROWS_PER_BATCH,
    SEGMENT_SCHEMA,
    RunFolder,
    SegmentWriter,
    pointer,
    roles_array,
)

SAMPLE = 200
"""Records of each source from which its layout is found."""
LONGEST_FAST_RECORD = 1 << 20
"""Bytes above which a record goes to the general parser, so that the fast reader's scratch space stays small."""
JOBS_AHEAD = 4


@dataclass(frozen=True)
class Chunk:
    """Some records of a source as one record batch of segments, with what is known about each row."""

    batch: pa.RecordBatch
    row_id: Int64  # (n,) rows with or without segments
    line: Int64
    start: Int64
    end: Int64
    turns: np.ndarray  # (n,) int32
    digest: UInt64  # (n, 2)
    skips: tuple[Skip, ...]
    notes: tuple[str, ...]  # what was tolerated, as "line 3: duplicate key"


@dataclass(frozen=True)
class FlatShape:
    """How a flat record of strings falls into segments; the same for all records with these keys."""

    keys: tuple[str, ...]  # sorted
    kinds: tuple[int, ...]  # per key: flatjson.TEXT, or SCALAR for one that no segment reads
    segments: tuple[Segment, ...]  # their text is the key they come from
    hashed: tuple[bool, ...]  # per key: part of the canonical record


def read_all(
    sources: list[Source],
    run: RunFolder,
    settings: Settings,
    threads: int,
    advance: Callable[[Source, int, int], None] = lambda source, rows, byte: None,
) -> tuple[Rows, list[Skip]]:
    """Read every source into RUN/private/segments.arrow; returns where the rows stand and what was skipped.

    `advance` is told the source, how many rows were added and the byte position reached in it.
    """
    chunks: list[Chunk] = []
    owners: list[int] = []
    skips: list[Skip] = []
    damage: dict[str, list[str]] = {}
    names: list[str] = []
    firsts: list[int] = []
    next_row = 0
    with SegmentWriter(run.segments_path) as writer, ThreadPoolExecutor(threads) as pool:
        for source in sources:
            name, stream = _with_layout(source, settings, next_row)
            names.append(name)
            firsts.append(next_row)
            layout = layouts.load(name)
            waiting: list[Future[Chunk]] = []

            def finish(source: Source, job: Future[Chunk]) -> int:
                chunk = job.result()
                if chunk.batch.num_rows:
                    writer.append(chunk.batch)
                skips.extend(chunk.skips)
                for note in chunk.notes:
                    line, _, what = note.partition(": ")
                    damage.setdefault(what, []).append(f"{source.name}:{line.removeprefix('line ')}")
                chunks.append(replace(chunk, batch=None))
                owners.append(source.index)
                advance(source, len(chunk.row_id), int(chunk.end.max(initial=0)))
                return max((*chunk.row_id.tolist()[-1:], *(s.row_id for s in chunk.skips)), default=-1)

            last = next_row - 1
            for piece in _pieces(stream):
                waiting.append(pool.submit(_segment, piece, layout, settings))
                if len(waiting) >= threads + JOBS_AHEAD:
                    last = max(last, finish(source, waiting.pop(0)))
            for job in waiting:
                last = max(last, finish(source, job))
            next_row = last + 1
    rows = Rows(
        row_id=_joined([c.row_id for c in chunks], np.int64),
        source=np.repeat(np.asarray(owners, np.int32), [len(c.row_id) for c in chunks]),
        line=_joined([c.line for c in chunks], np.int64),
        start=_joined([c.start for c in chunks], np.int64),
        end=_joined([c.end for c in chunks], np.int64),
        turns=_joined([c.turns for c in chunks], np.int32),
        digest=np.concatenate([np.zeros((0, 2), np.uint64), *(c.digest for c in chunks)]),
        layout=tuple(names),
        first_row=tuple(firsts),
        damage=tuple(Damage(what, len(places), places[0]) for what, places in sorted(damage.items())),
    )
    if not len(rows):
        reasons = f"; the first of {len(skips)} unreadable records: {skips[0].reason}" if skips else ""
        raise InputError(f"{', '.join(s.name for s in sources)}: no record could be read{reasons}")
    return rows, sorted(skips, key=lambda s: s.row_id)


def _with_layout(source: Source, settings: Settings, first_row: int) -> tuple[str, Iterator[Records]]:
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


def _segment(records: Records, layout: ModuleType, settings: Settings) -> Chunk:
    """Segments of one piece: the fast reader where it applies, the general parser for the rest."""
    n = len(records)
    digest = np.zeros((n, 2), np.uint64)
    turns = np.zeros(n, np.int32)
    shape = _flat_shape(records, layout, settings)
    fast: pa.RecordBatch | None = None
    slow = np.ones(n, np.bool_)
    if shape is not None:
        fast, slow = _read_fast(records, shape, digest, turns)
    damage = list(records.notes)
    collected, skips = _read_slow(records, np.flatnonzero(slow), layout, settings, digest, turns, damage)
    read = np.ones(n, np.bool_)
    read[[i for i, _ in skips]] = False
    batch = collected if fast is None or not fast.num_rows else _merged(fast, collected)
    batch = _supervise(batch, settings.supervise)
    return Chunk(
        batch=batch,
        row_id=records.row_id[read],
        line=records.line[read],
        start=records.start[read],
        end=records.end[read],
        turns=turns[read],
        digest=digest[read],
        skips=(*records.skips, *(skip for _, skip in skips)),
        notes=tuple(damage),
    )


def _flat_shape(records: Records, layout: ModuleType, settings: Settings) -> FlatShape | None:
    """The shape of the piece's first record, if it is a flat object and the layout looks at the keys of texts only."""
    if records.buffer is None or not len(records) or not layout.FLAT:
        return None
    try:
        first = jsontext.parse(records.raw(0))
    except ScanError:
        return None
    if not isinstance(first, dict) or not first or len(first) > flatjson.MAX_KEYS:
        return None
    if not all(v is None or isinstance(v, str | int) for v in first.values()):
        return None
    if any(set(key) & {'"', "\\"} or jsontext.encodable(key) != key for key in first):
        return None
    keys = tuple(sorted(first))
    scalars = {key for key in keys if not isinstance(first[key], str)}
    probe = {key: 0 if key in scalars else key for key in keys}
    try:
        segments = tuple(layout.segments(probe, settings))
        # subtle: records with these keys may have them in any order, and the kernel does not tell; nor does it tell
        # which of these values a key that is no text holds
        others = [dict(reversed(probe.items()))]
        others += [{**probe, **dict.fromkeys(scalars, value)} for value in (1, -1, True, False, None) if scalars]
        by_keys_alone = all(segments == tuple(layout.segments(other, settings)) for other in others)
    except ScanError:
        return None
    if not by_keys_alone or any(len(s.path) != 1 or s.text != s.path[0] for s in segments):
        return None
    hashed = layouts.canonical_fields(probe, layout.NAME)
    kinds = tuple(flatjson.SCALAR if key in scalars else flatjson.TEXT for key in keys)
    return FlatShape(keys, kinds, segments, tuple(key in hashed for key in keys))


def _read_fast(records: Records, shape: FlatShape, digest: UInt64, turns: np.ndarray) -> tuple[pa.RecordBatch, Bool]:
    """Segments of the records that have exactly the shape's keys, and which records do not."""
    assert records.buffer is not None
    n, columns = len(records), len(shape.segments)
    names = [key.encode() for key in shape.keys]
    lengths = records.end - records.start
    start, end = records.start.copy(), records.end.copy()
    end[lengths > LONGEST_FAST_RECORD] = start[lengths > LONGEST_FAST_RECORD]
    out = np.empty(int((end - start).sum()), np.uint8)
    offsets = np.empty(n * columns + 1, np.int64)
    status = np.empty(n, np.uint8)
    flatjson.read_flat(
        records.buffer,
        start,
        end,
        np.frombuffer(b"".join(names), np.uint8),
        np.cumsum([0, *map(len, names)]).astype(np.int64),
        np.array(shape.kinds, np.int64),
        np.array([shape.keys.index(s.text) for s in shape.segments], np.int64),
        np.array(shape.hashed, np.int64),
        np.empty(2 * int((end - start).max()) + 64 + 8 * sum(map(len, names)), np.uint8),
        out,
        offsets,
        digest,
        status,
    )
    slow = status == flatjson.SLOW
    turns[~slow] = len({s.turn for s in shape.segments})
    text = pa.LargeStringArray.from_buffers(n * columns, pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]]))
    place = np.tile(np.arange(columns, dtype=np.int32), n)
    arrays = [
        pa.array(np.repeat(records.row_id, columns)),
        pa.array(place),
        pa.array(np.tile(np.array([s.turn for s in shape.segments], np.int32), n)),
        roles_array(np.tile(np.array([ROLE_CODE[s.role] for s in shape.segments], np.uint8), n)),
        pa.array([pointer(s.path) for s in shape.segments], pa.string()).take(pa.array(place)),
        pa.array(np.tile(np.array([s.supervised for s in shape.segments]), n)),
        text,
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=SEGMENT_SCHEMA)
    return (batch.filter(pa.array(np.repeat(~slow, columns))) if slow.any() else batch), slow


def _read_slow(
    records: Records,
    places: Int64,
    layout: ModuleType,
    settings: Settings,
    digest: UInt64,
    turns: np.ndarray,
    damage: list[str],
) -> tuple[pa.RecordBatch, list[tuple[int, Skip]]]:
    """Segments of the records at `places`, parsed one by one; what cannot be read comes back as skips."""
    found: list[tuple[int, int, Segment]] = []
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
            segments = layout.segments(value, settings) or [Segment((), "text", 0, False, "")]
        except ScanError as error:
            skip = Skip(int(records.row_id[i]), records.source.name, int(records.line[i]), str(error), raw[:4096])
            skips.append((i, skip))
            continue
        found += [(int(records.row_id[i]), number, s) for number, s in enumerate(segments)]
        turns[i] = len({s.turn for s in segments})
        canonical.append(jsontext.canonical(layouts.canonical_fields(value, layout.NAME)))
        kept.append(i)
    if kept:
        hashes = np.empty((len(kept), 2), np.uint64)
        offsets = np.cumsum([0, *map(len, canonical)]).astype(np.int64)
        flatjson.hash_texts(np.frombuffer(b"".join(canonical), np.uint8), offsets, hashes)
        digest[kept] = hashes
    arrays = [
        pa.array([row for row, _, _ in found], pa.int64()),
        pa.array([number for _, number, _ in found], pa.int32()),
        pa.array([s.turn for _, _, s in found], pa.int32()),
        roles_array(np.array([ROLE_CODE[s.role] for _, _, s in found], np.uint8)),
        pa.array([jsontext.encodable(pointer(s.path)) for _, _, s in found], pa.string()),
        pa.array([s.supervised for _, _, s in found], pa.bool_()),
        pa.array([jsontext.encodable(s.text) for _, _, s in found], pa.large_string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SEGMENT_SCHEMA), skips


def _merged(fast: pa.RecordBatch, slow: pa.RecordBatch) -> pa.RecordBatch:
    """Two batches of segments in row order."""
    if not slow.num_rows:
        return fast
    table = pa.Table.from_batches([fast, slow])
    order = pc.sort_indices(table, sort_keys=[("row_id", "ascending"), ("segment", "ascending")])
    return table.take(order).combine_chunks().to_batches()[0]


def _supervise(batch: pa.RecordBatch, which: str) -> pa.RecordBatch:
    """Narrow or widen what is learned: all-assistant (as the layout says), last (the last answer), everything."""
    if which == "all-assistant" or not batch.num_rows:
        return batch
    supervised = batch.column("supervised").to_numpy(zero_copy_only=False)
    role: UInt8 = batch.column("role").indices.to_numpy().view(np.uint8)
    if which == "everything":
        chosen = role != ROLE_CODE["rejected"]
    else:
        turn, row = batch.column("turn").to_numpy(), batch.column("row_id").to_numpy()
        starts = np.concatenate(([0], np.flatnonzero(np.diff(row)) + 1))
        last = np.maximum.reduceat(np.where(supervised, turn, -1), starts)
        chosen = supervised & (turn == np.repeat(last, np.diff(np.append(starts, len(row)))))
    at = batch.schema.get_field_index("supervised")
    return batch.set_column(at, SEGMENT_SCHEMA.field("supervised"), pa.array(chosen))


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)
