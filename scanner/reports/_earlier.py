"""What earlier runs hold of the new data (`--against`), in words and as rows to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from scanner.evidence import Evidence
from scanner.reports import _words as words
from scanner.store import RunFolder

EXAMPLES = 12
EXAMPLES_PER_KIND = 4
KINDS = (
    ("copies", "copies of its rows", "copy of a row of it", "dropped"),
    (
        "other_context", "same prompt and answer, but another system prompt, tools or rejected answer", "",
        "for review",
    ),
    ("prompts", "same prompt, another answer", "", "for review"),
    ("near", "near copies (estimated from signatures)", "near copy (estimated from signatures)", "for review"),
    ("first_turns", "same first turn, another dialogue", "", "listed only"),
    ("answers", "same longer answer to another prompt", "", "listed only"),
)  # fmt: skip
"""(name in the summary, in words, of one row if otherwise, what becomes of such rows)."""


@dataclass(frozen=True)
class KnownRow:
    """A row that an earlier run holds in some way."""

    row_id: int
    place: str
    run: str
    item: str  # row_id in the earlier run
    how: str
    prompt: str


def lines(summary: dict[str, Any]) -> list[str]:
    """One sentence per earlier run."""
    said = []
    for name, seen in (summary.get("earlier") or {}).items():
        if not seen["matched"]:
            said.append(f"{name} holds none of these rows ({words.plural(seen['rows'], 'row')} compared with)")
            continue
        parts = [words.plural(seen[kind], one or label, label) for kind, label, one, _ in KINDS if seen[kind]]
        matched = f"{words.number(seen['matched'])} of these rows ({words.percent(seen['share'])})"
        said.append(f"{name} holds {matched} in some way: {', '.join(parts)}")
    return said


def warnings(scan: dict[str, Any]) -> list[str]:
    """What limits the comparison."""
    compared = (scan.get("notes") or {}).get("against") or {}
    return [line for said in compared.values() for line in said["warnings"]]


def caveats(scan: dict[str, Any]) -> list[str]:
    """How near copies were told, per earlier run."""
    compared = (scan.get("notes") or {}).get("against") or {}
    return [
        f"{name}: similarity is estimated from {said['permutations']} permutations, with a standard error of "
        f"{said['standard_error_at_0.8']:.2f} at Jaccard .8; {words.percent(said['recall_at_threshold'])} of the pairs "
        f"at the threshold are proposed"
        + (
            f"; at least {words.plural(said['candidates_not_compared_at_least'], 'candidate')} not compared, because "
            "many earlier rows look alike"
            if said["candidates_not_compared_at_least"]
            else ""
        )
        for name, said in compared.items()
    ]


def copied_rows(run: RunFolder) -> list[int]:
    """Rows that an earlier run holds as they are."""
    if not run.has_table("matches"):
        return []
    matches = run.read_table("matches")
    if "kind" not in matches.columns:
        return []
    same = matches.filter((pl.col("kind") == "earlier") & (pl.col("part") == "both") & pl.col("same_context"))
    return sorted(set(same["row_id"]))


def examples(run: RunFolder, rows: pl.DataFrame, evidence: Evidence) -> tuple[KnownRow, ...]:
    """Some matched rows of each kind, with their masked prompts; the earlier text is never shown."""
    if not run.has_table("matches"):
        return ()
    matches = run.read_table("matches")
    if "kind" not in matches.columns:
        return ()
    how = (
        pl.when(pl.col("how") == "near")
        .then(pl.format("near copy, Jaccard about {}", pl.col("similarity").round(2)))
        .when((pl.col("part") == "both") & pl.col("same_context"))
        .then(pl.lit("copy"))
        .when(pl.col("part") == "both")
        .then(pl.lit("same prompt and answer"))
        .when("first_turn")
        .then(pl.lit("same first turn"))
        .when(pl.col("part") == "question")
        .then(pl.lit("same prompt"))
        .otherwise(pl.lit("same answer"))
    )
    mine = matches.filter(pl.col("kind") == "earlier").with_columns(told=how)
    kind = ["how", "part", "same_context", "first_turn"]
    shown = mine.unique("row_id", keep="first", maintain_order=True)
    shown = shown.group_by(kind, maintain_order=True).head(EXAMPLES_PER_KIND).head(EXAMPLES).sort("row_id")
    evidence.load(shown["row_id"].to_list())
    places = shown.join(rows.select("row_id", pl.col("source").alias("file"), "line"), on="row_id", how="left")
    return tuple(
        KnownRow(row, words.place(file, line), source, item, told, evidence.prompt(row))
        for row, file, line, source, item, told in places.sort("row_id")
        .select("row_id", "file", "line", "source", "item", "told")
        .iter_rows()
    )
