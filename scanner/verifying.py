"""Proof that a cleaned file holds nothing that the run masked."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from scanner import formats, ingest, rulebook
from scanner.errors import ScanError
from scanner.settings import Settings
from scanner.store import RunFolder


@dataclass(frozen=True)
class Verified:
    """What was looked for and where."""

    file: Path
    rows: int
    values: int
    rules: int

    def in_words(self) -> str:
        """One line for the screen."""
        return (
            f"{self.file}: none of the {self.values:,} private values that the audit found stands in its {self.rows:,} "
            f"rows, and none of the {self.rules} rules finds anything in them"
        )


def verify(file: Path, run: RunFolder) -> Verified:
    """Read the cleaned file as an audit would, and look for every masked value and with every rule.

    Raises ScanError naming the rows in which something is left; values are not shown.
    """
    settings = Settings.from_dict(run.read_json("scan.json")["settings"])
    book = rulebook.load(settings.rules)
    values = masked_values(run)
    with tempfile.TemporaryDirectory(prefix="sftscan-") as folder:
        other = RunFolder.open_for_writing(Path(folder) / "verify.scan")
        rows, _ = ingest.read_all(
            formats.discover([str(file)]), other, settings, settings.threads or os.cpu_count() or 1
        )
        reader = other.segments()
        left = book.find(reader.text_frames(), settings.threads)["row_id"].unique().to_list()
        if values:
            for frame in reader.text_frames():
                left += frame.filter(pl.col("text").str.contains_any(values))["row_id"].to_list()
        lines = rows.line[[int(i) for i in rows.row_id.searchsorted(sorted(set(left)))]].tolist()
    if lines:
        shown = ", ".join(map(str, lines[:10])) + (", ..." if len(lines) > 10 else "")
        raise ScanError(
            f"{file}: private values are left in {len(lines)} rows (lines {shown}); apply the plan of {run.path} with "
            "redaction on, or mask these rows by hand"
        )
    return Verified(file, len(rows), len(values), len(book.rules))


def masked_values(run: RunFolder) -> list[str]:
    """The distinct private and secret values of a run that can be told from ordinary words, from its stored text."""
    spans = run.read_table("spans").filter(pl.col("kind").is_in(["private", "secret"]))
    texts = run.segments().rows(spans["row_id"].to_list(), ["row_id", "segment", "text"])
    joined = spans.join(texts, on=["row_id", "segment"]).select("start", "end", "text")
    found = {text[start:end] for start, end, text in joined.iter_rows()}
    return sorted(value for value in found if rulebook.is_distinctive(value))
