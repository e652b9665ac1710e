"""Everything a run knows about one row, in words: where it stands, what it repeats, why it is risky, what is next."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scanner import decontaminating
from scanner.errors import RunError
from scanner.evidence import PRIVATE_KINDS, Difference, Evidence
from scanner.repeats import Stretch, stretches
from scanner.store import RunFolder
from scanner.text import one_line

RELATIVES = 12
"""Related rows that are listed; the rest are counted."""
SPANS = 20
STRETCHES = 6
"""Repeated spans that are shown; the rest are counted."""
FEATURES_SHOWN = 40
LABELS = ("conflicts.group", "conflicts.answer", "answers.group", "answers.prompt", "turns.opening_group")
"""Columns that number groups: no quantities, so that they have no place among the rows."""
INSIDE = 0.95
"""Share of an answer's shingles found in another from which it stands inside it (as in signals.minhash)."""
EXCERPT = 700
"""Characters of the prompt and of the answer."""
RELATION_WORDS = {
    "same_both": "the same prompt and answer",
    "same_prompt": "the same prompt, another answer",
    "same_response": "the same answer to another prompt",
    "near": "nearly the same",
    "contained": "one within the other",
    "semantic": "the same in other words",
}
NOT_CALIBRATED = "Not calibrated: predictions were not validated on this data; weights from a small rehearsal."


@dataclass(frozen=True)
class Relative:
    """A row that this one is paired with."""

    row_id: int
    place: str
    signal: str  # exact, minhash, span, semantic
    relation: str
    similarity: float  # Jaccard, or cosine for semantic; NaN where not measured
    inside: float  # share of this row found in the other; NaN where not measured
    holds: float = math.nan  # share of the other found in this row; NaN where not measured
    answer_inside: float = math.nan  # the same of the answers alone
    answer_holds: float = math.nan

    @property
    def told(self) -> str:
        """How the two are related, in words, and which answer stands inside which."""
        words = RELATION_WORDS.get(self.relation, self.relation)
        if self.relation == "contained":
            words = "this row stands within it" if self.inside >= self.holds else "it stands within this row"
        if self.answer_inside >= INSIDE > self.answer_holds:
            return f"{words}; this row's answer stands inside its answer"
        if self.answer_holds >= INSIDE > self.answer_inside:
            return f"{words}; its answer stands inside this row's"
        return words


@dataclass(frozen=True)
class SpanFound:
    """A private or other marked span, in its masked context."""

    rule_id: str
    kind: str
    field: str  # where in the record: the JSON pointer of the string, "" when the text was purged
    length: int  # code points
    before: str
    hidden: str
    after: str


@dataclass(frozen=True)
class Feature:
    """A measured quantity of the row and where it stands among all rows."""

    name: str
    value: float
    percentile: float  # share of the measured rows with a smaller or equal value, 0 to 1


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

    def sentences(self) -> list[str]:
        """The explanation in words, without its tables and excerpts."""
        found = (_repeated(self), *self.known, *self.held, _exposing(self))
        return [s for s in (_standing(self), *_predicted(self), *found, _planned(self)) if s]

    def render(self, console: Console) -> None:
        """Print it; text of the data cannot steer the terminal."""
        _render(self, console)


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
    relatives = _relatives(run.read_table("pairs"), row_id, rows)
    table = run.read_table("spans")
    repeated, repeated_total = stretches(table, run.read_table("plan"), row_id, evidence, STRETCHES)
    private = (pl.col("row_id") == row_id) & pl.col("kind").cast(pl.String).is_in(PRIVATE_KINDS)
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
        spans=_spans(run, spans.head(SPANS), evidence),
        spans_total=len(spans),
        repeated=repeated,
        repeated_total=repeated_total,
        features=_features(rows, row),
        action=str(plan.get("action") or "keep"),
        why=str(plan.get("why") or ""),
        rule_id=str(plan.get("rule_id") or ""),
        keep_row_id=keep,
        kept_because=str(plan.get("kept_because") or ""),
        known=_known(run, row_id),
        masked_tokens=_mask_words(plan.get("loss_mask")),
        sample_weight=float(1.0 if plan.get("sample_weight") is None else plan["sample_weight"]),
        difference=evidence.difference(keep, row_id) if keep is not None else None,
        held=decontaminating.sentences(run.read_table("matches"), row_id) if run.has_table("matches") else (),
    )


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
        f"there is no row {row_id}: the run holds {len(rows):,} rows with ids from {first} to {last}, counted from 0 "
        "over all inputs; a line of a file counts from 1, so line 1 of the first file is row 0"
    )


