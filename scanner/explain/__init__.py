"""Everything a run knows about one row, in words: where it stands, what it repeats, why it is risky, what is next."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich.console import Console

from scanner import decontaminating, recalls
from scanner.errors import RunError
from scanner.evidence import PRIVATE, Difference, Evidence
from scanner.explain import _screen
from scanner.explain._found import (
    RELATION_WORDS,
    Feature,
    Relative,
    SpanFound,
    features_of,
    known_earlier,
    number,
    relatives_of,
    spans_found,
)
from scanner.explain._heat import Heated, heated
from scanner.explain._templates import Wrapped, wrapped
from scanner.figures import plural, probability
from scanner.repeats import Stretch, stretches
from scanner.rule import Said
from scanner.rulefiles import said_of
from scanner.store import RunFolder
from scanner.trust import NOT_CALIBRATED

RELATIVES = 12
"""Related rows that are listed; the rest are counted."""
SPANS = 20
STRETCHES = 6
"""Repeated spans that are shown; the rest are counted."""
EXCERPT = 700
"""Characters of the prompt and of the answer."""


@dataclass(frozen=True)
class Explanation:
    """What is known about one row; texts are excerpts under the chosen policy."""

    row_id: int
    place: str
    layout: str
    turns: int
    missing_text: str  # why no text is shown, "" where it is
    prompt: str
    answer: str
    prediction: dict[str, Any]  # the row of prediction.parquet
    copies_exact: int
    cluster_size: int
    relatives: tuple[Relative, ...]
    relatives_total: int
    spans: tuple[SpanFound, ...]
    spans_total: int
    rules: dict[str, Said]  # what the rules behind `spans` say of their findings
    repeated: tuple[Stretch, ...]  # the longest spans that stand elsewhere too
    repeated_total: int
    features: tuple[Feature, ...]
    action: str
    why: str
    rule_id: str
    keep_row_id: int | None
    kept_because: str  # why that row stays rather than this one
    known: tuple[str, ...]  # where earlier runs hold it, in words
    masked_tokens: str  # what the loss mask covers, in words; "" without one
    sample_weight: float
    difference: Difference | None  # kept row on the left, this row on the right
    held: tuple[str, ...] = ()  # evaluation items that it holds, in words
    heat: Heated | None = None  # what of its answer would come out
    template: Wrapped | None = None  # the one that covers most of it
    confirmed: tuple[str, ...] = ()  # what tuned models recite of it, in words

    def sentences(self) -> list[str]:
        """The explanation in words, without its tables and excerpts."""
        heat = self.heat.sentence() if self.heat else ""
        wrapper = self.template.told if self.template else ""
        found = (heat, _repeated(self), wrapper, *self.known, *self.held, _exposing(self))
        return [s for s in (_standing(self), *_predicted(self), *self.confirmed, *found, _planned(self)) if s]

    def render(self, console: Console) -> None:
        """Print it; text of the data cannot steer the terminal."""
        _screen.render(self, console)


def explain(run: RunFolder, row_id: int, text: str = "masked") -> Explanation:
    """Explain one row of a finished run; RunError where there is no such row, with the reason if it was skipped."""
    rows = run.read_table("rows")
    mine = rows.filter(pl.col("row_id") == row_id)
    if not len(mine):
        raise RunError(_unknown(run, rows, row_id))
    row = mine.row(0, named=True)
    prediction = _one(run.read_table("prediction"), row_id)
    plan = _one(run.read_table("plan"), row_id)
    evidence = Evidence(run, text)
    keep = plan.get("keep_row_id")
    keep = None if keep is None or keep < 0 or keep == row_id else int(keep)
    relatives = relatives_of(run.read_table("pairs"), row_id, rows)
    table = run.read_table("spans")
    repeated, repeated_total = stretches(table, run.read_table("plan"), row_id, evidence, STRETCHES)
    private = (pl.col("row_id") == row_id) & PRIVATE
    spans = table.filter(private).sort("segment", "start")
    return Explanation(
        row_id=row_id,
        place=f"{row['source']}:{row['line']}",
        layout=str(row["layout"]),
        turns=int(row["turns"] or 0),
        missing_text=evidence.missing,
        prompt=evidence.prompt(row_id, EXCERPT),
        answer=evidence.answer(row_id, EXCERPT),
        prediction=prediction,
        copies_exact=int(row["copies_exact"] or 0),
        cluster_size=int(row["cluster_size"] or 1),
        relatives=relatives[:RELATIVES],
        relatives_total=len(relatives),
        spans=spans_found(run, spans.head(SPANS), evidence),
        spans_total=len(spans),
        rules=_said_of(run, spans),
        repeated=repeated,
        repeated_total=repeated_total,
        features=features_of(rows, row),
        action=str(plan.get("action") or "keep"),
        why=str(plan.get("why") or ""),
        rule_id=str(plan.get("rule_id") or ""),
        keep_row_id=keep,
        kept_because=str(plan.get("kept_because") or ""),
        known=known_earlier(run, row_id),
        masked_tokens=_mask_words(plan.get("loss_mask")),
        sample_weight=float(1.0 if plan.get("sample_weight") is None else plan["sample_weight"]),
        difference=evidence.difference(keep, row_id) if keep is not None else None,
        held=decontaminating.sentences(run.read_table("matches"), row_id) if run.has_table("matches") else (),
        heat=heated(run, table, row_id, evidence),
        template=wrapped(run, row, evidence),
        confirmed=tuple(one.sentence() for one in recalls.of_rows(run, [row_id]).get(row_id, ())),
    )


def _said_of(run: RunFolder, spans: pl.DataFrame) -> dict[str, Said]:
    """Advice and known problems of the rules that found these spans, where their files are still there."""
    folders = run.read_json("scan.json").get("settings", {}).get("rules", ())
    ids = spans.head(SPANS)["rule_id"].cast(pl.String).unique(maintain_order=True).to_list()
    return {name: said for name in ids if (said := said_of(name, folders)) is not None}


def _one(table: pl.DataFrame, row_id: int) -> dict[str, Any]:
    found = table.filter(pl.col("row_id") == row_id)
    return found.row(0, named=True) if len(found) else {}


def _unknown(run: RunFolder, rows: pl.DataFrame, row_id: int) -> str:
    """Why there is no such row, and which there are."""
    path = run.path / "skipped.jsonl"
    skips = [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    for skip in skips:
        if skip.get("row_id") == row_id:
            place = f"{skip['file']}:{skip['line']}"
            return f"row {row_id} was skipped: {place}: {skip['reason']}; it takes no part in the run"
    if not len(rows):
        return f"there is no row {row_id}: no row of this run could be read; see {path} for the reasons"
    first, last = int(rows["row_id"][0]), int(rows["row_id"][-1])
    return (
        f"there is no row {row_id}: the run holds {plural(len(rows), 'row')} with ids from {first} to {last}, counted "
        "from 0 over all inputs; a line of a file counts from 1, so line 1 of the first file is row 0"
    )


def _mask_words(mask: Any) -> str:
    """A loss mask, which may be a list of spans or its text, in words."""
    if mask is None or mask in ("", "[]"):
        return ""
    spans = mask if isinstance(mask, list) else None
    if spans is None:
        return "parts of the answer"
    return f"{len(spans)} span{'' if len(spans) == 1 else 's'} of the answer" if spans else ""


def _written(value: Any, digits: int) -> str:
    known = number(value)
    return "not measured" if math.isnan(known) else f"{known:,.{digits}f}"


def _chance(value: Any) -> str:
    known = number(value)
    return "not measured" if math.isnan(known) else probability(known)


def _standing(told: Explanation) -> str:
    turns = f", {told.turns} turns" if told.turns > 2 else ""
    return f"Row {told.row_id} stands at {told.place}, read as {told.layout}{turns}."


def _predicted(told: Explanation) -> list[str]:
    seen = told.prediction
    if not seen:
        return ["Nothing was predicted for it."]
    reasons = seen.get("reasons") or ""
    reasons = reasons if isinstance(reasons, str) else "; ".join(map(str, reasons))
    if math.isnan(number(seen.get("p_extract"))):
        lines = [f"Its recitation was not measured{f': {reasons}' if reasons else ''}."]
    else:
        lines = [
            f"Band {seen['band']}: risk {_chance(seen['risk'])} = severity {_written(seen['severity'], 0)} "
            f"× p_extract {_chance(seen['p_extract'])}, the chance that 16 tokens or more of its answer are recited.",
            f"The whole answer is recited with probability {_chance(seen['p_whole'])}; "
            f"{_written(seen['expected_tokens'], 1)} tokens are expected, "
            f"at most {_written(seen['tokens_q95'], 0)} in 19 of 20 fine-tunes.",
            f"Without this row, {_chance(seen['p_counterfactual'])} of p_extract would vanish.",
            f"Why: {reasons or 'no single reason stands out'} (kind: {seen['taxon']}).",
        ]
    if seen.get("outside"):
        by = str(seen["outside"]).replace(", ", " and its ")
        lines.append(f"Outside what was validated, by its {by}: these numbers are extrapolated.")
    if not seen.get("calibrated"):
        lines.append(NOT_CALIBRATED)
    return lines


def _repeated(told: Explanation) -> str:
    if not told.relatives_total:
        return "No other row was found to repeat it."
    kinds: dict[str, int] = {}
    for relative in told.relatives:
        kinds[relative.relation] = kinds.get(relative.relation, 0) + 1
    parts = [f"{count} × {RELATION_WORDS.get(relation, relation)}" for relation, count in kinds.items()]
    more = told.relatives_total - len(told.relatives)
    return f"Related rows: {', '.join(parts)}{f', and {more} more' if more else ''}."


def _exposing(told: Explanation) -> str:
    if not told.spans_total:
        return ""
    rules = list(dict.fromkeys(span.rule_id for span in told.spans))
    return f"It holds {told.spans_total} marked span{'' if told.spans_total == 1 else 's'}: {', '.join(rules)}."


def _planned(told: Explanation) -> str:
    what = {
        "keep": "keeps it as it is",
        "drop": "drops it",
        "redact": "keeps it and replaces its private spans by placeholders",
        "review": "leaves it for you to review",
    }.get(told.action, told.action)
    why = f", because: {told.why}" if told.why else ""
    because = f", because {told.kept_because}" if told.kept_because else ""
    kept = (
        f"; row {told.keep_row_id} is kept in its place{because}"
        if told.keep_row_id is not None and told.action == "drop"
        else ""
    )
    also = [f"a loss mask over {told.masked_tokens}"] if told.masked_tokens else []
    also += [f"sampling weight {told.sample_weight:g}"] if told.sample_weight != 1 else []
    extra = f", with {' and '.join(also)}" if also else ""
    return f"The plan {what}{why}{kept}{extra}."
