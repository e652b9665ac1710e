"""Rules as data: rules/**.toml -> Rule -> spans, in time linear in the text.

    frames of segments -> prefilter (polars: Aho-Corasick and Rust regex, whole columns)
                       -> candidates (google-re2, only on the segments the prefilter let through)
                       -> validator (scanner/checksums.py) -> non-overlapping spans
    whole texts of fields whose name a rule knows (scanner/fieldnames.py) -> the same

Texts with characters that show nothing are looked at a second time without them (scanner/invisible.py).

A value found once is private wherever it stands: `find` ends with a pass for its repetitions without the context that
gave it away (a telephone number without the word "phone").
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import polars as pl

from scanner import fieldnames, running
from scanner.errors import RuleError, SettingsError, meant
from scanner.figures import plural
from scanner.invisible import seen_through
from scanner.rule import KINDS, Example, Rule, in_code_points
from scanner.rulefiles import BANDS, BANDS_FILE, RULES_FOLDER, Bands, RuleFile, bands, parse, read, scale_of
from scanner.text import one_line

__all__ = ["BANDS", "FINDINGS_SCHEMA", "KINDS", "RULES_FOLDER", "Bands", "Example", "Finding", "Rule", "Rulebook"]
__all__ += ["bands", "check", "is_distinctive", "load", "without_overlaps"]

NOT_LOOKED_FOR = (
    "Not looked for is what no rule describes, such as names, street addresses, birth dates, driving licences, and "
    "what is told of somebody's health or beliefs (scan rules lists what is)"
)

BOOKS_KEPT = 4
"""One of the shipped rules alone, and of the folders of a few audits of one process."""

FINDINGS_SCHEMA = {
    "row_id": pl.Int64,
    "segment": pl.Int32,
    "start": pl.Int64,  # code points of the segment's text
    "end": pl.Int64,  # first code point after the span
    "rule_id": pl.String,
    "kind": pl.String,
    "score": pl.Float32,  # 1.0: a validator proved it; below: the rule's confidence
    "severity": pl.Float32,
    "preview": pl.String,  # placeholder and length, no part of the value; what found it where that is its field's name
}


class Finding(NamedTuple):
    """One span of one text, in code points."""

    start: int
    end: int
    rule: Rule
    field: str = ""  # name of the field that tells what its text is


@dataclass(frozen=True)
class Rulebook:
    """All rules of a run, sorted by id."""

    rules: tuple[Rule, ...]

    @cached_property
    def by_id(self) -> dict[str, Rule]:
        return {rule.id: rule for rule in self.rules}

    def named(self, ids: Iterable[str]) -> list[Rule]:
        """The rules of these ids; SettingsError for one that there is not."""
        if unknown := [name for name in ids if name not in self.by_id]:
            raise SettingsError(
                f"there is no rule {unknown[0]!r}; expected one of the {len(self.rules)} that `scan rules` lists."
                + meant(unknown[:1], self.by_id, 0.4)
            )
        return [self.by_id[name] for name in ids]

    def find(self, frames: Iterable[pl.DataFrame], threads: int = 0) -> pl.DataFrame:
        """Every private or secret span, columns of FINDINGS_SCHEMA, sorted; the same for any number of threads.

        frames: columns row_id, segment, text, and role and field_path for names of fields (others are ignored), as of
        `SegmentReader.text_frames()`. They are gone through twice, so they are kept until the end (memory-mapped ones
        weigh next to nothing).
        threads: 0 takes all cores; frames are worked on side by side.
        """
        threads = running.thread_count(threads)
        as_they_stand = list(frames)
        through = seen_through(as_they_stand)
        again = [*as_they_stand, *(one.frame for one in through)]
        values: dict[str, Rule] = {}
        tables = []
        for table, found in running.in_order(self._find_in_frame, again, threads):
            tables.append(table)
            for value, rule in found.items():
                values[value] = _severer(values.get(value, rule), rule)
        values = self._unknown_without_context(values)
        repeated = []
        if values:
            patterns = sorted(values, key=lambda value: (-len(value), value))  # leftmost, then the longest
            repeated = list(
                running.in_order(
                    lambda part: _repetitions(*part, patterns, values), zip(again, tables, strict=True), threads
                )
            )
        empty = _table(pl.DataFrame(schema=SEGMENT_KEYS), [])
        plain, hidden = [empty], [empty]
        for of_frames in filter(None, (tables, repeated)):
            plain += of_frames[: len(as_they_stand)]
            seen = of_frames[len(as_they_stand) :]
            hidden += [one.as_it_stands(table) for one, table in zip(through, seen, strict=True)]
        whole = self._together(pl.concat(plain).drop("place"), pl.concat(hidden).drop("place"))
        return whole.sort("row_id", "segment", "start", "end", "rule_id")

    def _together(self, plain: pl.DataFrame, hidden: pl.DataFrame) -> pl.DataFrame:
        """The findings of the texts as they stand, and those behind invisible characters, without overlaps."""
        if not len(hidden):
            return plain
        keys = hidden.select(*SEGMENT_KEYS).unique()
        both = pl.concat([plain.join(keys, on=list(SEGMENT_KEYS), how="semi", maintain_order="left"), hidden])
        both = both.unique([*SEGMENT_KEYS, "start", "end", "rule_id"], keep="first", maintain_order=True)
        stays = []
        for _, part in both.group_by(list(SEGMENT_KEYS), maintain_order=True):
            spans = part.select("start", "end", "rule_id").rows()
            chosen = without_overlaps([Finding(start, end, self.by_id[rule]) for start, end, rule in spans])
            kept = {(f.start, f.end, f.rule.id) for f in chosen}
            stays.append(part.filter(pl.Series([span in kept for span in spans])))
        return pl.concat([plain.join(keys, on=list(SEGMENT_KEYS), how="anti"), *stays])

    def _unknown_without_context(self, values: dict[str, Rule]) -> dict[str, Rule]:
        """The values that no rule would find if they stood alone."""
        if not values:
            return {}
        alone = pl.DataFrame({"row_id": range(len(values)), "segment": [0] * len(values), "text": list(values)})
        known, _ = self._find_in_frame(alone.cast({"row_id": pl.Int64, "segment": pl.Int32}))
        found = {
            (row, end - start) for row, start, end in known.select("row_id", "start", "end").iter_rows() if start == 0
        }
        return {value: rule for i, (value, rule) in enumerate(values.items()) if (i, len(value)) not in found}

    def find_in(self, text: str, field: str = "") -> list[Finding]:
        """The spans of one text, with prefilters and the choice among overlapping spans, ascending.

        field: its name, where it is the text of a field.
        """
        frame = pl.DataFrame({"row_id": [0], "segment": [0], "text": [text], "field_path": [f"/{field}"]})
        table = self.find([frame], threads=1)
        return [Finding(r["start"], r["end"], self.by_id[r["rule_id"]]) for r in table.iter_rows(named=True)]

    @cached_property
    def fields(self) -> dict[str, Rule]:
        """The rule that each squeezed name of a field stands for; of several the severest counts."""
        ordered = sorted(self.rules, key=lambda rule: (rule.severity, rule.id))  # later ones win
        return {fieldnames.squeezed(name): rule for rule in ordered for name in rule.fields}

    def _named_fields(self, frame: pl.DataFrame) -> Iterator[tuple[int, Finding]]:
        """(place in the frame, finding) of texts that the name of their field tells to be private."""
        if "field_path" not in frame.columns or not self.fields:
            return
        paths = frame["field_path"].cast(pl.String)
        rules = {path: fieldnames.meaning(fieldnames.name_of(path), self.fields) for path in paths.unique().to_list()}
        wanted = paths.is_in([path for path, rule in rules.items() if rule is not None])
        if "role" in frame.columns:  # what describes a tool's parameter is no value of it
            wanted &= frame["role"].cast(pl.String) != "tools"
        places = wanted.fill_null(False).arg_true()
        for place, path, text in zip(
            places.to_list(), paths.gather(places).to_list(), frame["text"].gather(places).to_list(), strict=True
        ):
            rule = rules[path]
            if rule is not None and text is not None and (span := rule.in_field(text)):
                yield place, Finding(*span, rule, fieldnames.name_of(path))

    def _find_in_frame(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Rule]]:
        """The findings of one frame, and the distinctive values among them that only their context gave away."""
        hits = frame.select(rule.prefilter().fill_null(False).alias(str(i)) for i, rule in enumerate(self.rules))
        by_segment: dict[int, list[Finding]] = {}
        text = frame["text"].cast(pl.Binary)
        for i, rule in enumerate(self.rules):
            places = hits[str(i)].arg_true()
            for place, data in zip(places.to_list(), text.gather(places).to_list(), strict=True):
                for start, end in in_code_points(data, rule.byte_spans(data)):
                    by_segment.setdefault(place, []).append(Finding(start, end, rule))
        for place, named in self._named_fields(frame):
            by_segment.setdefault(place, []).append(named)
        chosen: list[tuple[int, Finding]] = []
        values: dict[str, Rule] = {}
        texts = frame["text"].gather(sorted(by_segment)).to_list()
        for place, whole in zip(sorted(by_segment), texts, strict=True):
            for finding in without_overlaps(by_segment[place]):
                chosen.append((place, finding))
                value = whole[finding.start : finding.end]
                rule = finding.rule
                if not (rule.needs_context or finding.field):
                    continue
                for form in dict.fromkeys((value, fieldnames.whole_number(value))):
                    if is_distinctive(form):
                        values[form] = _severer(values.get(form, rule), rule)
        return _table(frame, chosen), values


SEGMENT_KEYS = {"row_id": pl.Int64, "segment": pl.Int32}


def _table(frame: pl.DataFrame, findings: list[tuple[int, Finding]]) -> pl.DataFrame:
    """Findings with their place in the frame as rows of FINDINGS_SCHEMA and `place`."""
    rows = frame.select("row_id", "segment")[[place for place, _ in findings]]
    found = [finding for _, finding in findings]
    return pl.DataFrame(
        {
            "row_id": rows["row_id"],
            "segment": rows["segment"],
            "start": [f.start for f in found],
            "end": [f.end for f in found],
            "rule_id": [f.rule.id for f in found],
            "kind": [f.rule.kind for f in found],
            "score": [f.rule.score for f in found],
            "severity": [f.rule.severity for f in found],
            "preview": [_preview(f) for f in found],
            "place": [place for place, _ in findings],
        },
        schema={**FINDINGS_SCHEMA, "place": pl.UInt32},
    )


def _severer(one: Rule, other: Rule) -> Rule:
    """What a value is held for that two rules find."""
    return min(one, other, key=lambda rule: (-rule.severity, rule.id))


def _preview(finding: Finding) -> str:
    named = f", by the name of its field, {one_line(finding.field, 40)}" if finding.field else ""
    return f"{finding.rule.placeholder} {finding.end - finding.start} chars{named}"


def is_distinctive(value: str) -> bool:
    """True for a value that means the same wherever it stands: 7 or more characters with a digit, or an address.

    A password that is a plain word is private only where it stands as a password.
    """
    return len(value) >= 7 and ("@" in value or any(c.isdigit() for c in value))


def _repetitions(
    frame: pl.DataFrame, table: pl.DataFrame, patterns: list[str], values: dict[str, Rule]
) -> pl.DataFrame:
    """Whole-word occurrences of known values that `table`, the frame's own findings, does not cover yet."""
    hits = frame.select(
        at=pl.col("text").str.find_many(patterns, leftmost=True),
        value=pl.col("text").str.extract_many(patterns, leftmost=True),
    )
    places = (hits["at"].list.len() > 0).fill_null(False).arg_true()
    covered: dict[int, list[tuple[int, int]]] = {}
    for place, start, end in table.select("place", "start", "end").iter_rows():
        covered.setdefault(place, []).append((start, end))
    found = []
    columns = (frame["text"], hits["at"], hits["value"])
    for place, text, starts, matched in zip(
        places, *(column.gather(places).to_list() for column in columns), strict=True
    ):
        data = text.encode("utf-8")
        spans = [(at, at + len(value.encode("utf-8"))) for at, value in zip(starts, matched, strict=True)]
        known = covered.get(place, [])  # ascending
        for (start, end), value in zip(in_code_points(data, iter(spans)), matched, strict=True):
            at = bisect_left(known, (end, 0))
            free = at == 0 or known[at - 1][1] <= start
            if free and stands_alone(text, start, end):
                found.append((place, Finding(start, end, values[value])))
    return _table(frame, found)


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is no part of a longer word or number.

    Scripts without spaces, and letters beside digits (Tel7806326 is one word, โทร7806326 is not), do not go on.
    """

    def goes_on(edge: str, beyond: str) -> bool:
        if beyond.isascii():
            return beyond.isalnum()
        return beyond.isalnum() and edge.isalpha() and ord(beyond) < FIRST_CJK

    return not goes_on(text[start], text[start - 1 : start] if start else "") and not goes_on(
        text[end - 1], text[end : end + 1]
    )


FIRST_CJK = 0x2E80
"""From here on, letters are mostly of scripts without spaces."""


def without_overlaps(findings: Iterable[Finding]) -> list[Finding]:
    """Of overlapping spans the more severe stays, then the proved, the longer, the surer, the earlier, the first id."""

    def rank(f: Finding) -> tuple[float, bool, int, float, int, str]:
        return -f.rule.severity, f.rule.score < 1, f.start - f.end, -f.rule.score, f.start, f.rule.id

    ranked = sorted(findings, key=rank)
    starts: list[int] = []
    kept: list[Finding] = []  # in the order of starts, so that only two neighbours have to be looked at
    for finding in ranked:
        at = bisect_left(starts, finding.end)
        if at == 0 or kept[at - 1].end <= finding.start:
            starts.insert(at, finding.start)
            kept.insert(at, finding)
    return kept


def load(extra_dirs: Iterable[Path] = (), folder: Path = RULES_FOLDER) -> Rulebook:
    """The shipped rules and those of further folders; the examples of further rules are run at once.

    As long as no file changes, it is the same book. Raises RuleError naming file and field for anything that breaks the
    contract, also for an id given twice.
    """
    extras = []
    for extra in extra_dirs:
        if not extra.is_dir():
            raise RuleError(f"--rules {extra}: there is no such folder; expected a folder of rule files (*.toml)")
        if not (files := _rule_files(extra)):
            raise RuleError(f"rules folder {extra}: no rule file in it; expected at least one *.toml")
        extras.append(_Shelf(extra, files))
    return _bound(read(folder / BANDS_FILE), _Shelf(folder, _rule_files(folder)), tuple(extras))


class _Shelf(NamedTuple):
    """A folder and the rule files below it, by path."""

    folder: Path
    files: tuple[RuleFile, ...]


@lru_cache(BOOKS_KEPT)
def _bound(bands_file: RuleFile, shipped: _Shelf, extras: tuple[_Shelf, ...]) -> Rulebook:
    """The book of these files, made once: every stage asks for it, and making it takes far longer than reading them."""
    scale = scale_of(bands_file)
    rules = [parse(file, shipped.folder, scale) for file in shipped.files]
    for extra in extras:
        more = [parse(file, extra.folder, scale) for file in extra.files]
        for rule in more:
            check(rule)
        rules += more
    by_id: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in by_id:
            raise RuleError(f"two rules have the id {rule.id}: {by_id[rule.id].path} and {rule.path}; rename one file")
        by_id[rule.id] = rule
    return Rulebook(tuple(by_id[name] for name in sorted(by_id)))


def _rule_files(folder: Path) -> tuple[RuleFile, ...]:
    """Rule files below a folder, by path; bands.toml and weights/ hold other data."""
    found = (p for p in folder.rglob("*.toml") if p.name != BANDS_FILE and p.relative_to(folder).parts[0] != "weights")
    return tuple(read(path) for path in sorted(found))


def check(rule: Rule) -> None:
    """Run a rule's own examples, prefilter included; RuleError for the first that does not behave."""
    book = Rulebook((rule,))
    for i, example in enumerate(rule.fires, 1):
        found = tuple(example.text[f.start : f.end] for f in book.find_in(example.text))
        if found != example.spans:
            raise RuleError(
                f"{rule.path.name}: fires: example {i} gave {plural(len(found), 'span')}, not the "
                f"{len(example.spans)} it names (lengths seen {[len(s) for s in found]}, expected "
                f"{[len(s) for s in example.spans]}); "
                f"{_why_silent(rule, example.text)}"
            )
    for i, text in enumerate(rule.quiet, 1):
        if found := tuple(text[f.start : f.end] for f in book.find_in(text)):
            raise RuleError(f"{rule.path.name}: quiet: example {i} gave {plural(len(found), 'span')}; expected none")

    for field, text in rule.field_fires:
        if [text[f.start : f.end] for f in book.find_in(text, field)] != [text.strip()]:
            raise RuleError(f"{rule.path.name}: field_fires: the text under {field} is not found as one whole value")
    for field, text in rule.field_quiet:
        if book.find_in(text, field):
            raise RuleError(f"{rule.path.name}: field_quiet: the text under {field} gave a span; expected none")


def _why_silent(rule: Rule, text: str) -> str:
    passed = pl.DataFrame({"text": [text]}).select(rule.prefilter().alias("hit"))["hit"][0]
    if not passed:
        return "the prefilter (literals, gate) shuts the text out"
    return "the prefilter lets the text through, so look at regex, not_after and validator"
