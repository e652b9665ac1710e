"""Arrow IPC, the file format and the stream format (also called Feather 2); written back in the kind it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from scanner.formats._files import content
from scanner.formats._tables import readable, readable_batches, row_runs, write_batches
from scanner.objects import Edits, Records, Source, Written
from scanner.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "arrow"
DESCRIPTION = "Arrow IPC file or stream"
EXTENSIONS = (".arrow", ".feather", ".ipc")
FOLDER = False

_MAGIC = b"ARROW1"
_CONTINUATION = b"\xff\xff\xff\xff"


def sniff(path: Path, first: bytes, extension: str) -> float:
    """How sure these first bytes are Arrow IPC, 0 to 1."""
    if first[:6] == _MAGIC:
        return 1.0
    by_name = extension in EXTENSIONS
    return (0.95 if by_name else 0.7) if first[:4] == _CONTINUATION else 0.5 if by_name else 0.0


def _open(source: Source, settings: Settings) -> tuple[pa.Schema, Iterator[pa.RecordBatch], bool]:
    """Schema, batches, and whether it is the file format rather than a stream."""
    import pyarrow as pa

    data = content(source, settings.max_decompressed_bytes)
    with readable(source, "Arrow"):
        buffer = pa.BufferReader(pa.py_buffer(data))
        if data[:6].tobytes() == _MAGIC:
            file = pa.ipc.open_file(buffer)
            return file.schema, (file.get_batch(i) for i in range(file.num_record_batches)), True
        stream = pa.ipc.open_stream(buffer)
        return stream.schema, iter(stream), False


def read(source: Source, settings: Settings, first_row: int) -> Iterator[Records]:
    """Rows as dicts, in batches; `line` is the row's number."""
    _, batches, _ = _open(source, settings)
    yield from row_runs(source, readable_batches(source, "Arrow", batches), first_row)


def write(source: Source, settings: Settings, edits: Edits, sink: IO[bytes]) -> Written:
    """The same table without the dropped rows and with new texts."""
    import pyarrow as pa

    schema, batches, is_file = _open(source, settings)
    batches = readable_batches(source, "Arrow", batches)
    if not is_file:
        with pa.ipc.new_stream(sink, schema) as writer:
            return write_batches(batches, edits, writer.write_batch)
    # subtle: the file format allows one dictionary per column, so edited batches must first agree on it
    done: list[pa.RecordBatch] = []
    written = write_batches(batches, edits, done.append)
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(unify_dictionaries=True)) as writer:
        writer.write_table(pa.Table.from_batches(done, schema))
    return written
