"""Findings to a plan: exactly one action per row, plus a loss mask and a sampling weight.

    drop    another row, kept, is verified to be the same or nearly the same; an earlier run holds the row already; or
            it holds question and answer of an evaluation item
    redact  the row stays, its private or secret spans are replaced by typed placeholders, in every field
    review  a person should look: semantic duplicates, near copies whose answers differ, contradictory answers,
            answers that stand mostly in another row, prompts and near copies in earlier runs, rows at high risk
    keep    everything else

A row gets the first of these that applies. The brake keeps a plan that would remove too large a share of any source
from being applied.
"""

from __future__ import annotations

import shlex

import numpy as np
import polars as pl

from scanner import decontaminating, heat
from scanner.errors import BrakeError
from scanner.evidence import PRIVATE
from scanner.figures import percent_above, plural
from scanner.planning._findings import Findings as Findings
from scanner.planning.dropping import copied_rows, dropped_rows, spared_rows, without_kept
from scanner.planning.dropping import may_drop as may_drop
from scanner.planning.reviewing import reviewed_rows
from scanner.settings import Settings

MASK_TYPE = pl.List(pl.Struct({"segment": pl.Int32, "start": pl.Int32, "end": pl.Int32}))
PLAN_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "row_id": pl.Int64,
    "action": pl.String,
    "keep_row_id": pl.Int64,
    "rule_id": pl.String,
    "why": pl.String,
    "loss_mask": MASK_TYPE,
    "sample_weight": pl.Float32,
    "kept_because": pl.String,  # of a dropped row: why the row in keep_row_id stays rather than this one
}


def make_plan(findings: Findings, settings: Settings) -> pl.DataFrame:
    """plan.parquet: one action per row with reason and kept row."""
    rows = findings.rows
    frame = pl.DataFrame({"row_id": rows.row_id})
    held, holding = decontaminating.steps(findings.matches, settings)
    dropped, orphans = without_kept(dropped_rows(findings, settings), held)
    copied, gone = copied_rows(findings), dropped.drop("kept_because")
    reviewed = pl.concat([holding, reviewed_rows(findings, settings)])
    reviewed = reviewed.unique("row_id", keep="first", maintain_order=True)
    for step in (held, copied, gone, _redacted(findings, settings), orphans, reviewed):
        frame = frame.join(step, on="row_id", how="left", maintain_order="left", suffix="_next")
        if "action_next" in frame.columns:
            first = [
                pl.when(pl.col("action").is_null()).then(f"{c}_next").otherwise(c).alias(c)
                for c in ("action", "keep_row_id", "rule_id", "why")
            ]
            frame = frame.with_columns(first).select("row_id", "action", "keep_row_id", "rule_id", "why")
    look = reviewed.select("row_id", look=pl.format("; besides, {}", "why"))  # a row has one action, but may need both
    frame = frame.join(look, on="row_id", how="left", maintain_order="left").with_columns(
        why=pl.when(pl.col("action") == "redact").then(pl.col("why") + pl.col("look").fill_null("")).otherwise("why")
    )
    for step in (spared_rows(findings, settings), _staying(frame)):
        frame = frame.join(step, on="row_id", how="left", maintain_order="left")
    plan = frame.with_columns(
        pl.col("action").fill_null("keep"),
        pl.coalesce("why", "spared", "staying", pl.lit("nothing found that calls for a change")).alias("why"),
        sample_weight=pl.lit(1.0, pl.Float32),
    )
    plan = plan.join(_masks(findings, settings), on="row_id", how="left", maintain_order="left")
    plan = plan.with_columns(pl.col("loss_mask").fill_null(pl.lit([], MASK_TYPE)))
    because = dropped.filter(pl.col("keep_row_id").is_not_null()).select("row_id", "kept_because")
    plan = plan.join(because, on="row_id", how="left", maintain_order="left")
    plan = plan.select(pl.col(name).cast(kind) for name, kind in PLAN_SCHEMA.items())
    return plan


