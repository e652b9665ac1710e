"""Values of one field of the records, as ranks, for `--keep-policy field:NAME`.

The inputs are read again for it, for no trainer reads such fields and so the run does not hold all of them. Only the
order of the values is kept: a rank tells nothing of the value itself, which may be private.

Numbers (also true and false, and text that is a number) are compared with numbers, dates (ISO 8601, without a zone:
UTC) with dates; where a field holds both, the more frequent kind counts. Anything else is not comparable.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from scanner import formats, jsontext, layouts
from scanner.errors import ScanError, SettingsError, meant
from scanner.figures import plural
from scanner.objects import Float64, Int64, Records, Source
from scanner.settings import Settings
from scanner.text import one_line

NAMES_FROM = 1000
"""Records whose fields a message names."""
MISSING = object()


@dataclass(frozen=True)
class FieldRanks:
    """rank (n,): place of a row's value among the values, equal ones alike; NaN for rows without a comparable one."""

    rank: Float64
    notes: dict[str, Any]


def check(sources: Sequence[Source], field: str, settings: Settings) -> None:
    """SettingsError where no record of any source has the field; reading ends with the first that has it."""
    names: Counter[str] = Counter()
    seen = 0
    for source in sources:
        for records in formats.read(source, settings, 0):
            for record in _parsed(records, range(len(records))):
                if value_of(record, field) is not MISSING:
                    return
                seen += 1
                if seen <= NAMES_FROM:
                    names.update(_names(record))
    if seen:  # an input without records is refused where it is read
        raise SettingsError(_lacking(field, plural(seen, "record"), names))


def read(
    sources: Sequence[Source], first_rows: Sequence[int], row_id: Int64, wanted: Int64, field: str, settings: Settings
) -> FieldRanks:
    """Ranks of a field's values over the rows at positions `wanted` (ascending); the others are not looked at.

    first_rows: row_id of each source's first record. field: a key, or keys of nested objects with dots between them.
    Raises SettingsError where no record has the field, with the fields that there are.
    """
    found: list[Any] = []
    names: Counter[str] = Counter()
    ids = row_id[wanted]
    for source, first in zip(sources, first_rows, strict=True):
        for records in formats.read(source, settings, first):
            for record in _parsed(records, np.flatnonzero(np.isin(records.row_id, ids)).tolist()):
                found.append(value_of(record, field))
                if len(found) <= NAMES_FROM:
                    names.update(_names(record))
    present = sum(value is not MISSING for value in found)
    if found and not present:
        seen = plural(len(found), "row that has duplicates", "rows that have duplicates")
        raise SettingsError(_lacking(field, seen, names))
    values, kind = comparable(found)
    rank = np.full(len(row_id), np.nan)
    known = ~np.isnan(values)
    rank[wanted[known]] = np.unique(values[known], return_inverse=True)[1]
    return FieldRanks(
        rank,
        {
            "field": one_line(field, 80),
            "compared_as": kind,
            "rows_with_duplicates": len(found),
            "rows_without_the_field": len(found) - present,
            "rows_not_comparable": present - int(known.sum()),
        },
    )


def _parsed(records: Records, places: Sequence[int]) -> Iterator[Any]:
    """The records at these places; None for one that cannot be read."""
    for i in places:
        try:
            yield jsontext.parse(records.raw(i)) if records.values is None else records.values[i]
        except ScanError:  # listed where the input is read
            yield None


def _lacking(field: str, where: str, names: Counter[str]) -> str:
    """That none of these records has the field, with the fields that there are and the likely one."""
    plain = [name for name, _ in names.most_common() if layouts.plain_names([name])]
    none = "no name of theirs is plain enough to be shown" if names else "their records have no named fields"
    there = f"their fields are {', '.join(layouts.plain_names(plain))}" if plain else none
    said = one_line(meant([field], plain), 80) if plain else ""
    return f"--keep-policy field:{field}: none of the {where} has this field; {there}{f'. {said}' if said else ''}"


def value_of(record: Any, field: str) -> Any:
    """The field's value: the key as it stands, else a path of keys with dots; MISSING where there is none."""
    if not isinstance(record, dict):
        return MISSING
    if field in record:
        return record[field]
    head, dot, rest = field.partition(".")
    return value_of(record.get(head), rest) if dot else MISSING


def _names(record: Any) -> list[str]:
    """Names of a record's fields, those of nested objects with a dot."""
    if not isinstance(record, dict):
        return []
    inner = [f"{key}.{name}" for key, value in record.items() if isinstance(value, dict) for name in value]
    return [*map(str, record), *inner]


def comparable(values: Sequence[Any]) -> tuple[Float64, str]:
    """(n,) the values as numbers of the more frequent kind, NaN for all others, and the kind: numbers or dates."""
    numbers = np.array([_number(v) for v in values], np.float64)
    dates = np.array([_seconds(v) for v in values], np.float64)
    if np.isfinite(dates).sum() > np.isfinite(numbers).sum():
        return dates, "dates"
    return numbers, "numbers"


def _number(value: Any) -> float:
    """A number, or text that is one; NaN for anything else, infinities too."""
    if not isinstance(value, int | float | str | Decimal):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _seconds(value: Any) -> float:
    """Seconds since 1970 of a date; NaN for anything else."""
    if not isinstance(value, str | date):
        return math.nan
    if not isinstance(value, datetime):
        try:
            value = datetime.fromisoformat(value.strip() if isinstance(value, str) else value.isoformat())
        except ValueError:
            return math.nan
    known: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
    return known.timestamp()


def of_table(table: pl.DataFrame) -> Float64 | None:
    """The ranks that a run has stored in rows.parquet; None where it has none."""
    if "keep.field" not in table.columns:
        return None
    return table["keep.field"].cast(pl.Float64).fill_null(math.nan).to_numpy()
