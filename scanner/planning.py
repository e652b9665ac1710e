"""Findings to a plan: exactly one action per row, plus a loss mask and a sampling weight.

    drop    another row, kept, is verified to be the same or nearly the same
    redact  the row stays, its private or secret spans are replaced by typed placeholders
    review  a person should look: semantic duplicates, near copies whose answers differ, contradictory answers,
            rows at high risk
    keep    everything else

A row gets the first of these that applies. The brake keeps a plan that would remove too large a share of any source
from being applied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from scanner.errors import BrakeError
from scanner.objects import Clusters, Int64, Rows
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
}


@dataclass(frozen=True)
class Findings:
    """What the plan is made from; (n,) over rows."""

    rows: Rows
    clusters: Clusters
    pairs: pl.DataFrame  # pairs.parquet
    spans: pl.DataFrame  # spans.parquet
    prediction: pl.DataFrame  # prediction.parquet, in row order
    table: pl.DataFrame  # rows.parquet, in row order, for its features


def priority(rows: Rows, policy: str, quality: np.ndarray, answer_tokens: Int64) -> Int64:
    """(n,) rank of every row for being kept, 0 first: source order, then the policy, then content hash.

    policy: best (quality, see features.quality) · longest (answer tokens) · first (place in the input).
    """
    rank = np.empty(len(rows), np.int64)
    key = {"best": -quality, "longest": -answer_tokens, "first": rows.row_id}[policy]
    rank[np.lexsort((rows.content_rank, key, rows.source))] = np.arange(len(rows))
    return rank


def may_drop(settings: Settings) -> pl.Expr:
    """Of pairs.parquet: near pairs of which one row may be dropped for the other.

    The whole rows and their answers must be alike, system prompt, tools and rejected answers the same. A long prompt
    in common with different answers is a conflict, not a copy. Rows that follow a template must be alike in what they
    put into it, too: a wrapper in common is no likeness.
    """
    payload = pl.col("payload_similarity").fill_null(math.nan).fill_nan(1.0) >= settings.jaccard
    answers = pl.col("answer_similarity").fill_nan(1.0) >= settings.jaccard
    near = (
        (pl.col("signal") == "minhash")
        & (pl.col("similarity") >= settings.jaccard)
        & answers
        & pl.col("same_context")
        & payload
    )
    return near | (pl.col("signal") == "semantic") if settings.drop_semantic else near


def make_plan(findings: Findings, settings: Settings) -> pl.DataFrame:
    """plan.parquet: one action per row with reason and kept row."""
    rows = findings.rows
    frame = pl.DataFrame({"row_id": rows.row_id})
    for step in (_dropped(findings), _redacted(findings, settings), _reviewed(findings, settings)):
        frame = frame.join(step, on="row_id", how="left", maintain_order="left", suffix="_next")
        if "action_next" in frame.columns:
            first = [
                pl.when(pl.col("action").is_null()).then(f"{c}_next").otherwise(c).alias(c)
                for c in ("action", "keep_row_id", "rule_id", "why")
            ]
            frame = frame.with_columns(first).select("row_id", "action", "keep_row_id", "rule_id", "why")
    plan = frame.with_columns(
        pl.col("action").fill_null("keep"),
        pl.col("why").fill_null("nothing found that calls for a change"),
        sample_weight=pl.lit(1.0, pl.Float32),
    )
    plan = plan.join(_masks(findings, settings), on="row_id", how="left", maintain_order="left")
    plan = plan.with_columns(pl.col("loss_mask").fill_null(pl.lit([], MASK_TYPE)))
    plan = plan.select(pl.col(name).cast(kind) for name, kind in PLAN_SCHEMA.items())
    return plan


def _dropped(findings: Findings) -> pl.DataFrame:
    """Rows for which another row is kept, with what was verified between the two."""
    keep = findings.clusters.keep
    gone = np.flatnonzero(keep != np.arange(len(keep)))
    row_id = findings.rows.row_id
    dropped = pl.DataFrame({"row_id": row_id[gone], "keep_row_id": row_id[keep[gone]]}).with_columns(
        row_a=pl.min_horizontal("row_id", "keep_row_id"), row_b=pl.max_horizontal("row_id", "keep_row_id")
    )
    verified = findings.pairs.sort("row_a", "row_b", "signal").unique(  # exact before minhash before semantic
        ["row_a", "row_b"], keep="first", maintain_order=True
    )
    joined = dropped.join(verified, on=["row_a", "row_b"], how="left", maintain_order="left")
    same = pl.col("signal") == "exact"
    meaning = pl.col("signal") == "semantic"  # only with --drop-semantic
    why = (
        pl.when(same)
        .then(pl.format("the same training text as row {}, which is kept", "keep_row_id"))
        .when(meaning)
        .then(
            pl.format(
                "means nearly the same as row {}, which is kept (cosine {})",
                "keep_row_id",
                pl.col("similarity").round(2),
            )
        )
        .otherwise(
            pl.format(
                "a near copy of row {}, which is kept: {} % of their shingles are shared (Jaccard)",
                "keep_row_id",
                (pl.col("similarity") * 100).round(0).cast(pl.Int32),
            )
        )
    )
    return joined.select(
        "row_id",
        action=pl.lit("drop"),
        keep_row_id="keep_row_id",
        rule_id=pl.when(same)
        .then(pl.lit("duplicates/exact"))
        .when(meaning)
        .then(pl.lit("duplicates/semantic"))
        .otherwise(pl.lit("duplicates/near")),
        why=why,
    )


def _redacted(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Rows with private or secret spans."""
    private = findings.spans.filter(pl.col("kind").is_in(["private", "secret"]))
    if not settings.redact:
        private = private.clear()
    grouped = private.group_by("row_id").agg(pl.col("rule_id").unique().sort().alias("rules"), pl.len().alias("spans"))
    return grouped.select(
        "row_id",
        action=pl.lit("redact"),
        keep_row_id=pl.lit(None, pl.Int64),
        rule_id=pl.col("rules").list.first(),
        why=pl.format("{} private or secret spans ({})", "spans", pl.col("rules").list.join(", ")),
    )


