"""Findings to a plan: exactly one action per row, plus a loss mask and a sampling weight.

    drop    another row, kept, is verified to be the same or nearly the same; an earlier run holds the row already; or
            it holds question and answer of an evaluation item
    redact  the row stays, its private or secret spans are replaced by typed placeholders
    review  a person should look: semantic duplicates, near copies whose answers differ, contradictory answers,
            answers that stand mostly in another row, prompts and near copies in earlier runs, rows at high risk
    keep    everything else

A row gets the first of these that applies. The brake keeps a plan that would remove too large a share of any source
from being applied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from scanner import decontaminating, keeping
from scanner.errors import BrakeError
from scanner.objects import Clusters, Rows
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


MOSTLY = 0.5
"""Share of an answer's tokens in passages of one other row from which on a person should look at it."""


@dataclass(frozen=True)
class Findings:
    """What the plan is made from; (n,) over rows."""

    rows: Rows
    clusters: Clusters
    pairs: pl.DataFrame  # pairs.parquet
    spans: pl.DataFrame  # spans.parquet
    prediction: pl.DataFrame  # prediction.parquet, in row order
    table: pl.DataFrame  # rows.parquet, in row order, for its features
    preferred: keeping.Preference | None = None  # the order in which rows stay
    copied: pl.DataFrame | None = None  # (row_id, source, item): rows that an earlier run holds as they are
    matches: pl.DataFrame | None = None  # matches.parquet, with earlier runs and with evaluation items


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
    return near | _may_drop_semantic() if settings.drop_semantic else near


def _may_drop_semantic() -> pl.Expr:
    """Pairs by meaning whose numbers agree and of which neither is the other's negation."""
    checked = pl.col("differs").is_not_null()  # what was not checked is a copy, which its words decide
    apart = pl.col("differs").str.contains("numbers") | pl.col("differs").str.contains("negation")
    return (pl.col("signal") == "semantic") & checked & ~apart


def make_plan(findings: Findings, settings: Settings) -> pl.DataFrame:
    """plan.parquet: one action per row with reason and kept row."""
    rows = findings.rows
    frame = pl.DataFrame({"row_id": rows.row_id})
    held, holding = decontaminating.steps(findings.matches, settings)
    dropped, orphans = _without_kept(_dropped(findings, settings), held)
    copied, gone = _copied(findings), dropped.drop("kept_because")
    reviewed = pl.concat([holding, _reviewed(findings, settings)]).unique("row_id", keep="first", maintain_order=True)
    for step in (held, copied, gone, _redacted(findings, settings), orphans, reviewed):
        frame = frame.join(step, on="row_id", how="left", maintain_order="left", suffix="_next")
        if "action_next" in frame.columns:
            first = [
                pl.when(pl.col("action").is_null()).then(f"{c}_next").otherwise(c).alias(c)
                for c in ("action", "keep_row_id", "rule_id", "why")
            ]
            frame = frame.with_columns(first).select("row_id", "action", "keep_row_id", "rule_id", "why")
    plan = frame.join(_spared(findings, settings), on="row_id", how="left", maintain_order="left").with_columns(
        pl.col("action").fill_null("keep"),
        pl.coalesce("why", "spared", pl.lit("nothing found that calls for a change")).alias("why"),
        sample_weight=pl.lit(1.0, pl.Float32),
    )
    plan = plan.join(_masks(findings, settings), on="row_id", how="left", maintain_order="left")
    plan = plan.with_columns(pl.col("loss_mask").fill_null(pl.lit([], MASK_TYPE)))
    because = dropped.filter(pl.col("keep_row_id").is_not_null()).select("row_id", "kept_because")
    plan = plan.join(because, on="row_id", how="left", maintain_order="left")
    plan = plan.select(pl.col(name).cast(kind) for name, kind in PLAN_SCHEMA.items())
    return plan


