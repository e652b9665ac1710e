"""Proof that a cleaned file holds nothing that the run masked."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from scanner import fieldnames, formats, ingest, jsontext, layouts, rulebook
from scanner.errors import ScanError
from scanner.figures import plural
from scanner.objects import Int64, Records, Rows, Source
from scanner.rulebook import Rule, Rulebook
from scanner.settings import Settings
from scanner.store import RunFolder
from scanner.text import one_line

JSON_KEY = re.compile(rb'"((?:[^"\\]|\\.){1,64})"\s*:')


@dataclass(frozen=True)
class Verified:
    """What was looked for and where."""

    file: Path
    rows: int
    values: int
    words: int  # values too short or too plain to be looked for, such as a password that is a word
    rules: int

    def in_words(self) -> str:
        """What is proved, and what is not, for the screen."""
        plain = (
            f"; {plural(self.words, 'further value')} too plain to be looked for alone, such as a password that is a "
            "word: for these the rules speak"
            if self.words
            else ""
        )
        return (
            f"{self.file}: none of the {self.values:,} private values that the audit found stands in its {self.rows:,} "
            f"rows, in any field, and none of the {self.rules} rules finds anything in what is trained on{plain}\n"
            "Not looked for is what no rule describes, such as names, street addresses and birth dates (scan rules "
            "lists what is)"
        )


def verify(file: Path, run: RunFolder) -> Verified:
    """Read the cleaned file as an audit would, and look for every masked value and with every rule.

    The values are looked for in every field, with the rules only what the layout reads is searched; of the other
    fields those whose names tell what they hold must hold no value. Raises ScanError
    naming the rows in which something is left, or that could not be read; values are not shown.
    """
    scan = run.read_json("scan.json")
    settings = Settings.from_dict(scan["settings"])
    # cells of a table that was written as JSONL are still a table, though JSONL is not taken for one
    otherwise = "table" if any(known["layout"] == "table" for known in scan["inputs"]) else ""
    book = rulebook.load(settings.rules)
    values, words = masked_values(run)
    sources = formats.discover([str(file)])
    with tempfile.TemporaryDirectory(prefix="sftscan-") as folder:
        other = RunFolder.open_for_writing(Path(folder) / "verify.scan")
        threads = settings.threads or os.cpu_count() or 1
        rows, skips = ingest.read_all(sources, other, settings, threads, otherwise=otherwise)
        reader = other.segments()
        found = book.find(reader.text_frames(), settings.threads)["row_id"].to_list()
        if values:
            for frame in reader.text_frames():
                found += frame.filter(pl.col("text").str.contains_any(values))["row_id"].to_list()
    if skips:
        raise ScanError(
            f"{file}: {len(skips):,} records could not be read, so that nothing is proved of them (the first: "
            f"{skips[0].file}:{skips[0].line}); mend or remove them"
        )
    if found:
        raise ScanError(
            f"{file}: private values are left in {_places(rows, found)}; apply the plan of {run.path} with redaction "
            "on, or mask these rows by hand"
        )
    elsewhere = [row for source, first in zip(sources, rows.first_row, strict=True) if values
                 for row in _holding(source, first, settings, values)]  # fmt: skip
    if elsewhere:
        raise ScanError(
            f"{file}: private values that the audit found in other rows stand in {_places(rows, elsewhere)}, in fields "
            "that no trainer reads and no plan changes; take these fields out, or mask them by hand"
        )
    named = [found for source, first, layout in zip(sources, rows.first_row, rows.layout, strict=True)
             for found in _named_fields(source, first, layout, settings, book)]  # fmt: skip
    if named:
        fields = sorted({one_line(field, 40) for _, field in named})
        raise ScanError(
            f"{file}: what looks private by the names of its fields ({', '.join(fields[:10])}) stands in "
            f"{_places(rows, [row for row, _ in named])}, in fields that no trainer reads and no plan changes; take "
            "these fields out, or mask them by hand"
        )
    return Verified(file, len(rows), len(values), words, len(book.rules))


def _places(rows: Rows, row_ids: list[int]) -> str:
    """How many rows these are, and the lines of the first ten."""
    distinct = np.unique(np.array(row_ids, np.int64))
    lines = rows.line[np.searchsorted(rows.row_id, distinct[:10])].tolist()
    more = ", ..." if len(distinct) > 10 else ""
    return f"{len(distinct):,} rows (lines {', '.join(map(str, lines))}{more})"


def _holding(source: Source, first_row: int, settings: Settings, values: list[str]) -> Iterator[int]:
    """Rows of a source that hold one of the values in any field."""
    wanted = sorted({form for value in values for form in _as_json(value)})
    for records in formats.read(source, settings, first_row):
        held: Int64 = records.row_id[_texts(records).str.contains_any(wanted).to_numpy()]
        yield from held.tolist()


def _named_fields(
    source: Source, first_row: int, layout_name: str, settings: Settings, book: Rulebook
) -> Iterator[tuple[int, str]]:
    """(row, name of a field) of values that only the name of their field gives away, where no trainer reads them."""
    layout = layouts.load(layout_name)

    @cache
    def meant(name: str) -> Rule | None:
        return fieldnames.meaning(name, book.fields)

    for records in formats.read(source, settings, first_row):
        for i, row in enumerate(records.row_id.tolist()):
            if records.values is None:
                raw = records.raw(i)
                keys = {key.decode("utf-8", "replace") for key in JSON_KEY.findall(raw)}
                if not any("\\" in key or meant(key) for key in keys):
                    continue  # without parsing it
                record = jsontext.parse(raw)
            else:
                record = records.values[i]
            for path, text in layouts.unread(record, layout.segments(record, settings)):
                name = next((part for part in reversed(path) if isinstance(part, str)), "")
                rule = meant(name)
                if rule is not None and rule.in_field(text):
                    yield row, name


def _texts(records: Records) -> pl.Series:
    """Every record as one text: as it stands in the file, or all its strings."""
    if records.values is None:
        whole = [records.raw(i).decode("utf-8", "replace") for i in range(len(records.row_id))]
    else:
        whole = [
            "\n".join(jsontext.encodable(text) for _, text in layouts.unread(value, ())) for value in records.values
        ]
    return pl.Series(whole, dtype=pl.String)


def _as_json(value: str) -> set[str]:
    """The value itself and as JSON strings may hold it."""
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value} | escaped | {form.replace("/", "\\/") for form in escaped}


def masked_values(run: RunFolder) -> tuple[list[str], int]:
    """The distinct private and secret values of a run that can be told from ordinary words, from its stored text.

    Also how many others there are.
    """
    spans = run.read_table("spans").filter(pl.col("kind").is_in(["private", "secret"]))
    texts = run.segments().rows(spans["row_id"].to_list(), ["row_id", "segment", "text"])
    joined = spans.join(texts, on=["row_id", "segment"]).select("start", "end", "text")
    found = {text[start:end] for start, end, text in joined.iter_rows()}
    distinctive = sorted(value for value in found if rulebook.is_distinctive(value))
    return distinctive, len(found) - len(distinctive)
