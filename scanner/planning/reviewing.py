"""Which rows a person should look at, and why: one reason for each, the first that applies."""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.contrast import alike_beyond_templates
from scanner.pairing import alike_by_words
from scanner.planning._findings import Findings
from scanner.planning.dropping import leaving
from scanner.settings import Settings

MOSTLY = 0.5
"""Share of an answer's tokens in passages of one other row from which on a person should look at it."""


def reviewed_rows(findings: Findings, settings: Settings) -> pl.DataFrame:
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
    gone = pl.DataFrame({"gone": np.union1d(row_id[leaving(findings, settings)], copied)})
    # a wrapper in common is nothing to look at
    close = alike_by_words(settings.jaccard) & alike_beyond_templates(settings.jaccard)
    alike = (
        findings.pairs.filter((pl.col("signal") == "semantic") | ((pl.col("signal") == "minhash") & close))
        .join(gone, left_on="row_a", right_on="gone", how="anti")
        .join(gone, left_on="row_b", right_on="gone", how="anti")
    )
    a, b = (np.searchsorted(row_id, alike[side].to_numpy()) for side in ("row_a", "row_b"))
    apart = findings.clusters.keep[a] != findings.clusters.keep[b]  # copies that --keep leaves stay by choice
    alike, a, b = alike.filter(pl.Series(apart)), a[apart], b[apart]
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
    first = pl.col("row") == pl.col("row_a")
    ab, ba = pl.col("containment_ab"), pl.col("containment_ba")
    inside, around = pl.when(first).then(ab).otherwise(ba), pl.when(first).then(ba).otherwise(ab)
    in_what = (
        pl.when(pl.col("same_context").fill_null(True))
        .then(pl.lit("prompt or answer"))
        .otherwise(pl.lit("system prompt, tools or rejected answer"))
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
        .then(
            pl.when(inside >= around)
            .then(pl.format("its text stands inside row {}", "other"))
            .otherwise(pl.format("the text of row {} stands inside it", "other"))
        )
        .otherwise(pl.format("reads like row {} but differs in {} (Jaccard {})", "other", in_what, "similarity"))
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