def _staying(frame: pl.DataFrame) -> pl.DataFrame:
    """(row_id, staying): what is said of rows for which others are dropped."""
    gone = frame.filter(pl.col("action") == "drop", pl.col("keep_row_id").is_not_null())
    counted = gone.group_by(row_id="keep_row_id").agg(rows=pl.len())
    rows = pl.when(pl.col("rows") == 1).then(pl.lit("1 row that is")).otherwise(pl.format("{} rows that are", "rows"))
    return counted.select("row_id", staying=pl.format("it stays for {} dropped", rows))


def _redacted(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Rows with private or secret spans, in what is trained on or in other fields."""
    private = findings.spans.filter(PRIVATE).select("row_id", "rule_id")
    beside = private.clear() if findings.unread is None else findings.unread.select("row_id", "rule_id")
    if not settings.redact:
        private = private.clear()
    if not settings.redact or not settings.redact_unread:
        beside = beside.clear()
    both = pl.concat([private.with_columns(read=True), beside.with_columns(read=False)])
    grouped = both.group_by("row_id").agg(
        rules=pl.col("rule_id").unique().sort(), spans=pl.len(), beside=(~pl.col("read")).sum()
    )
    inside = heat.private_inside(findings.spans).group_by("row_id").agg(pl.len().alias("inside"))
    grouped = grouped.join(inside, on="row_id", how="left")
    recited = pl.format(", {} of them inside spans predicted to be memorized", "inside").fill_null("")
    ending = pl.when(pl.col("spans") == 1).then(pl.lit("")).otherwise(pl.lit("s"))
    unread = (
        pl.when(pl.col("beside") == 0)
        .then(pl.lit(""))
        .when(pl.col("beside") == pl.col("spans"))
        .then(pl.lit(" in fields that no trainer reads"))
        .otherwise(pl.format(", {} of them in fields that no trainer reads", "beside"))
    )
    rules = pl.col("rules").list.join(", ")
    return grouped.select(
        "row_id",
        action=pl.lit("redact"),
        keep_row_id=pl.lit(None, pl.Int64),
        rule_id=pl.col("rules").list.first(),
        why=pl.format("{} private or secret span{} ({}){}{}", "spans", ending, rules, recited, unread),
    )


def _masks(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Loss masks: with redaction off, private and secret spans stay in the text but are not learned."""
    spans = findings.spans.filter(PRIVATE)
    if settings.redact:
        spans = spans.clear()
    return (
        spans.sort("row_id", "segment", "start")
        .group_by("row_id", maintain_order=True)
        .agg(
            pl.struct(
                pl.col("segment").cast(pl.Int32), pl.col("start").cast(pl.Int32), pl.col("end").cast(pl.Int32)
            ).alias("loss_mask")
        )
    )


def brake(plan: pl.DataFrame, row_source: np.ndarray, settings: Settings, sources: list[str]) -> list[str]:
    """Sentences on the sources of which the plan would drop more than the allowed share; empty when all is well.

    row_source: (n,) index of each plan row's source.
    """
    dropped = (plan["action"] == "drop").to_numpy()
    held = dropped & plan["rule_id"].str.starts_with("contamination/").fill_null(False).to_numpy()
    found = []
    earlier = (dropped & (plan["rule_id"] == "duplicates/earlier").fill_null(False).to_numpy()).astype(np.bool_)
    for index, name in enumerate(sources):
        mine = row_source == index
        total, gone, known = int(mine.sum()), int(dropped[mine].sum()), int(earlier[mine].sum())
        if total and gone / total > settings.max_removal_share:
            share = percent_above(gone / total, settings.max_removal_share)
            those = "it" if known == 1 else "them"
            already = f", {known:,} of them because earlier runs (--against) hold {those} already" if known else ""
            found.append(
                f"the plan would drop {gone:,} of {plural(total, 'row')} of {name} ({share}), more "
                f"than --max-removal-share {settings.max_removal_share:g} allows{already}"
                + (
                    f"; {plural(int(held[mine].sum()), 'of these holds', 'of these hold')} evaluation items"
                    if held[mine].any()
                    else ""
                )
            )
    return found


def check_brake(messages: list[str], run: str) -> None:
    """Raise if the brake of a plan is on."""
    if messages:
        raise BrakeError(
            f"{'; '.join(messages)}. Look at the clusters and matches in the report; if they are right, judge again "
            f"with `scan plan {shlex.quote(run)} --max-removal-share 1` and apply that plan"
        )
