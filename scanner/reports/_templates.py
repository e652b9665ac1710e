"""Templates in the reports: the sentence about each source, and the patterns, masked, with their slots as "…"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scanner.evidence import Evidence, shortened
from scanner.reports._words import percent
from scanner.store import RunFolder

SHOWN = 20
"""Templates shown, the ones with the most tokens first."""
PATTERN = 600
"""Characters of a pattern that are shown."""
WORTH_SAYING = 0.05
"""Share of a source's tokens inside templates from which the summary says so."""


@dataclass(frozen=True)
class Template:
    """One template as a report shows it."""

    number: int
    source: str
    role: str
    rows: int
    share: float  # of the source's rows
    tokens_per_row: float
    slots: int
    pattern: str  # "" where text is not shown


def sentences(notes: dict[str, Any]) -> list[str]:
    """One sentence per source of which templates make up a good part."""
    sources = (notes.get("templates") or {}).get("sources", [])
    return [
        f"{percent(said['share_of_tokens'])} of the tokens of {said['source']} are templates, which "
        f"{percent(said['share_of_rows'])} of its rows follow; these rows are compared on their payload"
        for said in sources
        if said["share_of_tokens"] >= WORTH_SAYING
    ]


def gather(run: RunFolder, text: str) -> tuple[Template, ...]:
    """The templates found, those with the most tokens first, under a text policy; none where the run has no table."""
    if not run.has_table("templates"):
        return ()
    evidence = Evidence(run, text)
    table = run.read_table("templates").head(SHOWN)
    evidence.load(table["example_row"].to_list())
    return tuple(
        Template(
            number=found["template"],
            source=found["source"],
            role=found["role"],
            rows=found["rows"],
            share=found["share"],
            tokens_per_row=found["tokens_per_row"],
            slots=found["slots"],
            pattern=_pattern(evidence, found),
        )
        for found in table.iter_rows(named=True)
    )


def _pattern(evidence: Evidence, found: dict[str, Any]) -> str:
    """The fixed text of the example, masked, its slots as "…"."""
    part = next((p for p in evidence.segments(found["example_row"]) if p.segment == found["segment"]), None)
    if part is None:
        return ""
    pieces = found["pieces"]
    opening = "… " if pieces and part.text[: pieces[0]["start"]].strip() else ""
    closing = " …" if pieces and part.text[pieces[-1]["end"] :].strip() else ""
    fixed = " … ".join(part.shown(piece["start"], piece["end"]) for piece in pieces)
    return shortened(opening + fixed + closing, PATTERN)
