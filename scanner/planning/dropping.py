"""Which rows go: what may be dropped for what, what earlier runs hold already, and what --keep spares."""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner import keeping
from scanner.contrast import DECISIVE, alike_beyond_templates
from scanner.pairing import COPIES
from scanner.planning._findings import Findings
from scanner.settings import Settings


def may_drop(settings: Settings) -> pl.Expr:
    """Of pairs.parquet: near pairs of which one row may be dropped for the other.

    The whole rows and their answers must be alike, system prompt, tools and rejected answers the same. A long prompt
    in common with different answers is a conflict, not a copy. Rows that follow a template must be alike in what they
    put into it, too: a wrapper in common is no likeness. What punctuation alone keeps apart is alike, too.
    """
    words = pl.col("words_similarity").fill_nan(None).fill_null(0) >= settings.jaccard
    near = (pl.col("signal") == "minhash") & pl.col("same_context") & (_alike_in_tokens(settings) | words)
    return near | _may_drop_semantic() if settings.drop_semantic else near


def _alike_in_tokens(settings: Settings) -> pl.Expr:
    """Whole rows, answers and payloads, punctuation included."""
    payload = alike_beyond_templates(settings.jaccard)
    answers = pl.col("answer_similarity").fill_nan(1.0) >= settings.jaccard
    return (
        (pl.col("similarity") >= settings.jaccard)
        & answers
        & payload
    )  # fmt: skip


def _percent(share: str) -> pl.Expr:
    return (pl.col(share) * 100).round(0).cast(pl.Int32)


def _may_drop_semantic() -> pl.Expr:
    """Pairs by meaning whose numbers agree and of which neither is the other's negation."""
    checked = pl.col("differs").is_not_null()  # what was not checked is a copy, which its words decide
    apart = pl.any_horizontal(pl.col("differs").str.contains(kind, literal=True) for kind in DECISIVE)
    return (pl.col("signal") == "semantic") & checked & ~apart


def without_kept(dropped: pl.DataFrame, held: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
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


def copied_rows(findings: Findings) -> pl.DataFrame:
    """Rows that an earlier run holds as they are."""
    copied = _or_none(findings.copied, {"row_id": pl.Int64, "source": pl.String, "item": pl.String})
    return copied.select(
        "row_id",
        action=pl.lit("drop"),
        keep_row_id=pl.lit(None, pl.Int64),
        rule_id=pl.lit("duplicates/earlier"),
        why=pl.format("a copy of row {} of the earlier run {}, up to case and spacing", "item", "source"),
    )


def leaving(findings: Findings, settings: Settings) -> np.ndarray:
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


def spared_rows(findings: Findings, settings: Settings) -> pl.DataFrame:
    """(row_id, spared): what is said of rows that --keep leaves beside the kept row of their cluster."""
    places = np.flatnonzero(_is_spared(findings, settings))
    row_id = findings.rows.row_id
    kept = pl.DataFrame({"row_id": row_id[places], "kept": row_id[findings.clusters.keep[places]]})
    words = pl.format("a copy of row {} that stays too: --keep {} leaves so many of a cluster", "kept", settings.keep)
    return kept.select("row_id", spared=words)


def _or_none(frame: pl.DataFrame | None, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.DataFrame(schema=schema) if frame is None else frame


def dropped_rows(findings: Findings, settings: Settings) -> pl.DataFrame:
    """Rows for which another row is kept, with what was verified between the two.

    Where the row at the centre of a cluster is dropped for an earlier run's, the others are dropped with it: they were
    verified against a row that stands there word for word.
    """
    keep = findings.clusters.keep
    gone = leaving(findings, settings)
    row_id = findings.rows.row_id
    dropped = pl.DataFrame({"row_id": row_id[gone], "keep_row_id": row_id[keep[gone]]}).with_columns(
        pl.lit(None, pl.String).alias("kept_because")
        if findings.preferred is None
        else keeping.because(findings.preferred, keep[gone], gone).alias("kept_because"),
        row_a=pl.min_horizontal("row_id", "keep_row_id"),
        row_b=pl.max_horizontal("row_id", "keep_row_id"),
    )
    # neither a passage nor a side in common drops a row, nor words alike in part where the meaning is what drops it
    alike = COPIES | may_drop(settings)
    pairs = findings.pairs.filter(alike).sort("row_a", "row_b", "signal")  # exact before minhash before semantic
    verified = pairs.unique(["row_a", "row_b"], keep="first", maintain_order=True)
    joined = dropped.join(verified, on=["row_a", "row_b"], how="left", maintain_order="left")
    same = pl.col("signal") == "exact"
    meaning = pl.col("signal") == "semantic"  # only with --drop-semantic
    by_words = ~_alike_in_tokens(settings)  # and so alike in their words, or it would not be dropped
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
        .when(by_words)
        .then(
            pl.format(
                "a near copy of row {}, which is kept: without punctuation and templates {} % of their shingles are "
                "shared (Jaccard)",
                "keep_row_id",
                _percent("words_similarity"),
            )
        )
        .otherwise(
            pl.format(
                "a near copy of row {}, which is kept: {} % of their shingles are shared (Jaccard)",
                "keep_row_id",
                _percent("similarity"),
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
