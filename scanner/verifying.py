"""Proof that a cleaned file holds nothing that the run masked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import fieldnames, figures, formats, ingest, jsontext, layouts, rulebook, running, unread
from scanner.errors import ScanError
from scanner.evidence import PRIVATE
from scanner.figures import plural
from scanner.objects import Records, Rows, Source
from scanner.settings import Settings
from scanner.store import RunFolder

TOO_PLAIN = "too plain to be looked for alone, such as a password that is a word"


@dataclass(frozen=True)
class Verified:
    """What was looked for and where."""

    file: Path
    rows: int
    values: int
    words: int  # values too short or too plain to be looked for, such as a password that is a word
    rules: int
    left_out: tuple[formats.LeftOut, ...] = ()  # files of a folder that were not read

    def in_words(self) -> str:
        """What is proved, and what is not, for the screen."""
        rows, rules = plural(self.rows, "row"), f"none of the {plural(self.rules, 'rule')} finds anything"
        if not self.values:
            proved = f"{self._nothing_to_look_for()} {rules} in its {rows}, in any field"
        else:
            found = (
                "the one private value that the audit found does not stand"
                if self.values == 1
                else f"none of the {self.values:,} different private values that the audit found stands"
            )
            further = f"{plural(self.words, 'further value')} {TOO_PLAIN}: for these the rules speak"
            proved = f"{found} in its {rows}, in any field, and {rules} there{f'; {further}' if self.words else ''}"
        unread = "".join(f"Of these nothing is proved, {line}\n" for line in figures.left_out(self.left_out))
        return f"{self.file}: {proved}\n{unread}{rulebook.NOT_LOOKED_FOR}"

    def _nothing_to_look_for(self) -> str:
        """That no value was looked for, and why."""
        if not self.words:
            return "the audit found no private value, so there was none to look for, and"
        found = "the one private value" if self.words == 1 else f"the {self.words:,} private values"
        return f"{found} that the audit found {'is' if self.words == 1 else 'are'} {TOO_PLAIN}; but"


def verify(file: Path, run: RunFolder) -> Verified:
    """Read the cleaned file as an audit would, and look for every masked value and with every rule.

    The values are looked for in every field and in the names of fields, and so is what the rules find. Raises
    ScanError naming the rows in which something is left, or that could not be read; values are not shown.
    """
    scan = run.read_json("scan.json")
    settings = Settings.from_dict(scan["settings"])
    # cells of a table that was written as JSONL are still a table, though JSONL is not taken for one
    otherwise = "table" if any(known["layout"] == "table" for known in scan["inputs"]) else ""
    book = rulebook.load(settings.rules)
    values, words = masked_values(run)
    sources, left_out = formats.survey([str(file)])
    with tempfile.TemporaryDirectory(prefix="sftscan-") as folder:
        other = RunFolder.open_for_writing(Path(folder) / "verify.scan")
        threads = running.thread_count(settings.threads)
        rows, skips = ingest.read_all(sources, other, settings, threads, otherwise=otherwise, unread_too=True)
        spans, beside = unread.find(other, settings, threads)
        found = [*spans["row_id"], *_holding_texts(other.segments().text_frames(), values)["row_id"]]
        left = _holding_texts(other.unread().text_frames(), values)
        left = pl.concat([left, unread.texts_of(other, beside).select(left.columns)])
    if skips:
        raise ScanError(
            f"{file}: {plural(len(skips), 'record')} could not be read, so that nothing is proved of them (the first: "
            f"{skips[0].file}:{skips[0].line}); mend or remove them"
        )
    if found:
        raise ScanError(
            f"{file}: private values are left in {_places(rows, sources, found)}; apply the plan of {run.path} with "
            "redaction on, or mask these rows by hand"
        )
    if len(left):
        names = {fieldnames.name_of(path) for path in left["field_path"].unique()}
        told = f" ({', '.join(plain)})" if (plain := layouts.plain_names(sorted(names))) else ""
        raise ScanError(
            f"{file}: private values stand in {_places(rows, sources, left['row_id'].to_list())}, in fields that no "
            f"trainer reads{told}; apply the plan of {run.path} with redaction on and without --leave-unread, or mask "
            "these fields by hand"
        )
    keys = [row for source, first in zip(sources, rows.first_row, strict=True)
            for row in _holding(source, first, settings, values, book)]  # fmt: skip
    if keys:
        raise ScanError(
            f"{file}: private values stand in {_places(rows, sources, keys)}, in names of fields, which no plan "
            "changes; rename these fields, or take them out"
        )
    return Verified(file, len(rows), len(values), words, len(book.rules), left_out)


def _places(rows: Rows, sources: list[Source], row_ids: list[int]) -> str:
    """How many rows these are, and where the first ten stand (see Rows.place), of several files with their names."""
    distinct = np.unique(np.array(row_ids, np.int64))
    first = np.searchsorted(rows.row_id, distinct[:10])
    lines = list(map(str, rows.place[first].tolist()))
    more = ", ..." if len(distinct) > 10 else ""
    of = "line" if (rows.place[first] == rows.line[first]).all() else "record"
    at = f"{of} " if len(distinct) == 1 else f"{of}s "
    if len(sources) > 1:
        lines = [f"{sources[i].name}:{line}" for i, line in zip(rows.source[first].tolist(), lines, strict=True)]
        at = ""
    return f"{plural(len(distinct), 'row')} ({at}{', '.join(lines)}{more})"


def _holding_texts(frames: Iterable[pl.DataFrame], values: list[str]) -> pl.DataFrame:
    """(row_id, field_path) of the texts that hold one of the values."""
    schema = {"row_id": pl.Int64, "field_path": pl.String}
    return pl.concat([pl.DataFrame(schema=schema), *(
        frame[_that_hold(frame["text"], values)].select("row_id", "field_path") for frame in frames
    )])  # fmt: skip


def _that_hold(texts: pl.Series, values: list[str]) -> list[int]:
    """Places of the texts in which one of the values stands as a whole."""
    if not values:
        return []
    places = texts.str.contains_any(values).fill_null(False).arg_true()
    hits = texts.gather(places)
    spans = zip(
        places.to_list(), hits.to_list(), hits.str.find_many(values, overlapping=True).to_list(),
        hits.str.extract_many(values, overlapping=True).to_list(), strict=True,
    )  # fmt: skip
    found = []
    for place, text, starts, matched in spans:
        data = text.encode("utf-8")
        ends = [at + len(value.encode("utf-8")) for at, value in zip(starts, matched, strict=True)]
        if any(
            rulebook.stands_alone(text, len(data[:start].decode("utf-8")), len(data[:end].decode("utf-8")))
            for start, end in zip(starts, ends, strict=True)
        ):
            found.append(place)
    return found


def _holding(
    source: Source, first_row: int, settings: Settings, values: list[str], book: rulebook.Rulebook
) -> Iterator[int]:
    """Rows of a source that hold one of the values anywhere, or what a rule finds in the name of a field."""
    wanted = sorted({form for value in values for form in _as_json(value)})
    known: dict[str, str] = {}
    for records in formats.read(source, settings, first_row):
        texts = _texts(records)
        names = _quoted_names(records, texts)
        distinct = names.explode().drop_nulls().unique().sort().to_list()
        known |= _private_names([name for name in distinct if name not in known], book)
        private = sorted(quoted for quoted in distinct if known[quoted])
        places = set(texts.str.contains_any(wanted).arg_true()) if wanted else set()
        places |= set(names.list.eval(pl.element().is_in(private)).list.any().arg_true()) if private else set()
        for i in sorted(places):
            notes: list[str] = []
            record = jsontext.parse(records.raw(i), notes) if records.values is None else records.values[i]
            hidden = any(note.startswith("duplicate keys") for note in notes)  # some of it was not parsed
            said, named = pl.Series(_names_and_texts(record), dtype=pl.String), {known[quoted] for quoted in private}
            if hidden or not named.isdisjoint(jsontext.names(record)) or _that_hold(said, values):
                yield int(records.row_id[i])


def _quoted_names(records: Records, texts: pl.Series) -> pl.Series:
    """Every record's names of fields as JSON strings; where it is text, what looks like one."""
    if records.values is None:
        return texts.str.extract_all(r'"(?:[^"\\]|\\.)*"\s*:').list.eval(pl.element().str.strip_chars_end(": \t\r\n"))
    named = [[json.dumps(name, ensure_ascii=False) for name in jsontext.names(value)] for value in records.values]
    return pl.Series(named, dtype=pl.List(pl.String))


