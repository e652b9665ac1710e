"""Flat JSON records of strings to segments without making Python objects: the fast way of ingest.

    shape_of    how the records of a piece fall into segments, if they all do so alike
    decode      their text, by kernels.flatjson, in a room that is used again and again

What the kernel cannot read (another shape, broken JSON, other types) is said so, and left to ingest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import ModuleType

import numpy as np
import pyarrow as pa

from scanner import jsontext, layouts
from scanner.errors import ScanError
from scanner.growing import block
from scanner.jsonediting import pointer_of
from scanner.kernels import flatjson
from scanner.objects import ROLE_CODE, Bool, Int32, Int64, Records, Segment, SegmentBatch, UInt8, UInt64
from scanner.settings import Settings
from scanner.storedtext import SEGMENT_SCHEMA, roles_array

LONGEST_FAST_RECORD = 1 << 20
"""Bytes above which a record goes to the general parser, so that the fast reader's scratch space stays small."""
COLUMNS_KEPT = 16
"""Shapes and lengths for which the columns that do not depend on the text are kept."""


@dataclass(frozen=True)
class FlatShape:
    """How a flat record of strings falls into segments; the same for all records with these keys."""

    keys: tuple[str, ...]  # sorted
    kinds: tuple[int, ...]  # per key: flatjson.TEXT, or SCALAR for one that no segment reads
    segments: tuple[Segment, ...]  # their text is the key they come from
    hashed: tuple[bool, ...]  # per key: part of the canonical record

    @cached_property
    def tables(self) -> tuple[UInt8, Int64, Int64, Int64]:
        """keys, key_offsets, kinds and column_key, as kernels.flatjson takes them."""
        names = [key.encode() for key in self.keys]
        return (
            np.frombuffer(b"".join(names), np.uint8),
            np.cumsum([0, *map(len, names)]).astype(np.int64),
            np.array(self.kinds, np.int64),
            np.array([self.keys.index(s.text) for s in self.segments], np.int64),
        )

    @cached_property
    def canonical(self) -> tuple[Int64, UInt8, Int64]:
        """hashed, lead and lead_offsets, likewise."""
        names = [key.encode() for key in self.keys]
        return np.array(self.hashed, np.int64), *flatjson.leads(names, self.kinds, self.hashed)

    @cached_property
    def roles(self) -> tuple[UInt8, Bool]:
        """role and supervised of each segment."""
        segments = self.segments
        return np.array([ROLE_CODE[s.role] for s in segments], np.uint8), np.array([s.supervised for s in segments])


