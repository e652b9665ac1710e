"""One piece of a source to segments: the compiled reader where it applies, the general parser for all other records.

Flat records of strings go through a compiled reader (flatreading.py); all others are parsed one by one. Both give
the same segments and the same record hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scanner import flatreading, inplace, jsontext, layouts, unread
from scanner.errors import ScanError
from scanner.fingerprints import Fingerprinter
from scanner.growing import Place
from scanner.inplace import Again
from scanner.jsonediting import pointer_of
from scanner.kernels.hashing import hash_texts
from scanner.objects import ROLE_CODE, Bool, Int32, Int64, Records, Segment, Skip, UInt64
from scanner.running import uncollected
from scanner.settings import Settings
from scanner.storedtext import SEGMENT_SCHEMA, roles_array, views


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
    private_names: Int32 | None = None  # (n,) as in Rows, where unread fields are wanted

    def rows(self, source: int) -> dict[str, np.ndarray]:
        """What `Rows` holds of these rows, which are the source's of that index."""
        columns = {name: getattr(self, name) for name in ("row_id", "line", "start", "end", "turns", "digest")}
        if self.private_names is not None:
            columns["private_names"] = self.private_names
        return {**columns, "source": np.full(len(self.row_id), source, np.int32)}


def segment(
    records: Records,
    layout: ModuleType,
    settings: Settings,
    room: flatreading.Room | None,
    printer: Fingerprinter | None,
    place: Place | None,
    is_known: Callable[[str], bool] | None = None,
    private: Callable[[set[str]], set[str]] | None = None,
) -> Chunk:
    """Segments of one piece: the fast reader where it applies, the general parser for the rest.

    room: for the text, which is written down; None where it is kept only if it must be. is_known and private: where
    unread fields are wanted, whether a rule knows the name of a field, and which names hold what a rule finds.
    """
    n = len(records)
    digest = np.zeros((n, 2), np.uint64)
    turns = np.zeros(n, np.int32)
    shape = flatreading.shape_of(records, layout, settings)
    fast: flatreading.Decoded | None = None
    slow = np.ones(n, np.bool_)
    if shape is not None:
        turns[:] = len({s.turn for s in shape.segments})
        if room is None and printer is not None and place is not None:
            again = inplace.fingerprint(records, shape, digest, printer, place)
            if again is not None:
                return _chunk(records, again, slice(None), turns, digest, (), list(records.notes))
        room = room or flatreading.Room()
        assert records.buffer is not None
        fast = flatreading.decode(records.buffer, records.row_id, records.start, records.end, shape, room, digest)
        slow = fast.slow
    damage = list(records.notes)
    names: set[Any] = set()
    with uncollected():  # half the time over rows of thousands of fields
        collected, aside, skips = _read_slow(
            records, np.flatnonzero(slow), layout, settings, digest, turns, damage, is_known, names
        )
        named = None if private is None else _private_names(records, shape, slow, names, private)
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
    return _chunk(records, batch, read, turns, digest, (skip for _, skip in skips), damage, aside, named)


def _chunk(
    records: Records,
    text: pa.RecordBatch | Again,
    read: slice | Bool,
    turns: np.ndarray,
    digest: UInt64,
    skips: Iterable[Skip],
    damage: list[str],
    unread: pa.RecordBatch | None = None,
    private_names: Int32 | None = None,
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
        private_names=None if private_names is None else private_names[read],
    )


def _private_names(
    records: Records,
    shape: flatreading.FlatShape | None,
    slow: Bool,
    names: set[Any],
    private: Callable[[set[str]], set[str]],
) -> Int32:
    """(n,) how many names of fields hold private values: of flat records those of their shape, else their own.

    names: of all the others. Hardly any piece has private ones, so these records are then parsed again, rather than
    the names of every record kept.
    """
    counts = np.zeros(len(records), np.int32)
    if shape is not None:
        counts[~slow] = len(private(set(shape.keys)))
    if found := private({jsontext.encodable(str(name)) for name in names}):
        for i in np.flatnonzero(slow).tolist():
            with suppress(ScanError):  # such a record is listed as skipped
                value = jsontext.parse(records.raw(i)) if records.values is None else records.values[i]
                counts[i] = len(found & jsontext.names(value))
    return counts


def _read_slow(
    records: Records,
    places: Int64,
    layout: ModuleType,
    settings: Settings,
    digest: UInt64,
    turns: np.ndarray,
    damage: list[str],
    is_known: Callable[[str], bool] | None,
    names: set[Any],
) -> tuple[pa.RecordBatch, pa.RecordBatch, list[tuple[int, Skip]]]:
    """Segments of the records at `places`, parsed one by one, and what stands beside them where it is wanted.

    What cannot be read comes back as skips. names: takes the names of their fields where what stands beside is wanted.
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
            others = unread.of_record(value, segments, is_known, names)
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
    pointers = {path: jsontext.encodable(pointer_of(path)) for path in {s.path for _, _, s in found}}
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