def _private_names(quoted: list[str], book: rulebook.Rulebook) -> dict[str, str]:
    """Each name, which stands as a JSON string, where a rule finds something in it; else empty."""
    names = [_unquoted(name) for name in quoted]
    private = unread.private_among(names, book)
    return {form: name if name in private else "" for form, name in zip(quoted, names, strict=True)}


def _unquoted(name: str) -> str:
    """The text of a JSON string; without its quotes where it is none after all."""
    try:
        return jsontext.encodable(json.loads(name, strict=False))
    except ValueError:
        return name[1:-1]


def _texts(records: Records) -> pl.Series:
    """Every record as one text: as it stands in the file, or all its strings and names of fields."""
    if records.values is None:
        whole = [records.raw(i).decode("utf-8", "replace") for i in range(len(records.row_id))]
    else:
        whole = ["\n".join(_names_and_texts(value)) for value in records.values]
    return pl.Series(whole, dtype=pl.String)


def _names_and_texts(record: Any) -> list[str]:
    """Every name of a field, text and number below a record."""
    return [
        jsontext.encodable(str(leaf))
        for leaf, is_name in jsontext.leaves(record)
        if is_name or isinstance(leaf, str | int | float)
    ]


def _as_json(value: str) -> set[str]:
    """The value itself and as JSON strings may hold it."""
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value} | escaped | {form.replace("/", "\\/") for form in escaped}


def masked_values(run: RunFolder) -> tuple[list[str], int]:
    """The distinct private and secret values of a run that can be told from ordinary words, from its stored text.

    Also how many others there are.
    """
    spans = run.read_table("spans").filter(PRIVATE)
    texts = run.segments().rows(spans["row_id"].to_list(), ["row_id", "segment", "text"])
    read = unread.values_of(spans, texts, "segment")
    beside = unread.texts_of(run, run.read_table("unread"))["value"]
    found = {*read.to_list(), *beside.to_list()}
    distinctive = sorted(value for value in found if rulebook.is_distinctive(value))
    return distinctive, len(found) - len(distinctive)
