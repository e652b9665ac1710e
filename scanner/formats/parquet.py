"""Parquet: every row a dict, nested structs and lists included; written back with the same schema and compression."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from scanner.formats._files import content
from scanner.formats._tables import ROWS_PER_BATCH, readable, readable_batches, row_runs, write_batches
from scanner.objects import Edits, Records, Source, Written
from scanner.settings import Settings

if TYPE_CHECKING:
    import pyarrow.parquet as pq

NAME = "parquet"
DESCRIPTION = "Apache Parquet"
EXTENSIONS = (".parquet", ".pq")
FOLDER = False

_MAGIC = b"PAR1"


def sniff(path: Path, first: bytes, extension: str) -> float:
    """How sure these first bytes are Parquet, 0 to 1."""
    return 1.0 if first[:4] == _MAGIC else 0.6 if extension in EXTENSIONS else 0.0


def _open(source: Source, settings: Settings) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = content(source, settings.max_decompressed_bytes)
    with readable(source, "Parquet"):
        return pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))


def read(source: Source, settings: Settings, first_row: int) -> Iterator[Records]:
    """Rows as dicts, in batches; `line` is the row's number."""
    file = _open(source, settings)
    yield from row_runs(source, readable_batches(source, "Parquet", file.iter_batches(ROWS_PER_BATCH)), first_row)


def write(source: Source, settings: Settings, edits: Edits, sink: IO[bytes]) -> Written:
    """The same table without the dropped rows and with new texts; schema, metadata and codec as they were."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = _open(source, settings)
    schema = file.schema_arrow
    # Not "compliant": the names inside lists stay what they were, "item" or "element".
    with pq.ParquetWriter(sink, schema, compression=_codec(file), use_compliant_nested_type=False) as writer:

        def emit(batch: pa.RecordBatch) -> None:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))

        batches = readable_batches(source, "Parquet", file.iter_batches(1 << 17))
        return write_batches(batches, edits, emit)


def _codec(file: pq.ParquetFile) -> str:
    """The compression of the file's first column chunk, "snappy" where it has none to show."""
    if file.metadata.num_row_groups and file.metadata.num_columns:
        name = file.metadata.row_group(0).column(0).compression.lower()
        return "none" if name == "uncompressed" else name
    return "snappy"
