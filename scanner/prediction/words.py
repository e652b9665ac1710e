"""Why a row stands where it stands, in words; and which kind of memorization it would be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.contextual import ContextSummary

RECITE_COPIES = 5
"""More exact copies than this: recite (2406.17746)."""
RECONSTRUCT_COPIED = 0.4
"""Share of the answer's tokens that end three tokens seen before in the row, from which on it counts as repeating."""
RECONSTRUCT_ENTROPY = 0.6
"""Entropy of the row's tokens over its maximum, below which it counts as templated (lists, counting, tables)."""
RECONSTRUCT_SEEN = 0.48
"""Share of the answer's tokens that stood earlier in the row, which a row of low entropy needs besides: the entropy is
the whole row's, and long tool schemas lower it whatever the answer is. On public data plain refusals under such schemas
have .33 to .47, lists, tables and filled forms .49 and more."""
MIN_TOKENS = 16  # shorter answers are too short to tell a template

Int64 = npt.NDArray[np.int64]


def taxon(copies: Int64, summary: ContextSummary) -> pl.Series:
    """(n,) recite (more than 5 exact copies), reconstruct (templated or repeating), recollect (all others)."""
    templated = (summary.tokens >= MIN_TOKENS) & (
        (summary.copied >= RECONSTRUCT_COPIED)
        | ((summary.entropy <= RECONSTRUCT_ENTROPY) & (summary.seen >= RECONSTRUCT_SEEN))
    )
    code = np.where(copies > RECITE_COPIES, 0, np.where(templated, 1, 2)).astype(np.uint32)
    names = pl.Series(["recite", "reconstruct", "recollect"])
    return names.gather(pl.Series(code)).alias("taxon")


def reasons(
    copies: Int64,
    near: npt.NDArray[np.float64],
    dose: npt.NDArray[np.float64],
    together: npt.NDArray[np.float64],
    summary: ContextSummary,
    longest: Int64,
    least: int,
    capped: npt.NDArray[np.float64] | None = None,
) -> pl.Series:
    """(n,) text; parts that say nothing about a row are left out of it.

    near: what near copies give, in exact copies; dose: with all copies; together: what is left of their sum where some
    meet in one step; longest: tokens of the row's longest supervised turn;
    least: tokens below which p_extract is not measured; capped: share of this answer among those to the same prompt.
    """
    frame = pl.DataFrame({
        "copies": copies, "dose": dose, "near": near,
        "met": 100 * (1 - together), "longest": longest,
        "alike": 2.0 ** np.nan_to_num(summary.opening) - 1,
        "known": np.nan_to_num(summary.known_4) * 100, "copied": np.nan_to_num(summary.copied) * 100,
        "cap": np.full(len(dose), np.nan) if capped is None else capped,
    })  # fmt: skip
    c = pl.col
    worth = c("near").fill_nan(0)  # 0.43 reads as "worth 0.4 of a copy"
    parts = [
        pl.when(c("longest") == 0).then(pl.lit("no supervised answer: not measured")),
        pl.when(c("longest").is_between(1, least - 1)).then(
            pl.lit(f"answer shorter than {least} tokens: not measured")
        ),
        pl.when(c("copies") > 1).then(pl.format("{} exact copies", c("copies"))),
        pl.when(worth.is_finite() & (worth >= 0.05)).then(pl.format("near copies worth {} of a copy", _short(worth))),
        pl.when(c("met") >= 20).then(
            pl.format("{} % less, for copies come in the same steps", _whole(c("met")))
        ),
        pl.when(c("longest") > 0).then(pl.format("dose {} visits", _short(c("dose")))),
        pl.when(c("alike") >= 1).then(
            pl.format("begins like the answers of about {} other {}", _whole(c("alike")), _plural(c("alike"), "row"))
        ),
        pl.when(c("known") >= 1).then(
            pl.format("{} % of its answer's 4-token contexts occur in other rows", _whole(c("known")))
        ),
        pl.when(c("copied") >= 20).then(
            pl.format("{} % of its answer repeats the row itself", _whole(c("copied")))
        ),
        pl.when(c("cap").is_not_nan()).then(
            pl.format("the same prompt has other answers; this one holds {} % of them", _whole(c("cap") * 100))
        ),
    ]  # fmt: skip
    return frame.select(pl.concat_str(parts, separator="; ", ignore_nulls=True).alias("reasons")).to_series()


def _plural(value: pl.Expr, word: str) -> pl.Expr:
    return pl.when(value.round(0) == 1).then(pl.lit(word)).otherwise(pl.lit(f"{word}s"))


def _whole(value: pl.Expr) -> pl.Expr:
    return value.round(0).cast(pl.Int64, strict=False)


def _short(value: pl.Expr) -> pl.Expr:
    """Two significant digits below 10, none after the point above."""
    return (
        pl.when(value >= 10).then(value.round(0).cast(pl.Int64, strict=False).cast(pl.String))
        .when(value >= 1).then(value.round(1).cast(pl.String))
        .otherwise(value.round_sig_figs(2).cast(pl.String))
    )  # fmt: skip
