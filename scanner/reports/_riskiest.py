"""The riskiest rows: one for all that say nearly the same, so that a screen of five rows shows five things."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl

from scanner import recalls
from scanner.evidence import Evidence
from scanner.reports import _words as words
from scanner.store import RunFolder

UNBANDED_ROWS = 10
"""Of the riskiest rows those that are shown where fewer lie in the bands low to high: the others say nothing."""
COMPARED_ROWS = 1000
"""Of the riskiest rows, those that are looked through for others like them."""
LIKE = ("same_both", "near", "same_response")
"""Relations of rows that would recite the same; the answers of a prompt with several are different findings."""


@dataclass(frozen=True)
class RiskRow:
    """One of the riskiest rows; where it has duplicates it stands for all of its cluster."""

    row_id: int
    place: str
    stands_for: int  # rows of its cluster, itself included
    p_extract: float  # NaN where not measured
    p_whole: float
    expected_tokens: float
    tokens_q95: float
    exposures: float  # dose, in reference visits
    risk: float
    band: str
    taxon: str
    reasons: str
    action: str
    why: str
    prompt: str
    answer: str
    alike: int = 0  # less risky rows much like it, or the same once masked; this one is shown for them
    counted_all: bool = True  # whether `alike` counts all of them: else at least so many
    confirmed: str = ""  # what tuned models recite of it, where that was measured

    @property
    def and_more(self) -> str:
        """Of the rows that this one is shown for, "and 49 more like it"; empty where there is none."""
        least = "" if self.counted_all else "at least "
        return f"and {least}{words.number(self.alike)} more like it" if self.alike else ""


def riskiest(
    run: RunFolder, rows: pl.DataFrame, prediction: pl.DataFrame, plan: pl.DataFrame, evidence: Evidence, top: int
) -> tuple[RiskRow, ...]:
    """The riskiest rows, one for all like it, ordered by risk, then by expected tokens."""
    number = pl.col("risk", "p_extract", "p_whole", "expected_tokens", "tokens_q95", "exposures")
    joined = prediction.with_columns(number.cast(pl.Float64).fill_null(math.nan)).join(rows, on="row_id")
    ranked = joined.filter(pl.col("risk").is_not_nan()).sort(
        ["risk", "expected_tokens", "row_id"], descending=[True, True, False]
    )
    # rows of one cluster are one finding, not sixteen
    alone = pl.col("cluster_size") <= 1
    own = pl.when(alone).then(-1 - pl.col("row_id")).otherwise(pl.col("cluster_id"))
    ranked = ranked.with_columns(own.alias("own")).unique("own", keep="first", maintain_order=True)
    risky = int((ranked["band"].cast(pl.String) != "none").sum())
    alike = _alike(run, ranked, evidence, min(top, max(UNBANDED_ROWS, risky)))
    chosen = ranked.filter(pl.col("row_id").is_in(list(alike)))
    chosen = chosen.join(plan.select("row_id", "action", "why"), on="row_id", how="left", maintain_order="left")
    evidence.load(chosen["row_id"].to_list())
    measured = recalls.of_rows(run, list(alike))
    return tuple(
        RiskRow(
            row_id=row["row_id"],
            place=words.place(row["source"], row["line"]),
            stands_for=max(1, row["cluster_size"]),
            p_extract=row["p_extract"],
            p_whole=row["p_whole"],
            expected_tokens=row["expected_tokens"],
            tokens_q95=row["tokens_q95"],
            exposures=row["exposures"],
            risk=row["risk"],
            band=str(row["band"]),
            taxon=str(row["taxon"]),
            reasons=in_words(row["reasons"]),
            action=str(row["action"] or "keep"),
            why=row["why"] or "",
            prompt=evidence.prompt(row["row_id"]),
            answer=evidence.answer(row["row_id"]),
            alike=alike[row["row_id"]],
            counted_all=len(ranked) <= COMPARED_ROWS,
            confirmed="; ".join(filter(None, (one.short() for one in measured.get(row["row_id"], ())))),
        )
        for row in chosen.iter_rows(named=True)
    )


def _alike(run: RunFolder, ranked: pl.DataFrame, evidence: Evidence, top: int) -> dict[int, int]:
    """The first `top` rows that are not like one before them, each with the number of further rows that are like it.

    Like it are those that do not differ once masked, and those of verified pairs in LIKE, as of one template.
    """
    first = ranked.head(COMPARED_ROWS)
    private = set(first["row_id"].to_list()) & evidence.masked_rows()
    evidence.load(private)
    linked = _linked(run, first["row_id"])
    shown: dict[object, int] = {}
    alike: dict[int, int] = {}
    for row_id, size in first.select("row_id", "cluster_size").iter_rows():
        key = tuple(part.shown() for part in evidence.segments(row_id)) if row_id in private else row_id
        before = shown.get(key, next((other for other in alike if other in linked.get(row_id, ())), None))
        if before is None:
            alike[row_id] = 0
        else:
            alike[before] += max(1, size)
        shown.setdefault(key, row_id if before is None else before)
    return dict(list(alike.items())[:top])


def _linked(run: RunFolder, row_ids: pl.Series) -> dict[int, set[int]]:
    """Of each row those like it, among these rows."""
    among = pl.col("row_a").is_in(row_ids.implode()) & pl.col("row_b").is_in(row_ids.implode())
    alike = pl.col("relation").cast(pl.String).is_in(LIKE) & (pl.col("signal").cast(pl.String) != "semantic")
    linked: dict[int, set[int]] = {}
    for a, b in run.read_table("pairs", ["row_a", "row_b"], among & alike).iter_rows():
        linked.setdefault(a, set()).add(b)
        linked.setdefault(b, set()).add(a)
    return linked


def in_words(reasons: Any) -> str:
    """Reasons as one text; the column may hold text or a list of texts."""
    if reasons is None:
        return ""
    return reasons if isinstance(reasons, str) else "; ".join(str(reason) for reason in reasons)
