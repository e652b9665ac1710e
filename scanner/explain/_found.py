"""What the tables hold of one row: rows paired with it, spans, features, and what earlier runs hold of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner.evidence import Evidence
from scanner.pairing import CONTAINED, by_meaning_alone, groups_of
from scanner.store import RunFolder

LABELS = ("conflicts.group", "conflicts.answer", "answers.group", "answers.prompt", "turns.opening_group")
"""Columns that number groups: no quantities, so that they have no place among the rows."""
INSIDE_WORDS = ("this row's answer stands inside its answer", "its answer stands inside this row's")
RELATION_WORDS = {
    "same_both": "the same prompt and answer",
    "same_prompt": "the same prompt, another answer",
    "same_response": "the same answer to another prompt",
    "near": "nearly the same",
    "contained": "one, or its answer, within the other",
    "semantic": "the same in other words",
}


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
    payload: float = math.nan  # Jaccard of what stands in their templates; NaN where neither follows one

    @property
    def told(self) -> str:
        """How the two are related, in words, and which answer stands inside which."""
        words = RELATION_WORDS.get(self.relation, self.relation)
        if self.relation == "contained" and self.signal == "exact":
            return INSIDE_WORDS[self.answer_inside < self.answer_holds]  # the rows themselves need not be alike
        if self.relation == "contained":
            words = "this row stands within it" if self.inside >= self.holds else "it stands within this row"
        if self.answer_inside >= CONTAINED > self.answer_holds:
            return f"{words}; {INSIDE_WORDS[0]}"
        if self.answer_holds >= CONTAINED > self.answer_inside:
            return f"{words}; {INSIDE_WORDS[1]}"
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


def relatives_of(pairs: pl.DataFrame, row_id: int, rows: pl.DataFrame) -> tuple[Relative, ...]:
    """The rows paired with this one: exact before near before those of its meaning alone, the most similar first.

    Near pairs are known of one of several rows of equal text, and hold of all of them.
    """
    pairs = pairs.with_columns(pl.col("signal", "relation").cast(pl.String))
    meaning = by_meaning_alone(pairs)
    pairs = _as_pairs_of(pairs.filter(pl.col("signal") != "semantic"), row_id)
    pairs = pl.concat([pairs, meaning.select(pairs.columns)])
    for name in ("answer_containment_ab", "answer_containment_ba", "payload_similarity"):
        pairs = pairs if name in pairs.columns else pairs.with_columns(pl.lit(None, pl.Float64).alias(name))
    here = pairs.filter((pl.col("row_a") == row_id) | (pl.col("row_b") == row_id))
    first = pl.col("row_a") == row_id
    seen = here.select(
        pl.when(first).then("row_b").otherwise("row_a").alias("row_id"),
        "signal",
        "relation",
        pl.col("similarity").cast(pl.Float64),
        *(
            pl.when(first).then(f"{of}_{here_there}").otherwise(f"{of}_{there_here}").cast(pl.Float64).alias(name)
            for of, here_there, there_here, name in (
                ("containment", "ab", "ba", "inside"), ("containment", "ba", "ab", "holds"),
                ("answer_containment", "ab", "ba", "answer_inside"), ("answer_containment", "ba", "ab", "answer_holds"),
            )
        ),
        pl.col("payload_similarity").cast(pl.Float64),
    )  # fmt: skip
    side = (pl.col("signal") == "exact") & (pl.col("relation") == "contained")
    rank = pl.col("signal").replace_strict({"exact": 0, "minhash": 1, "span": 2}, default=3, return_dtype=pl.Int8)
    rank = pl.when(side).then(2).otherwise(rank)
    seen = seen.sort([rank, pl.col("similarity").fill_null(0).fill_nan(0), "row_id"], descending=[False, True, False])
    seen = seen.unique(["row_id", "signal"], keep="first", maintain_order=True)
    places = rows.select("row_id", pl.col("source").cast(pl.String), "line")
    seen = seen.join(places, on="row_id", how="left", maintain_order="left")
    return tuple(
        Relative(other, f"{source}:{line}", signal, relation, number(similarity), *map(number, shares))
        for other, signal, relation, similarity, *shares, source, line in seen.iter_rows()
    )


def _as_pairs_of(pairs: pl.DataFrame, row_id: int) -> pl.DataFrame:
    """Pairs with those of the rows of equal text, but for its copies, as pairs of this row."""
    same = pairs.filter(pl.col("relation") == "same_both")
    ids = np.unique(pl.concat([same["row_a"], same["row_b"]]).to_numpy())
    at = np.searchsorted(ids, row_id)
    if at == len(ids) or ids[at] != row_id:
        return pairs
    group = groups_of(ids, same).group
    copies = pl.lit(pl.Series(ids[group == group[at]])).implode()
    inside = [pl.col(side).is_in(copies) for side in ("row_a", "row_b")]
    of_copies = pairs.filter(inside[0] != inside[1]).with_columns(
        pl.when(here).then(pl.lit(row_id)).otherwise(pl.col(side)).alias(side)
        for side, here in zip(("row_a", "row_b"), inside, strict=True)
    )
    return pl.concat([pairs, of_copies])


def known_earlier(run: RunFolder, row_id: int) -> tuple[str, ...]:
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


def spans_found(run: RunFolder, spans: pl.DataFrame, evidence: Evidence) -> tuple[SpanFound, ...]:
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


def features_of(rows: pl.DataFrame, row: dict[str, Any]) -> tuple[Feature, ...]:
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


def number(value: Any) -> float:
    return math.nan if value is None else float(value)
