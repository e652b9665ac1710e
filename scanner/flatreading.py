"""Flat JSON records of strings to segments without making Python objects: the fast way of ingest.

    shape_of    how the records of a piece fall into segments, if they all do so alike
    read        their text, by kernels.flatjson, in a room that is used again and again

What the kernel cannot read (another shape, broken JSON, other types) is said so, and left to ingest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np
import pyarrow as pa

from scanner import jsontext, layouts
from scanner.errors import ScanError
from scanner.growing import block
from scanner.kernels import flatjson
from scanner.objects import ROLE_CODE, Bool, Records, Segment, UInt8, UInt64
from scanner.settings import Settings
from scanner.store import SEGMENT_SCHEMA, pointer, roles_array

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


def read(
    records: Records, shape: FlatShape, digest: UInt64, turns: np.ndarray, room: Room
) -> tuple[pa.RecordBatch, Bool]:
    """Segments of the records that have exactly the shape's keys, and which records do not.

    digest (n, 2), turns (n,): filled for the former. The text of the batch lies in `room`.
    """
    assert records.buffer is not None
    n, columns = len(records), len(shape.segments)
    names = [key.encode() for key in shape.keys]
    start, end = records.start, records.end
    lengths = end - start
    if lengths.max() > LONGEST_FAST_RECORD:
        end = np.where(lengths > LONGEST_FAST_RECORD, start, end)
        lengths = end - start
    out = room.of("text", int(lengths.sum()), np.uint8)
    offsets = room.of("offsets", n * columns + 1, np.int64)
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
        room.of("scratch", 2 * int(lengths.max()) + 64 + 8 * sum(map(len, names)), np.uint8),
        out,
        offsets,
        digest,
        status,
    )
    slow = status == flatjson.SLOW
    turns[~slow] = len({s.turn for s in shape.segments})
    row = room.of("row", n * columns, np.int64)
    row.reshape(n, columns)[:] = records.row_id[:, None]
    text = pa.LargeStringArray.from_buffers(n * columns, pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]]))
    batch = pa.RecordBatch.from_arrays([pa.array(row), *_columns(shape, n), text], schema=SEGMENT_SCHEMA)
    return (batch.filter(pa.array(np.repeat(~slow, columns))) if slow.any() else batch), slow


def _columns(shape: FlatShape, n: int) -> list[pa.Array]:
    """segment, turn, role, field_path and supervised of n records of a shape."""
    enough = 1 << max(0, n - 1).bit_length()
    return [column.slice(0, n * len(shape.segments)) for column in _repeated(shape, enough)]


@lru_cache(COLUMNS_KEPT)
def _repeated(shape: FlatShape, n: int) -> tuple[pa.Array, ...]:
    """The columns, for so many records: lengths of pieces vary, and making them takes as long as reading some."""
    segments = shape.segments
    place = pa.array(np.tile(np.arange(len(segments), dtype=np.int32), n))
    return (
        place,
        pa.array(np.tile(np.array([s.turn for s in segments], np.int32), n)),
        roles_array(np.tile(np.array([ROLE_CODE[s.role] for s in segments], np.uint8), n)),
        pa.array([pointer(s.path) for s in segments], pa.string()).take(place),
        pa.array(np.tile(np.array([s.supervised for s in segments]), n)),
    )
