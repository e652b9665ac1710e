"""Arrow tables: batches to Python rows and back, with everything that was not edited kept as Arrow had it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scanner.errors import EmptyError, FormatError, OutputError
from scanner.jsonediting import get_at, keep_json, set_at
from scanner.objects import Edits, Records, Source, Written
from scanner.shownnames import shown
from scanner.text import one_line

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BATCH = 16_384


@contextmanager
def readable(source: Source, kind: str) -> Iterator[None]:
    """Say what pyarrow refuses as FormatError, without its values."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"{source.name}: is not readable as {kind} ({type(error).__name__}); expected a complete {kind} file; "
            "fetch or write the file again"
        ) from None


def readable_batches(source: Source, kind: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches; damage that shows only while they are read is said as FormatError too."""
    with readable(source, kind):
        yield from batches


def row_runs(source: Source, batches: Iterable[pa.RecordBatch], first_row: int) -> Iterator[Records]:
    """Rows as dicts, batch by batch; `line` is the row's number from 1.

    FormatError where a name stands for several columns: a dict would keep one of them and lose the others.
    """
    place = 0
    for batch in batches:
        name, columns = Counter(batch.schema.names).most_common(1)[0] if batch.num_columns else ("", 0)
        if columns > 1:
            called = one_line(shown([name])[0], 40)
            raise FormatError(
                f"{source.name}: {columns} of its {batch.num_columns} columns are named {called}, of which a "
                "row can hold one; rename them and write the file again"
            )
        for low in range(0, batch.num_rows, ROWS_PER_BATCH):
            part = batch.slice(low, ROWS_PER_BATCH)
            places = np.arange(place, place + part.num_rows, dtype=np.int64)
            nowhere = np.full(part.num_rows, -1, np.int64)
            yield Records(source, first_row + places, places + 1, nowhere, nowhere, values=part.to_pylist())
            place += part.num_rows
    if not place:
        raise EmptyError(f"{source.name}: the table has no rows, expected at least one; leave it out")


def write_batches(batches: Iterable[pa.RecordBatch], edits: Edits, emit: Callable[[pa.RecordBatch], None]) -> Written:
    """Give every batch to `emit` with its dropped rows left out and its edited cells changed."""
    import pyarrow as pa

    place = edits.first_row
    kept = dropped = replaced = 0
    for batch in batches:
        rows = range(place, place + batch.num_rows)
        place += batch.num_rows
        changes = {
            row - rows.start: edits.replace[row] for row in rows if row in edits.replace and row not in edits.drop
        }
        if changes:
            batch = _changed(batch, changes)
        keep = np.array([row not in edits.drop for row in rows], bool)
        dropped += int((~keep).sum())
        if not keep.all():
            batch = batch.filter(pa.array(keep))
        kept += batch.num_rows
        replaced += len(changes)
        if batch.num_rows:
            emit(batch)
    return Written(kept, dropped, replaced, 0)


def _changed(batch: pa.RecordBatch, changes: Mapping[int, Mapping[tuple[str | int, ...], str]]) -> pa.RecordBatch:
    """The batch with new texts; only the edited cells pass through Python. What is no text becomes null."""
    import pyarrow as pa

    by_column: dict[str, dict[int, list[tuple[tuple[str | int, ...], str]]]] = {}
    for row, texts in changes.items():
        for path, text in texts.items():
            by_column.setdefault(str(path[0]), {}).setdefault(row, []).append((path[1:], text))
    columns = list(batch.columns)
    for name, rows in by_column.items():
        index = batch.schema.get_field_index(name)
        column = columns[index]
        plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        pieces, at = [], 0
        for row in sorted(rows):
            value: Any = plain[row].as_py()
            for path, text in rows[row]:
                old = get_at(value, path)
                if not isinstance(old, str) and not _may_be_null(batch.schema.field(index), path):
                    raise OutputError(
                        f"column {one_line(name, 40)} holds private numbers and is declared to hold no nulls; expected "
                        "a column in which such a number can be left out; let it hold nulls, drop it, or judge again "
                        "with `scan plan RUN --leave-unread`"
                    )
                value = set_at(value, path, keep_json(old, text) if isinstance(old, str) else None)
            pieces += [plain.slice(at, row - at), pa.array([value], plain.type)]
            at = row + 1
        joined = pa.concat_arrays([*pieces, plain.slice(at)])
        columns[index] = joined.dictionary_encode() if plain is not column else joined
        if columns[index].type != column.type:
            columns[index] = columns[index].cast(column.type)
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _may_be_null(field: pa.Field, path: tuple[str | int, ...]) -> bool:
    """Whether the place that a path leads to below a column may be null."""
    import pyarrow as pa

    for part in path:
        kind = field.type
        if pa.types.is_struct(kind):
            field = kind.field(part)
        elif pa.types.is_map(kind):
            field = pa.field("entry", pa.struct([kind.key_field, kind.item_field]))
        else:
            field = kind.value_field
    return bool(field.nullable)