def _relatives(pairs: pl.DataFrame, row_id: int, rows: pl.DataFrame) -> tuple[Relative, ...]:
    """The rows paired with this one: exact before near before semantic, the most similar first."""
    for name in ("answer_containment_ab", "answer_containment_ba"):
        pairs = pairs if name in pairs.columns else pairs.with_columns(pl.lit(None, pl.Float64).alias(name))
    here = pairs.filter((pl.col("row_a") == row_id) | (pl.col("row_b") == row_id))
    first = pl.col("row_a") == row_id
    seen = here.select(
        pl.when(first).then("row_b").otherwise("row_a").alias("row_id"),
        pl.col("signal", "relation").cast(pl.String),
        pl.col("similarity").cast(pl.Float64),
        *(
            pl.when(first).then(f"{of}_{here_there}").otherwise(f"{of}_{there_here}").cast(pl.Float64).alias(name)
            for of, here_there, there_here, name in (
                ("containment", "ab", "ba", "inside"), ("containment", "ba", "ab", "holds"),
                ("answer_containment", "ab", "ba", "answer_inside"), ("answer_containment", "ba", "ab", "answer_holds"),
            )
        ),
    )  # fmt: skip
    rank = pl.col("signal").replace_strict({"exact": 0, "minhash": 1, "span": 2}, default=3, return_dtype=pl.Int8)
    seen = seen.sort([rank, pl.col("similarity").fill_null(0).fill_nan(0), "row_id"], descending=[False, True, False])
    places = rows.select("row_id", pl.col("source").cast(pl.String), "line")
    seen = seen.join(places, on="row_id", how="left", maintain_order="left")
    return tuple(
        Relative(other, f"{source}:{line}", signal, relation, _number(similarity), *map(_number, shares))
        for other, signal, relation, similarity, *shares, source, line in seen.iter_rows()
    )


def _known(run: RunFolder, row_id: int) -> tuple[str, ...]:
    """A sentence for each way in which an earlier run (--against) holds the row."""
    if not run.has_table("matches"):
        return ()
    matches = run.read_table("matches")
    if "kind" not in matches.columns:
        return ()
    said = []
    for seen in matches.filter((pl.col("row_id") == row_id) & (pl.col("kind") == "earlier")).iter_rows(named=True):
        what = "prompt" if seen["part"] == "question" else "answer" if seen["part"] == "answer" else "row"
        what = "first turn" if seen["first_turn"] else what
        of = f"row {seen['item']} of the earlier run {seen['source']}"
        more = f" and {seen['items'] - 1:,} more there" if seen["items"] > 1 else ""
        if seen["how"] == "near":
            said.append(f"It reads like {of}{more} (Jaccard about {seen['similarity']:.2f}, estimated).")
        else:
            said.append(f"The same {what}, up to case and spacing, is in {of}{more}.")
    return tuple(said)


def _spans(run: RunFolder, spans: pl.DataFrame, evidence: Evidence) -> tuple[SpanFound, ...]:
    fields: dict[int, str] = {}
    if run.segments_path.exists() and len(spans):
        paths = run.segments().rows([spans["row_id"][0]], ["segment", "field_path"])
        fields = dict(paths.iter_rows())
    found = []
    for span in spans.iter_rows(named=True):
        place = (span["row_id"], span["segment"], span["start"], span["end"])
        before, hidden, after = evidence.in_context(*place)
        length = span["end"] - span["start"]
        field = fields.get(span["segment"], "")
        found.append(SpanFound(str(span["rule_id"]), str(span["kind"]), field, length, before, hidden, after))
    return tuple(found)


def _features(rows: pl.DataFrame, row: dict[str, Any]) -> tuple[Feature, ...]:
    """Every numeric family.name column that was measured for this row."""
    found = []
    for name, dtype in rows.schema.items():
        value = row[name]
        if "." not in name or name in LABELS or not (dtype.is_numeric() or dtype == pl.Boolean) or value is None:
            continue
        number = float(value)
        if math.isnan(number):
            continue
        column = rows[name].cast(pl.Float64).drop_nulls().drop_nans()
        found.append(Feature(name, number, float((column <= number).mean() or 0.0)))  # type: ignore[arg-type]
    return tuple(found)


def _mask_words(mask: Any) -> str:
    """A loss mask, which may be a list of spans or its text, in words."""
    if mask is None or mask in ("", "[]"):
        return ""
    spans = mask if isinstance(mask, list) else None
    if spans is None:
        return "parts of the answer"
    return f"{len(spans)} span{'' if len(spans) == 1 else 's'} of the answer" if spans else ""


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _written(value: Any, digits: int = 2) -> str:
    number = _number(value)
    return "not measured" if math.isnan(number) else f"{number:,.{digits}f}"


