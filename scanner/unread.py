"""Fields that no trainer reads: what stands in them beside the segments, and what the rules find there.

    record, segments -> every other text, and numbers that may be private -> private/unread.arrow
    segments and unread fields together, through the rules -> spans.parquet and unread.parquet
    names of all fields, through the rules -> how many of each row are private

A cleaned file still holds these fields, so what is private in them is masked like anything else. They play no part in
duplicates or predictions. Names are never changed, for other programs ask for them: who brings the data is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa

from scanner import fieldnames, flatreading, rulebook
from scanner.kernels import flatjson
from scanner.layouts import is_label
from scanner.objects import Records, Segment
from scanner.rulebook import FINDINGS_SCHEMA, Rulebook
from scanner.settings import Settings
from scanner.store import RunFolder

UNREAD_SCHEMA = {"field" if name == "segment" else name: kind for name, kind in FINDINGS_SCHEMA.items()}
"""unread.parquet: as spans.parquet, with the number of the field in private/unread.arrow."""
LEAST_CHARACTERS, LEAST_DIGITS = 3, 7
"""Of a text, and of a number, in a field whose name no rule knows: shorter numbers are years, counts and tokens of
text. Where a rule knows the name anything counts, for a verification value of 007 may stand there as 7."""
LARGEST_EXACT = 1 << 53
"""Whole numbers below this are the same as floats, which is what pandas makes of a column with gaps."""
_DIGITS, _HASH = "^[0-9 .-]+$", "^[0-9A-Fa-f-]{32,}$"

Beside = list[tuple[tuple[str | int, ...], str]]
"""Path and text of the fields of a record."""


def names_of(settings: Settings) -> Callable[[str], bool]:
    """Whether a rule knows the name of a field."""
    known = rulebook.load(settings.rules).fields

    @cache
    def is_known(name: str) -> bool:
        return fieldnames.meaning(name, known) is not None

    return is_known


NAMES_KEPT = 1 << 16
"""Names of which it is remembered that no rule finds anything in them; data may use them up without end."""


def private_names(settings: Settings) -> Callable[[set[str]], set[str]]:
    """Which of some names of fields hold what a rule finds."""
    book = rulebook.load(settings.rules)
    harmless: set[str] = set()

    def private(names: set[str]) -> set[str]:
        new = names - harmless
        found = private_among(new, book)
        if len(harmless) < NAMES_KEPT:
            harmless.update(new - found)
        return found

    return private


def private_among(names: Iterable[str], book: Rulebook) -> set[str]:
    """Those of some names of fields in which a rule finds something."""
    ordered = sorted(names)
    if not ordered:
        return set()
    frame = pl.DataFrame({"row_id": range(len(ordered)), "segment": 0, "text": ordered, "field_path": ""})
    return {ordered[i] for i in book.find([frame], 1)["row_id"].to_list()}


def of_record(
    record: Any, segments: Iterable[Segment], is_known: Callable[[str], bool], names: set[Any] | None = None
) -> Beside:
    """What stands in a record beside its segments, in its order; numbers as text. No depth is too deep.

    names: takes the names of all its fields, as they stand there.
    """
    covered = {segment.path for segment in segments}
    found: Beside = []
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(record, ())]
    while stack:
        item, path = stack.pop()
        if isinstance(item, str):
            long_enough = len(item) >= LEAST_CHARACTERS or (item != "" and is_known(_name(path)))
            if long_enough and path not in covered and not is_label(path, item):
                found.append((path, item))
        elif isinstance(item, Mapping):
            if names is not None:
                names.update(item)
            stack += [(part, (*path, key)) for key, part in reversed(list(item.items()))]
        elif isinstance(item, list | tuple):
            held = [i for i, part in enumerate(item) if part is not None and not _is_small(part)]
            held = held if len(held) == len(item) or not is_known(_name(path)) else list(range(len(item)))
            stack.extend((item[i], (*path, i)) for i in reversed(held))
        elif (digits := _digits(item)) and _may_be_private(digits, path, is_known):
            found.append((path, digits))
    return found


def _is_small(value: Any) -> bool:
    """Whether this is a number that counts for nothing without a name, as the tokens of a text or an embedding are."""
    return isinstance(value, int | float) and -(10 ** (LEAST_DIGITS - 1)) < value < 10 ** (LEAST_DIGITS - 1)


def _digits(value: Any) -> str:
    """A whole number as text; empty for anything else."""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < LARGEST_EXACT else ""
    if isinstance(value, Decimal):
        return str(int(value)) if value.is_finite() and value == value.to_integral_value() else ""
    return ""


def _may_be_private(digits: str, path: tuple[str | int, ...], is_known: Callable[[str], bool]) -> bool:
    return len(digits) >= LEAST_DIGITS or is_known(_name(path))


def _name(path: tuple[str | int, ...]) -> str:
    """The last key of a path."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def of_flat(records: Records, shape: flatreading.FlatShape, is_known: Callable[[str], bool]) -> pa.RecordBatch | None:
    """The same of flat records that have the shape, as a batch of segments; None where all their fields are read."""
    read = {segment.text for segment in shape.segments}
    keys = [key for key in shape.keys if key not in read]
    if not keys:
        return None
    assert records.buffer is not None
    beside = replace(shape, segments=tuple(Segment((key,), "text", 0, False, key) for key in keys))
    room = flatreading.Room()
    decoded = flatreading.decode(records.buffer, records.row_id, records.start, records.end, beside, room).arrow()
    frame = pl.from_arrow(decoded.select(["segment", "text"]))
    assert isinstance(frame, pl.DataFrame)
    kinds = dict(zip(shape.keys, shape.kinds, strict=True))
    number = pl.col("segment").is_in([i for i, key in enumerate(keys) if kinds[key] == flatjson.SCALAR])
    known = pl.col("segment").is_in([i for i, key in enumerate(keys) if is_known(key)])
    text = pl.col("text")
    is_number = text.str.contains("^-?[0-9]+$") & (known | (text.str.len_bytes() >= LEAST_DIGITS))
    is_text = text.str.len_chars() >= pl.when(known).then(1).otherwise(LEAST_CHARACTERS)
    wanted = pl.when(number).then(is_number).otherwise(is_text)
    return decoded.filter(pa.array(frame.select(wanted.alias("wanted"))["wanted"].to_numpy()))


