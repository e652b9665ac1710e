"""What a row owes to a template: the listed template that covers most of it, and what stands in its slots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from scanner.evidence import Evidence, shortened
from scanner.explain._found import number
from scanner.store import RunFolder
from scanner.text import token_spans

PIECE = 60
"""Characters of each piece of template text that are shown, its beginning and its end."""
SLOT = 120
"""Characters of each slot's content that are shown."""


@dataclass(frozen=True)
class Wrapped:
    """The template of a row; texts are masked, and empty where none is shown."""

    number: int  # in templates.parquet
    role: str
    rows: int  # of the source that follow it
    share: float  # of the source's rows
    tokens_share: float  # of this row's tokens inside templates
    parts: tuple[tuple[bool, str], ...]  # (is it a slot, its text) in the order of the row's string

    @property
    def told(self) -> str:
        """How much of the row is template, and whose it is."""
        return (
            f"{100 * self.tokens_share:.0f} % of its tokens are template text. "
            f"Template {self.number} of the {self.role} text is shared by {self.rows:,} rows, "
            f"{100 * self.share:.0f} % of its file; copies are judged by what stands in its slots."
        )


def wrapped(run: RunFolder, row: dict[str, Any], evidence: Evidence) -> Wrapped | None:
    """The listed template of one row of rows.parquet; None where it follows none."""
    which = row.get("templates.id")
    if which is None or not run.has_table("templates"):
        return None
    listed = run.read_table("templates").filter(pl.col("template") == which)
    if not len(listed):
        return None
    found = listed.row(0, named=True)
    share = number(row.get("templates.share"))
    parts = () if evidence.missing else _parts(evidence, row["row_id"], found)
    return Wrapped(int(which), str(found["role"]), found["rows"], found["share"], share, parts)


def _parts(evidence: Evidence, row_id: int, found: dict[str, Any]) -> tuple[tuple[bool, str], ...]:
    """Template text and slots of the row's string that follows the template best: the one with most of its pieces."""
    evidence.load([row_id, found["example_row"]])
    example = next((p for p in evidence.segments(found["example_row"]) if p.segment == found["segment"]), None)
    if example is None:
        return ()
    patterns = [_pattern(example.text[piece["start"] : piece["end"]]) for piece in found["pieces"]]
    best: list[tuple[int, int]] = []
    mine = None
    for segment in evidence.segments(row_id):
        places = _places(patterns, segment.text)
        if len(places) > len(best):
            best, mine = places, segment
    if mine is None:
        return ()
    parts, at = [], 0
    for start, end in [*best, (len(mine.text), len(mine.text))]:
        if mine.text[at:start].strip():
            parts.append((True, shortened(mine.shown(at, start).strip(), SLOT)))
        if end > start:
            parts.append((False, _ends(mine.shown(start, end).strip())))
        at = end
    return tuple(parts)


def _pattern(piece: str) -> re.Pattern[str]:
    """A piece of template text, whatever its case and spacing."""
    return re.compile(r"\s*".join(re.escape(piece[a:b]) for a, b in token_spans(piece)), re.IGNORECASE)


def _places(patterns: list[re.Pattern[str]], text: str) -> list[tuple[int, int]]:
    """Where the pieces stand in a text, one after another; those that are edited there are left out."""
    places, at = [], 0
    for pattern in patterns:
        if pattern.pattern and (met := pattern.search(text, at)):
            places.append(met.span())
            at = met.end()
    return places


def _ends(text: str) -> str:
    return text if len(text) <= 2 * PIECE else f"{text[:PIECE]} … {text[-PIECE:]}"