def _reviewed(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Rows that a person should look at, with the first of the reasons that applies."""
    reasons = [
        findings.table.filter(pl.col("conflicts.answers") > 1).select(
            "row_id",
            keep_row_id=pl.lit(None, pl.Int64),
            rule_id=pl.lit("conflicts/answers"),
            why=pl.format(
                "its prompt has {} different answers in this data set; {} % of those rows give this one",
                "conflicts.answers",
                (pl.col("conflicts.share") * 100).round(0).cast(pl.Int32),
            ),
        ),
        _review_pairs(findings, settings),
        findings.prediction.filter(pl.col("band") == "high").select(
            "row_id",
            keep_row_id=pl.lit(None, pl.Int64),
            rule_id=pl.lit("risk/high"),
            why=pl.format("predicted to be memorized: {}", "reasons"),
        ),
    ]
    together = pl.concat(reasons).unique("row_id", keep="first", maintain_order=True)
    return together.select("row_id", pl.lit("review").alias("action"), "keep_row_id", "rule_id", "why")


def _review_pairs(findings: Findings, settings: Settings) -> pl.DataFrame:
    """One row of each pair that is alike but not droppable: near copies that differ in the answer, semantic.

    It is the row that comes later in content order, so that the same rows are reviewed wherever they stand.
    """
    row_id, keep = findings.rows.row_id, findings.clusters.keep
    rank = findings.rows.content_rank
    gone = pl.DataFrame({"gone": row_id[keep != np.arange(len(keep))]})
    close = (pl.col("similarity") >= settings.jaccard) | (pl.col("relation") == "contained")
    alike = (
        findings.pairs.filter((pl.col("signal") == "semantic") | ((pl.col("signal") == "minhash") & close))
        .join(gone, left_on="row_a", right_on="gone", how="anti")
        .join(gone, left_on="row_b", right_on="gone", how="anti")
    )
    a, b = (np.searchsorted(row_id, alike[side].to_numpy()) for side in ("row_a", "row_b"))
    later, earlier = np.where(rank[a] > rank[b], a, b), np.where(rank[a] > rank[b], b, a)
    alike = (
        alike.with_columns(
            row=pl.Series(row_id[later], dtype=pl.Int64),
            other=pl.Series(row_id[earlier], dtype=pl.Int64),
            place=pl.Series(rank[earlier], dtype=pl.Int64),
        )
        .sort("row", "signal", "place")
        .with_columns(pl.col("similarity").round(2))
    )
    words = (
        pl.when(pl.col("signal") == "semantic")
        .then(pl.format("means nearly the same as row {} (cosine {})", "other", "similarity"))
        .when(pl.col("relation") == "contained")
        .then(pl.format("its text contains, or is contained in, row {}", "other"))
        .otherwise(pl.format("reads like row {} but differs in prompt or answer (Jaccard {})", "other", "similarity"))
    )
    return alike.select(
        row_id="row",
        keep_row_id=pl.lit(None, pl.Int64),
        rule_id=pl.when(pl.col("signal") == "semantic")
        .then(pl.lit("duplicates/semantic"))
        .otherwise(pl.lit("duplicates/alike")),
        why=words,
    )


def _masks(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Loss masks: with redaction off, private and secret spans stay in the text but are not learned."""
    spans = findings.spans.filter(pl.col("kind").is_in(["private", "secret"]))
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
    found = []
    for index, name in enumerate(sources):
        mine = row_source == index
        total, gone = int(mine.sum()), int(dropped[mine].sum())
        if total and gone / total > settings.max_removal_share:
            found.append(
                f"{name}: the plan would drop {gone:,} of {total:,} rows ({gone / total:.0%}), more than "
                f"--max-removal-share {settings.max_removal_share:g} allows"
            )
    return found


def check_brake(messages: list[str], run: str) -> None:
    """Raise if the brake of a plan is on."""
    if messages:
        raise BrakeError(
            f"{'; '.join(messages)}. Look at the clusters in the report; if they are right, judge again with "
            f"`scan plan {run} --max-removal-share 1` and apply that plan"
        )