def _standing(told: Explanation) -> str:
    turns = f", {told.turns} turns" if told.turns > 2 else ""
    return f"Row {told.row_id} stands at {told.place}, read as {told.layout}{turns}."


def _predicted(told: Explanation) -> list[str]:
    seen = told.prediction
    if not seen:
        return ["Nothing was predicted for it."]
    reasons = seen.get("reasons") or ""
    reasons = reasons if isinstance(reasons, str) else "; ".join(map(str, reasons))
    if math.isnan(_number(seen.get("p_extract"))):
        lines = [f"Its recitation was not measured{f': {reasons}' if reasons else ''}."]
    else:
        lines = [
            f"Band {seen['band']}: risk {_written(seen['risk'])} = severity {_written(seen['severity'], 0)} "
            f"× p_extract {_written(seen['p_extract'])}, the chance that 16 tokens or more of its answer are recited.",
            f"The whole answer is recited with probability {_written(seen['p_whole'])}; "
            f"{_written(seen['expected_tokens'], 1)} tokens are expected, "
            f"at most {_written(seen['tokens_q95'], 0)} in 19 of 20 fine-tunes.",
            f"Without this row, {_written(seen['p_counterfactual'])} of p_extract would vanish.",
            f"Why: {reasons or 'no single reason stands out'} (kind: {seen['taxon']}).",
        ]
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


def _render(told: Explanation, console: Console) -> None:
    unicode = (console.encoding or "").lower().replace("-", "").startswith("utf")

    def plain(text: str, style: str = "") -> Text:
        # never markup: [red] in a row is text
        return Text(text if unicode else text.encode("ascii", "replace").decode(), style=style)

    def heading(text: str) -> None:
        console.print(plain(f"\n{text}", "bold"))

    for sentence in told.sentences():
        console.print(plain(sentence, "dim" if sentence == NOT_CALIBRATED else ""))
    heading("Text")
    if told.missing_text:
        console.print(plain(told.missing_text, "dim"))
    else:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(plain("asked"), plain(told.prompt))
        table.add_row(plain("answered"), plain(told.answer or "nothing that is supervised"))
        console.print(table)
    if told.spans:
        heading("Marked spans")
        for span in told.spans:
            context = one_line(f"{span.before}{span.hidden}{span.after}", 120)
            where = f" in {one_line(span.field, 40)}" if span.field else ""
            console.print(
                plain(f"{span.rule_id}{where}, {span.length} characters  ").append_text(plain(context, "dim"))
            )
    if told.repeated:
        more = told.repeated_total - len(told.repeated)
        heading("Repeated passages" + (f", the longest of {told.repeated_total}" if more else ""))
        for stretch in told.repeated:
            console.print(plain(stretch.told))
            if stretch.text:
                console.print(plain(f"  {one_line(stretch.text, 140)}", "dim"))
    if told.relatives:
        heading("Related rows")
        table = Table.grid(padding=(0, 2, 0, 0))
        for relative in told.relatives:
            likeness = "" if math.isnan(relative.similarity) else f"{relative.similarity:.2f}"
            within = "" if math.isnan(relative.inside) else f"{100 * relative.inside:.0f} % of this row is in it"
            place = one_line(relative.place, 40)
            cells = (str(relative.row_id), place, relative.signal, likeness, relative.told, within)
            table.add_row(*(plain(cell) for cell in cells))
        console.print(table)
    if told.difference:
        heading(f"Beside the kept row {told.keep_row_id}")
        for name, side, style in (("kept", told.difference.left, "red"), ("this", told.difference.right, "green")):
            line = plain(f"{name}  ", "dim")
            for piece in side:
                # marks as well as colours, for terminals without them
                shown = (
                    f"{{{piece.text}}}"
                    if piece.kind == "changed"
                    else f"…{piece.text}…"
                    if piece.kind == "cut"
                    else piece.text
                )
                line.append_text(
                    plain(shown, style if piece.kind == "changed" else "dim" if piece.kind == "cut" else "")
                )
            console.print(line)
        if not told.difference.complete:
            console.print(plain("Only the beginnings were compared: the texts are long.", "dim"))
    if told.features:
        heading("Measured, and the share of rows at or below")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column()
        table.add_column(justify="right")
        table.add_column(justify="right", style="dim")
        for feature in told.features[:FEATURES_SHOWN]:
            table.add_row(
                plain(feature.name), plain(f"{feature.value:.4g}"), plain(f"{100 * feature.percentile:.0f} %")
            )
        console.print(table)