def find(run: RunFolder, settings: Settings, threads: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the rules find in the segments of a run (spans.parquet) and in its unread fields (UNREAD_SCHEMA).

    A value that only its context or the name of its field gives away is found wherever it stands, in either.
    """
    book: Rulebook = rulebook.load(settings.rules)
    aside = (-1 - pl.col("segment")).alias("segment")  # its own inverse: unread fields count downwards from -1
    frames = [*run.segments().text_frames(), *(frame.with_columns(aside) for frame in run.unread().text_frames())]
    found = book.find(frames, threads)
    spans, beside = found.filter(pl.col("segment") >= 0), found.filter(pl.col("segment") < 0)
    beside = beside.with_columns(aside).rename({"segment": "field"}).sort("row_id", "field", "start", "end", "rule_id")
    return spans, _without_identifiers(run, spans, beside, book)


def _without_identifiers(run: RunFolder, spans: pl.DataFrame, beside: pl.DataFrame, book: Rulebook) -> pl.DataFrame:
    """Unread findings without digits that number or date something, or stand in a hash, and look private by chance.

    What is found elsewhere too stays: then the number is no chance.
    """
    if not len(beside):
        return beside
    texts = texts_of(run, beside)
    names = {path: fieldnames.name_of(path) for path in texts["field_path"].unique()}
    only_number = {  # subtle: a NationalID is an id too
        path: fieldnames.is_identifier(name) and fieldnames.meaning(name, book.fields) is None
        for path, name in names.items()
    }
    numbering = pl.col("field_path").replace_strict(only_number, return_dtype=pl.Boolean)
    digits, hashed = pl.col("value").str.contains(_DIGITS), pl.col("text").str.contains(_HASH)
    chance = texts.select((numbering & digits) | hashed).to_series()
    if not chance.any():
        return beside
    read = run.segments().rows(spans["row_id"].to_list(), ["row_id", "segment", "text"])
    known = pl.concat([values_of(spans, read, "segment"), texts.filter(~chance)["value"]]).unique()
    return beside.filter(~chance | texts["value"].is_in(known.to_list()))


def texts_of(run: RunFolder, beside: pl.DataFrame) -> pl.DataFrame:
    """Findings of unread fields, in their order, with field_path and text of the field, and the value found there."""
    held = run.unread().rows(beside["row_id"].to_list(), ["row_id", "segment", "field_path", "text"])
    held = held.rename({"segment": "field"})
    valued = beside.with_columns(values_of(beside, held, "field"))
    return valued.join(held, on=["row_id", "field"], how="left", maintain_order="left")


def values_of(found: pl.DataFrame, held: pl.DataFrame, place: str) -> pl.Series:
    """The value that each finding stands for, as `value`.

    found: row_id, start and end in code points; held: row_id and text; both have `place`, segment or field.
    """
    # subtle: polars would count code points from the beginning of a text for each of its findings
    texts = {(row_id, at): text for row_id, at, text in held.select("row_id", place, "text").iter_rows()}
    spans = found.select("row_id", place, "start", "end").iter_rows()
    return pl.Series("value", [texts[row_id, at][start:end] for row_id, at, start, end in spans], pl.String)