class Room:
    """Memory for one piece at a time: fresh memory costs more than what is written into it."""

    def __init__(self) -> None:
        self._bytes: dict[str, UInt8] = {}

    def of(self, name: str, count: int, kind: type[np.generic]) -> np.ndarray:
        """`count` values of a kind; what they held before is overwritten."""
        size = count * np.dtype(kind).itemsize
        if name not in self._bytes or len(self._bytes[name]) < size:
            self._bytes[name] = block(size + size // 4)  # the next piece may be a little larger
        return self._bytes[name][:size].view(kind)


def shape_of(records: Records, layout: ModuleType, settings: Settings) -> FlatShape | None:
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
    if any(set(key) & {'"', "\\"} or min(key, default=" ") < " " or jsontext.encodable(key) != key for key in first):
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
    if not by_keys_alone or not segments or any(len(s.path) != 1 or s.text != s.path[0] for s in segments):
        return None
    segments = supervised(segments, settings.supervise)
    hashed = layouts.canonical_fields(probe, layout.NAME)
    kinds = tuple(flatjson.SCALAR if key in scalars else flatjson.TEXT for key in keys)
    return FlatShape(keys, kinds, segments, tuple(key in hashed for key in keys))


def supervised(segments: tuple[Segment, ...], which: str) -> tuple[Segment, ...]:
    """A row's segments with what is learned narrowed or widened, as --supervise says."""
    if which == "everything":
        return tuple(s._replace(supervised=s.role != "rejected") for s in segments)
    if which == "last":
        last = max((s.turn for s in segments if s.supervised), default=-1)
        return tuple(s._replace(supervised=s.supervised and s.turn == last) for s in segments)
    return segments


@dataclass(frozen=True)
class Decoded:
    """The texts of some records, each with as many segments as the shape has; in memory of a room."""

    shape: FlatShape
    row_id: Int64  # (n,)
    text: UInt8
    offsets: Int64  # (n * segments + 1,) into text; a record that could not be read is empty
    slow: Bool  # (n,) records that could not be read
    room: Room = field(repr=False)

    def batch(self) -> SegmentBatch:
        """The segments as arrays; all records could be read."""
        n, columns = len(self.row_id), len(self.shape.segments)
        segment, turn, role, supervised = _repeated(self.shape, _enough(n))
        at = slice(n * columns)
        return SegmentBatch(
            self._row(), segment[at], turn[at], role[at], supervised[at], self.offsets, self.text,
            starts=np.arange(0, n * columns + 1, columns),
        )  # fmt: skip

    def _row(self) -> Int64:
        """(s,) row of each segment."""
        row: Int64 = self.room.of("row", len(self.offsets) - 1, np.int64)
        row.reshape(len(self.row_id), -1)[:] = self.row_id[:, None]
        return row

    def arrow(self) -> pa.RecordBatch:
        """The segments of the records that could be read, as they are stored; the text is not copied."""
        n, columns = len(self.row_id), len(self.shape.segments)
        text = pa.LargeStringArray.from_buffers(n * columns, pa.py_buffer(self.offsets), pa.py_buffer(self.text))
        others = [column.slice(0, n * columns) for column in _columns(self.shape, _enough(n))]
        batch = pa.RecordBatch.from_arrays([pa.array(self._row()), *others, text], schema=SEGMENT_SCHEMA)
        return batch.filter(pa.array(np.repeat(~self.slow, columns))) if self.slow.any() else batch


def decode(
    buffer: UInt8, row_id: Int64, start: Int64, end: Int64, shape: FlatShape, room: Room, digest: UInt64 | None = None
) -> Decoded:
    """The texts of the records buffer[start[i]:end[i]] that have exactly the shape's keys, and which have not.

    digest (n, 2): filled for the former, if wanted.
    """
    n, columns = len(start), len(shape.segments)
    lengths = end - start
    longest = int(lengths.max(initial=0))
    if longest > LONGEST_FAST_RECORD:
        end = np.where(lengths > LONGEST_FAST_RECORD, start, end)
        lengths = end - start
        longest = int(lengths.max())
    out = room.of("text", int(lengths.sum()), np.uint8)
    offsets = room.of("offsets", n * columns + 1, np.int64)
    status = np.empty(n, np.uint8)
    hashed, lead, lead_offsets = shape.canonical
    flatjson.read_flat(
        buffer, start, end, *shape.tables, hashed if digest is not None else np.zeros_like(hashed), lead, lead_offsets,
        room.of("scratch", 2 * longest + 64 + 2 * len(lead), np.uint8),
        out, offsets, np.empty((n, 2), np.uint64) if digest is None else digest, status,
    )  # fmt: skip
    return Decoded(shape, row_id, out[: offsets[-1]], offsets, status == flatjson.SLOW, room)


def _enough(n: int) -> int:
    """So many records that columns made for them serve many lengths."""
    return 1 << max(0, n - 1).bit_length()


@lru_cache(COLUMNS_KEPT)
def _repeated(shape: FlatShape, n: int) -> tuple[Int32, Int32, UInt8, Bool]:
    """segment, turn, role and supervised of n records: what does not depend on the text is not made again."""
    segments, (role, supervised) = shape.segments, shape.roles
    return (
        np.tile(np.arange(len(segments), dtype=np.int32), n),
        np.tile(np.array([s.turn for s in segments], np.int32), n),
        np.tile(role, n),
        np.tile(supervised, n),
    )


@lru_cache(COLUMNS_KEPT)
def _columns(shape: FlatShape, n: int) -> tuple[pa.Array, ...]:
    """segment, turn, role, field_path and supervised of n records, as they are stored."""
    segment, turn, role, supervised = _repeated(shape, n)
    place = pa.array(segment)
    paths = pa.array([pointer_of(s.path) for s in shape.segments], pa.string()).take(place)
    return place, pa.array(turn), roles_array(role), paths, pa.array(supervised)