def _without_kept(dropped: pl.DataFrame, held: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Duplicates whose kept row stays, and those to review: their kept row is dropped for an evaluation item."""
    gone = held.select(keep_row_id="row_id")
    stays = dropped.join(gone, on="keep_row_id", how="anti", maintain_order="left")
    orphans = (
        dropped.join(gone, on="keep_row_id", how="semi", maintain_order="left")
        .with_columns(
            action=pl.lit("review"),
            keep_row_id=pl.lit(None, pl.Int64),
            rule_id=pl.lit("contamination/copy"),
            why=pl.format("a near copy of row {}, which is dropped for an evaluation item", "keep_row_id"),
        )
        .drop("kept_because")
    )
    return stays, orphans


def _copied(findings: Findings) -> pl.DataFrame:
    """Rows that an earlier run holds as they are."""
    copied = _or_none(findings.copied, {"row_id": pl.Int64, "source": pl.String, "item": pl.String})
    return copied.select(
        "row_id",
        action=pl.lit("drop"),
        keep_row_id=pl.lit(None, pl.Int64),
        rule_id=pl.lit("duplicates/earlier"),
        why=pl.format("a copy of row {} of the earlier run {}, up to case and spacing", "item", "source"),
    )


def _leaving(findings: Findings, settings: Settings) -> np.ndarray:
    """Positions of the rows that their cluster does without: all but the kept row, and what --keep spares."""
    keep = findings.clusters.keep
    gone = keep != np.arange(len(keep))
    return np.flatnonzero(gone & ~_is_spared(findings, settings))


def _is_spared(findings: Findings, settings: Settings) -> np.ndarray:
    """(n,) rows that stay beside the kept row of their cluster; copies of an earlier run's rows never do."""
    n = len(findings.rows)
    if findings.preferred is None or settings.keep == 1:
        return np.zeros(n, np.bool_)
    copied = [] if findings.copied is None else findings.copied["row_id"].to_list()
    may_stay = ~np.isin(findings.rows.row_id, copied)
    return keeping.spared(findings.clusters, findings.preferred.rank, settings.keep, may_stay)


def _spared(findings: Findings, settings: Settings) -> pl.DataFrame:
    """(row_id, spared): what is said of rows that --keep leaves beside the kept row of their cluster."""
    places = np.flatnonzero(_is_spared(findings, settings))
    row_id = findings.rows.row_id
    kept = pl.DataFrame({"row_id": row_id[places], "kept": row_id[findings.clusters.keep[places]]})
    words = pl.format("a copy of row {} that stays too: --keep {} leaves so many of a cluster", "kept", settings.keep)
    return kept.select("row_id", spared=words)


def _or_none(frame: pl.DataFrame | None, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.DataFrame(schema=schema) if frame is None else frame


def _dropped(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Rows for which another row is kept, with what was verified between the two.

    Where the row at the centre of a cluster is dropped for an earlier run's, the others are dropped with it: they were
    verified against a row that stands there word for word.
    """
    keep = findings.clusters.keep
    gone = _leaving(findings, settings)
    row_id = findings.rows.row_id
    dropped = pl.DataFrame({"row_id": row_id[gone], "keep_row_id": row_id[keep[gone]]}).with_columns(
        pl.lit(None, pl.String).alias("kept_because")
        if findings.preferred is None
        else keeping.because(findings.preferred, keep[gone], gone).alias("kept_because"),
        row_a=pl.min_horizontal("row_id", "keep_row_id"),
        row_b=pl.max_horizontal("row_id", "keep_row_id"),
    )
    # a passage or one side in common drops nothing
    alike = (pl.col("signal") == "exact").and_(pl.col("relation") == "same_both") | pl.col("signal").is_in(
        ["minhash", "semantic"]
    )
    pairs = findings.pairs.filter(alike).sort("row_a", "row_b", "signal")  # exact before minhash before semantic
    verified = pairs.unique(["row_a", "row_b"], keep="first", maintain_order=True)
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
    steps = joined.select(
        "row_id",
        action=pl.lit("drop"),
        keep_row_id="keep_row_id",
        rule_id=pl.when(same)
        .then(pl.lit("duplicates/exact"))
        .when(meaning)
        .then(pl.lit("duplicates/semantic"))
        .otherwise(pl.lit("duplicates/near")),
        why=why,
        kept_because="kept_because",
    )
    if findings.copied is None or not len(findings.copied):
        return steps
    there = findings.copied.select(pl.col("row_id").alias("keep_row_id"), "source", "item")
    steps = steps.join(there, on="keep_row_id", how="left", maintain_order="left")
    through = pl.col("source").is_not_null()
    told = pl.format(
        "{}, a copy of row {} of the earlier run {}", pl.col("why").str.replace(", which is kept", "", literal=True),
        "item", "source",
    )  # fmt: skip
    return steps.with_columns(
        pl.when(~through).then("keep_row_id").alias("keep_row_id"),
        pl.when(through).then(pl.lit("duplicates/earlier")).otherwise("rule_id").alias("rule_id"),
        pl.when(through).then(told).otherwise("why").alias("why"),
    ).drop("source", "item")


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
        _review_earlier(findings, settings),
        _review_pairs(findings, settings),
        _review_passages(findings),
        findings.prediction.filter(pl.col("band") == "high").select(
            "row_id",
            keep_row_id=pl.lit(None, pl.Int64),
            rule_id=pl.lit("risk/high"),
            why=pl.format("predicted to be memorized: {}", "reasons"),
        ),
    ]
    together = pl.concat(reasons).unique("row_id", keep="first", maintain_order=True)
    return together.select("row_id", pl.lit("review").alias("action"), "keep_row_id", "rule_id", "why")


def _review_earlier(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Rows of which an earlier run holds the prompt, or probably a near copy: never verified, so never dropped."""
    if findings.matches is None or "same_context" not in findings.matches.columns:
        schema = {"row_id": pl.Int64, "keep_row_id": pl.Int64, "rule_id": pl.String, "why": pl.String}
        return pl.DataFrame(schema=schema)
    known = findings.matches.filter(pl.col("kind") == "earlier")
    exact = pl.col("how") == "exact"
    cases = [
        (exact & (pl.col("part") == "both") & ~pl.col("same_context"), "duplicates/earlier",
         "prompt and answer of row {} of the earlier run {}, but another system prompt, tools or rejected answer"),
        (exact & (pl.col("part") == "question") & ~pl.col("first_turn"), "duplicates/earlier-prompt",
         "its prompt stands in row {} of the earlier run {} too, with another answer"),
        (~exact & (pl.col("similarity") >= settings.jaccard), "duplicates/earlier-near",
         "reads like row {} of the earlier run {}: Jaccard about {}, estimated from signatures"),
    ]  # fmt: skip
    told = []
    for place, (here, rule, words) in enumerate(cases):
        arguments = [pl.col("item"), pl.col("source"), pl.col("similarity").round(2)][: words.count("{}")]
        told.append(
            known.filter(here).select(
                "row_id", rule_id=pl.lit(rule), why=pl.format(words, *arguments), place=pl.lit(place, pl.Int8)
            )
        )
    return pl.concat(told).sort("place", maintain_order=True).select(
        "row_id", pl.lit(None, pl.Int64).alias("keep_row_id"), "rule_id", "why"
    )  # fmt: skip


def _review_pairs(findings: Findings, settings: Settings) -> pl.DataFrame:
    """One row of each pair that is alike but not droppable: near copies that differ in the answer, semantic.

    It is the row that comes later in content order, so that the same rows are reviewed wherever they stand.
    """
    row_id = findings.rows.row_id
    rank = findings.rows.content_rank
    copied = np.zeros(0, np.int64) if findings.copied is None else findings.copied["row_id"].to_numpy()
    gone = pl.DataFrame({"gone": np.union1d(row_id[_leaving(findings, settings)], copied)})
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
        .then(
            pl.format(
                "means nearly the same as row {} (cosine {}){}",
                "other",
                "similarity",
                pl.when(pl.col("differs").fill_null("") == "")
                .then(pl.lit(""))
                .otherwise(pl.format(", but they differ in {}", "differs")),
            )
        )
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


def _review_passages(findings: Findings) -> pl.DataFrame:
    """Rows of which at least MOSTLY of the answer stands word for word in another row that stays.

    Of two such rows it is the one with the larger share, of equal ones the later in content order. Nothing is dropped
    for it: the rest of the row may be what it is there for.
    """
    row_id, keep, rank = findings.rows.row_id, findings.clusters.keep, findings.rows.content_rank
    gone = pl.DataFrame({"gone": row_id[keep != np.arange(len(keep))]})
    shared = findings.pairs.filter(pl.col("signal") == "span")
    if "answer_containment_ab" not in shared.columns or not len(shared):
        shared = findings.pairs.clear().with_columns(
            answer_containment_ab=pl.lit(None, pl.Float32), answer_containment_ba=pl.lit(None, pl.Float32)
        )
    shared = shared.join(gone, left_on="row_a", right_on="gone", how="anti")
    shared = shared.join(gone, left_on="row_b", right_on="gone", how="anti")
    a, b = (np.searchsorted(row_id, shared[side].to_numpy()) for side in ("row_a", "row_b"))
    in_b, in_a = (shared[f"answer_containment_{side}"].fill_null(0).fill_nan(0).to_numpy() for side in ("ab", "ba"))
    first = (in_b > in_a) | ((in_b == in_a) & (rank[a] > rank[b]))  # the row to look at is a
    row, other, part = np.where(first, a, b), np.where(first, b, a), np.maximum(in_b, in_a)
    table = pl.DataFrame({"row_id": row_id[row], "other": row_id[other], "part": part, "rank": rank[other]})
    table = table.filter(pl.col("part") >= MOSTLY).sort(["row_id", "part", "rank"], descending=[False, True, False])
    return table.select(
        "row_id",
        keep_row_id=pl.lit(None, pl.Int64),
        rule_id=pl.lit("repeated/leakage"),
        why=pl.format(
            "{} % of its answer stands word for word in row {}",
            (pl.col("part") * 100).round(0).cast(pl.Int32),
            "other",
        ),
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
    held = dropped & plan["rule_id"].str.starts_with("contamination/").fill_null(False).to_numpy()
    found = []
    earlier = (dropped & (plan["rule_id"] == "duplicates/earlier").fill_null(False).to_numpy()).astype(np.bool_)
    for index, name in enumerate(sources):
        mine = row_source == index
        total, gone, known = int(mine.sum()), int(dropped[mine].sum()), int(earlier[mine].sum())
        if total and gone / total > settings.max_removal_share:
            already = f", {known:,} of them because earlier runs (--against) hold them already" if known else ""
            found.append(
                f"the plan would drop {gone:,} of the {total:,} rows of {name} ({gone / total:.0%}), more than "
                f"--max-removal-share {settings.max_removal_share:g} allows{already}"
                + (f"; {held[mine].sum():,} of these hold evaluation items" if held[mine].any() else "")
            )
    return found


def check_brake(messages: list[str], run: str) -> None:
    """Raise if the brake of a plan is on."""
    if messages:
        raise BrakeError(
            f"{'; '.join(messages)}. Look at the clusters and matches in the report; if they are right, judge again "
            f"with `scan plan {run} --max-removal-share 1` and apply that plan"
        )
