"""What redacting makes of rows: the new texts of their segments and fields, as a cleaned file holds them.

spans.parquet, unread.parquet + the text of the run -> new texts by place, placeholders numbered within the row
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from scanner import rulebook
from scanner.errors import RuleError
from scanner.evidence import PRIVATE
from scanner.redaction import Numbering, Span, redact
from scanner.settings import Settings
from scanner.store import RunFolder


@dataclass(frozen=True)
class Redaction:
    """What is taken out of one row."""

    texts: dict[str, str]  # new text by JSON pointer of the segment
    labels: dict[str, str]  # placeholder by the value that it stands for


def redactions(run: RunFolder, row_ids: list[int], settings: Settings) -> dict[int, Redaction]:
    """What becomes of each row; numbers of placeholders run through all segments of a row.

    RuleError where a rule that found something is no longer there.
    """
    if not row_ids:
        return {}
    placeholders = {rule.id: rule.placeholder for rule in rulebook.load(settings.rules).rules}
    spans = run.read_table("spans").filter(PRIVATE)
    outside = beside(run, settings)
    if gone := sorted({*spans["rule_id"], *outside["rule_id"]} - placeholders.keys()):
        raise RuleError(
            f"{run.path} holds findings of {', '.join(gone)}, and there is no such rule any more; put it back into its "
            "folder of --rules, or audit the data again"
        )
    found: dict[int, Redaction] = {}
    numbering: dict[int, Numbering] = {}
    for reader, table, place in ((run.segments(), spans, "segment"), (run.unread(), outside, "field")):
        by_place: dict[tuple[int, int], list[Span]] = {}
        for row, number, start, end, rule in table.select("row_id", place, "start", "end", "rule_id").iter_rows():
            by_place.setdefault((row, number), []).append(Span(start, end, placeholders[rule]))
        texts = reader.rows(row_ids, ["row_id", "segment", "field_path", "text"]).sort("row_id", "segment")
        for row, number, pointer, text in texts.iter_rows():
            mine = by_place.get((row, number))
            if not mine:
                continue
            numbers = numbering.setdefault(row, Numbering())
            redaction = found.setdefault(row, Redaction({}, {}))
            redaction.texts[pointer] = redact(text, mine, numbers)
            for span in mine:
                value = text[span.start : span.end]
                redaction.labels[value] = numbers.label(span.placeholder, value)
    return found


def beside(run: RunFolder, settings: Settings) -> pl.DataFrame:
    """What is to be taken out of fields that no trainer reads, as in unread.parquet."""
    found = run.read_table("unread")
    return found if settings.redact and settings.redact_unread else found.clear()
