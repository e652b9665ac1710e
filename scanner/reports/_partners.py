"""Figures about what rows have in common beside whole copies: relations, shared sides, partners in other parts."""

from __future__ import annotations

from typing import Any

import polars as pl

from scanner.objects import LONG_TURN
from scanner.pairing import COPIES
from scanner.reports._words import RELATIONS

ACROSS = ("exact", "near", "semantic", "prompt", "opening")
"""What rows of two parts may have in common: the whole text, nearly, in other words, the prompt, the first question."""


def figures(rows: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, Any]:
    """Figures for scan.json; the same keys whether anything was found, or measured, or not."""
    n = len(rows)
    known = set(rows.columns)

    def counted(condition: pl.Expr, *needs: str) -> dict[str, Any]:
        hit = rows.filter(condition) if set(needs) <= known else rows.clear()
        return {"rows": len(hit), "share": len(hit) / n if n else None}

    long = pl.col("length.supervised_tokens") >= LONG_TURN
    torn, asked = pl.col("answers.prompts") > 1, ("answers.prompts", "length.supervised_tokens")
    shared = {name: counted(torn & part, *asked) for name, part in (("long", long), ("short", ~long))}
    for name, part in (("long", long), ("short", ~long)):
        groups = rows.filter(torn & part)["answers.group"].n_unique() if {*asked, "answers.group"} <= known else 0
        shared[name]["groups"] = groups
    text = pairs.with_columns(pl.col("signal", "relation").cast(pl.String))
    kinds = []
    for relation in RELATIONS:
        mine = text.filter(pl.col("relation") == relation)
        touched = pl.concat([mine["row_a"], mine["row_b"]]).n_unique() if len(mine) else 0
        kinds.append({"relation": relation, "pairs": len(mine), "rows": touched})
    return {
        "kinds": kinds,
        "same_answer": shared,
        "prompts": counted(pl.col("conflicts.rows") > 1, "conflicts.rows") | _repeats(rows, "conflicts.group"),
        "openings": counted(pl.col("turns.opening_rows") > 1, "turns.opening_rows")
        | _repeats(rows, "turns.opening_group"),
        "torn_openings": counted(pl.col("turns.opening_answers") > 1, "turns.opening_answers"),
        "repeated_turns": counted(pl.col("turns.repeated") > 0, "turns.repeated"),
        "scripts": _scripts(rows),
        "across_sources": _across(rows, text, "source"),
        "across_scripts": _across(rows, text, "script.answer"),
    }


def _repeats(rows: pl.DataFrame, group: str) -> dict[str, Any]:
    """Rows that are not the first of their group."""
    named = rows[group].drop_nulls() if group in rows.columns else pl.Series(group, [], dtype=pl.Int64)
    repeats = len(named) - named.n_unique()
    return {"repeats": repeats, "repeats_share": repeats / len(rows) if len(rows) else None}


def _scripts(rows: pl.DataFrame) -> list[dict[str, Any]]:
    if "script.answer" not in rows.columns:
        return []
    counts = rows.group_by(pl.col("script.answer").alias("script")).agg(pl.len().alias("rows"))
    return counts.sort(["rows", "script"], descending=[True, False]).to_dicts()


def _across(rows: pl.DataFrame, pairs: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    """How many rows of each part (source, script) have a copy, or the same question, in each part; empty for one part.

    Rows of equal text stand for one another, so that every copy of a near copy is counted, whichever the pair names.
    """
    if column not in rows.columns or rows[column].n_unique() < 2:
        return []
    part = rows.select("row_id", pl.col(column).cast(pl.String).alias("part"))
    exact = pairs.filter(COPIES)
    label = _labels(part, exact)
    others = pairs.filter(pl.col("signal").is_in(["minhash", "semantic"]) & (pl.col("relation") != "contained"))
    named = others.select("row_a", "row_b", pl.col("signal").replace({"minhash": "near"}).alias("kind"))
    for end, short in (("row_a", "a"), ("row_b", "b")):
        named = named.join(label.rename({"row_id": end, "label": short}), on=end)
    back = named.select(pl.col("b").alias("a"), pl.col("a").alias("b"), "kind")
    links = pl.concat([named.select("a", "b", "kind"), back]).unique()
    where = part.join(label, on="row_id")
    held = where.select("label", "part").unique()
    reached = where.join(links, left_on="label", right_on="a").join(
        held.rename({"part": "other"}), left_on="b", right_on="label"
    )
    found = [reached.select("part", "other", "row_id", "kind"), _together(where, "exact")]
    for kind, group in (("prompt", "conflicts.group"), ("opening", "turns.opening_group")):
        if group in rows.columns:
            grouped = rows.select("row_id", pl.col(group).alias("label")).drop_nulls().join(part, on="row_id")
            found.append(_together(grouped, kind))
    everything = pl.concat(found)
    counted = everything.group_by("part", "other").agg(
        pl.col("row_id").filter(pl.col("kind") == kind).n_unique().alias(kind) for kind in ACROSS
    )
    return counted.sort("part", "other").to_dicts()


def _together(grouped: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Rows that share their label with another row, by that row's part; grouped has row_id, label and part."""
    held = grouped.group_by("label", pl.col("part").alias("other")).agg(pl.len().alias("held"))
    met = grouped.join(held, on="label").filter((pl.col("part") != pl.col("other")) | (pl.col("held") > 1))
    return met.select("part", "other", "row_id", kind=pl.lit(kind))


def _labels(part: pl.DataFrame, exact: pl.DataFrame) -> pl.DataFrame:
    """(row_id, label): the smallest row id of each row's group of equal text."""
    first = pl.concat([exact.select("row_a", "row_b"), exact.select(pl.col("row_a"), pl.col("row_a").alias("row_b"))])
    lowest = first.group_by("row_b").agg(pl.col("row_a").min().alias("label"))
    # groups are stars or all their pairs, so the lowest partner of a row is the group's first row
    joined = part.select("row_id").join(lowest, left_on="row_id", right_on="row_b", how="left")
    return joined.with_columns(pl.coalesce("label", "row_id").alias("label"))
