"""A plan carried out: the cleaned data set in the input's schema, what was removed, and a manifest.

clean.jsonl                    untouched rows unchanged, redacted rows with typed placeholders, in every field
clean.jsonl.removed.jsonl      every dropped row: where it stood, why, which row was kept; text masked
clean.jsonl.manifest.json      hashes of inputs and outputs, counts, settings, versions
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import formats, jsonediting, jsontext, layouts, outputs, placing, redacting
from scanner.errors import OutputError
from scanner.evidence import Evidence
from scanner.figures import plural
from scanner.jsontext import RecordError
from scanner.objects import Edits, Source
from scanner.progress import Progress
from scanner.redacting import Redaction
from scanner.settings import Settings
from scanner.shownnames import without_private_paths
from scanner.store import RunFolder
from scanner.text import on_one_line
from scanner.writing import Place, together

EXCERPT_CHARACTERS = 400

Texts = dict[tuple[str | int, ...], str]
"""New texts of a record by path."""


@dataclass(frozen=True)
class Applied:
    """What `scan apply` wrote."""

    run: Path
    out: Path  # as it was named: the file, or the folder of several
    outputs: tuple[Path, ...]
    removed: Path
    manifest: Path
    rows_kept: int
    rows_redacted: int
    rows_redacted_unread: int  # of these: rows in which a value was taken out of a field that no trainer reads
    values_redacted_unread: int
    rows_dropped: int
    rows_unreadable: int
    rows_rewritten: int  # that held a key twice: without what stood under the first, which nobody read
    rows_private_names: int  # rows written with private values in names of fields, which no plan changes
    is_masked: bool  # whether private values were to be masked in every field
    loss_masked: int  # rows written whose private spans are masked in the loss, and so stay in the text

    @property
    def not_masked(self) -> str:
        """What is left to do before the data is as clean as was asked for; empty where nothing is."""
        if not self.rows_private_names or not self.is_masked:
            return ""
        return (
            f"{on_one_line(str(self.out))} is written, but private values still stand in names of fields of "
            f"{plural(self.rows_private_names, 'row')}, which no plan changes; rename these fields in the input, or "
            f"take them out, and audit again ({self._verify} names the rows)"
        )

    @property
    def _verify(self) -> str:
        return shlex.join(["scan", "verify", str(self.out), str(self.run)])

    def in_words(self) -> str:
        """Lines for the screen."""
        left = ("record could not be read and is left out", "records could not be read and are left out")
        unreadable = f" {plural(self.rows_unreadable, *left)}." if self.rows_unreadable else ""
        anew = ("row held a key twice and is written anew", "rows held a key twice and are written anew")
        rewritten = (
            f" {plural(self.rows_rewritten, *anew)} with the last value, the one that was read."
            if self.rows_rewritten
            else ""
        )
        masked = (
            f"\nprivate spans still stand in {plural(self.loss_masked, 'row')}: with --no-redact they are to be masked "
            "in the loss, which is the trainer's part (loss_mask in plan.parquet)"
            if self.loss_masked
            else ""
        )
        unread = (
            f" ({plural(self.values_redacted_unread, 'value')} in fields that no trainer reads, in "
            f"{self.rows_redacted_unread:,} of these)" if self.values_redacted_unread else ""
        )  # fmt: skip
        named = ", ".join(on_one_line(str(path)) for path in self.outputs)
        proof = f"\nprove that nothing masked is left: {self._verify}" if self.rows_redacted else ""
        return (
            f"{named}: {plural(self.rows_kept, 'row')}, {self.rows_redacted:,} of "
            f"them redacted{unread}; {self.rows_dropped:,} dropped.{unreadable}{rewritten}{masked}\n"
            f"why each row went: {self.removed}\nhashes and settings: {self.manifest}{proof}"
        )


def apply(
    run: RunFolder,
    scan: Mapping[str, Any],
    sources: list[Source],
    out: Path,
    target: str | None,
    progress: Progress,
) -> Applied:
    """Write the cleaned data set of a finished run.

    target: a plugin of scanner/outputs; None: the input's own format. All files appear, or none does. Raises
    OutputError where the target cannot hold the data or an input would be overwritten.
    """
    settings = Settings.from_dict(scan["settings"])
    places = placing.check(run.path, sources, settings, out, target)
    plan = run.read_table("plan")
    named = (scan["summary"]["found"].get("names") or {}).get("rows")  # None in runs of an earlier version
    rows = run.read_table("rows", ["row_id", "source", "line", *(["patterns.names"] if named else [])])
    skipped = _skipped(run)
    edits = _edits(run, plan, skipped, sources, scan, settings)
    parts = [outputs.Part(source, formats.load(source.format), edits[source.index]) for source in sources]
    with together() as place:
        written = outputs.load(target or "original").write(parts, places.targets, settings, place)
        progress.advance(len(sources))
        place(places.removed).write_bytes(_removed(run, plan, rows, skipped))
        applied = _applied(run, plan, rows, edits, skipped, settings, written, places, out)
        place(places.manifest).write_bytes(_manifest(run, scan, applied, place))
    return applied


def _applied(
    run: RunFolder,
    plan: pl.DataFrame,
    rows: pl.DataFrame,
    edits: list[Edits],
    skipped: list[dict[str, Any]],
    settings: Settings,
    written: Sequence[outputs.Output],
    places: placing.Places,
    out: Path,
) -> Applied:
    """What was written, counted; OutputError where it is not what the plan says."""
    paths = tuple(dict.fromkeys(o.path for o in written))
    kept, replaced, dropped, unreadable = (
        sum(getattr(o.written, name) for o in written) for name in ("kept", "replaced", "dropped", "unreadable")
    )
    planned = plan.filter(pl.col("action") == "drop").height + len(skipped)
    if dropped + unreadable != planned:
        raise OutputError(f"rows dropped: {dropped:,}, by the plan {planned:,}; the input does not match the run")
    redacted = set(plan.filter(pl.col("action") == "redact")["row_id"].to_list())
    anew = sum(len(e.replace.keys() - redacted - e.drop) for e in edits)
    beside = redacting.beside(run, settings).filter(pl.col("row_id").is_in(redacted))
    return Applied(
        run.path, out, paths, places.removed, places.manifest, kept, replaced - anew,
        beside["row_id"].n_unique(), len(beside), dropped + unreadable - len(skipped), len(skipped), anew,
        _with_private_names(rows, plan), settings.redact and settings.redact_unread,
        plan.filter((pl.col("loss_mask").list.len() > 0) & (pl.col("action") != "drop")).height,
    )  # fmt: skip


def _with_private_names(rows: pl.DataFrame, plan: pl.DataFrame) -> int:
    """Rows that stay and have names of fields with private values; 0 where the table has none."""
    if "patterns.names" not in rows.columns:
        return 0
    staying = plan.filter(pl.col("action") != "drop")
    return rows.filter(pl.col("patterns.names") > 0).join(staying, on="row_id", how="semi").height


def _edits(
    run: RunFolder,
    plan: pl.DataFrame,
    skipped: list[dict[str, Any]],
    sources: list[Source],
    scan: Mapping[str, Any],
    settings: Settings,
) -> list[Edits]:
    """Per source: rows to drop, and the new texts of rows to redact."""
    by_action = {
        action: set(plan.filter(pl.col("action") == action)["row_id"].to_list()) for action in ("drop", "redact")
    }
    # what could not be read was not checked either: it has no place in a cleaned file
    unread = {entry["row_id"] for entry in skipped}
    redactions = redacting.redactions(run, sorted(by_action["redact"]), settings)
    edits = []
    firsts = [entry["first_row"] for entry in scan["inputs"]]
    for source, entry, after in zip(sources, scan["inputs"], [*firsts[1:], None], strict=True):
        first = entry["first_row"]

        def mine(row: int, first: int = first, after: int | None = after) -> bool:
            return row >= first and (after is None or row < after)

        texts = _new_texts(
            source, first, entry["layout"], settings, {row: r for row, r in redactions.items() if mine(row)}
        )
        if any(entry["what"].startswith("duplicate keys") for entry in scan["notes"].get("reading", [])):
            texts = _with_hidden_values(source, first, settings) | texts
        edits.append(Edits(first_row=first, drop=frozenset(filter(mine, by_action["drop"] | unread)), replace=texts))
    return edits


def _new_texts(
    source: Source, first_row: int, layout_name: str, settings: Settings, redactions: Mapping[int, Redaction]
) -> dict[int, Texts]:
    """New texts of a source's rows by path: what was redacted, and what other fields hold of the same values.

    No trainer reads the other fields, but a cleaned file still holds them.
    """
    if not redactions:
        return {}
    layout = layouts.load(layout_name)
    found: dict[int, Texts] = {}
    for records in formats.read(source, settings, first_row):
        for i in np.flatnonzero(np.isin(records.row_id, list(redactions))).tolist():
            record = jsontext.parse(records.raw(i)) if records.values is None else records.values[i]
            row = int(records.row_id[i])
            redaction = redactions[row]
            new = {jsonediting.path_of(pointer, record): text for pointer, text in redaction.texts.items()}
            for path, text in layouts.unread(record, layout.segments(record, settings)):
                masked = new.get(path, text)
                for value, label in sorted(redaction.labels.items(), key=lambda item: -len(item[0])):
                    if value in masked and not _is_plain_word(value):
                        masked = re.sub(rf"(?<![^\W_]){re.escape(value)}(?![^\W_])", label, masked)
                if masked != text:
                    new[path] = masked
            found[row] = new
    return found


def _is_plain_word(value: str) -> bool:
    """Whether a value, such as a password, is private only where it stands as one."""
    return value.isalpha() or len(value) < 6


def _with_hidden_values(source: Source, first_row: int, settings: Settings) -> dict[int, Texts]:
    """Rows that hold a key twice, each with one of its own texts, so that it is written anew.

    What stands under the first of the keys was neither read nor checked, and some parsers would read it.
    """
    found: dict[int, Texts] = {}
    for records in formats.read(source, settings, first_row):
        if records.values is not None:
            return {}
        for i, row in enumerate(records.row_id.tolist()):
            notes: list[str] = []
            try:
                record = jsontext.parse(records.raw(i), notes)
            except RecordError:
                continue
            if any(note.startswith("duplicate keys") for note in notes):
                found[row] = dict(layouts.unread(record, ())[:1])
    return found


def _skipped(run: RunFolder) -> list[dict[str, Any]]:
    """Entries of skipped.jsonl: row_id, file, line, reason."""
    return [json.loads(line) for line in (run.path / "skipped.jsonl").read_bytes().splitlines()]


def _removed(run: RunFolder, plan: pl.DataFrame, rows: pl.DataFrame, skipped: list[dict[str, Any]]) -> bytes:
    """One JSON line per dropped row, its text masked and cut, and one per record that could not be read."""
    dropped = plan.filter(pl.col("action") == "drop").join(rows, on="row_id", how="left", maintain_order="left")
    ids = dropped["row_id"].to_list()
    shown = Evidence(run, "masked")
    shown.load(ids)
    lines = []
    for entry in dropped.iter_rows(named=True):
        excerpt = " / ".join(s.shown(0, EXCERPT_CHARACTERS) for s in shown.segments(entry["row_id"]))
        lines.append(
            json.dumps(
                {
                    "row_id": entry["row_id"],
                    "source": entry["source"],
                    "line": entry["line"],
                    "why": entry["why"],
                    "rule_id": entry["rule_id"],
                    "keep_row_id": entry["keep_row_id"],
                    "kept_because": entry["kept_because"],
                    "excerpt": excerpt[:EXCERPT_CHARACTERS],
                },
                ensure_ascii=False,
            )
        )
    for entry in skipped:
        gone = {"row_id": entry["row_id"], "source": entry["file"], "line": entry["line"]}
        why = f"could not be read, and so not be checked: {entry['reason']}"
        gone |= {"why": why, "rule_id": "unreadable", "keep_row_id": None, "kept_because": None, "excerpt": ""}
        lines.append(json.dumps(gone, ensure_ascii=False))
    return "".join(line + "\n" for line in lines).encode("utf-8", "replace")


def _manifest(run: RunFolder, scan: Mapping[str, Any], applied: Applied, place: Place) -> bytes:
    """What went in, what came out and how, for whoever has to trust the cleaned file.

    place: where the files stand that are to be called as `applied` has it.
    """
    entries = []
    for path in (*applied.outputs, applied.removed):
        written = place(path)
        for file in sorted(written.rglob("*")) if written.is_dir() else [written]:
            if file.is_file():
                called = str(path / file.relative_to(written))
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                entries.append({"path": called, "bytes": file.stat().st_size, "sha256": digest})
    told = without_private_paths(scan)
    content = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": str(run.path),
        "identity": scan["identity"],
        "inputs": told["inputs"],
        "outputs": entries,
        "rows_kept": applied.rows_kept,
        "rows_redacted": applied.rows_redacted,
        "rows_redacted_unread": applied.rows_redacted_unread,
        "values_redacted_unread": applied.values_redacted_unread,
        "rows_dropped": applied.rows_dropped,
        "rows_unreadable": applied.rows_unreadable,
        "rows_rewritten": applied.rows_rewritten,
        "rows_private_names": applied.rows_private_names,
        "settings": told["settings"],
        "versions": scan["versions"],
    }
    return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
