"""pairs.parquet as the stages write and read it: its columns, the places of its rows, and the groups its pairs make."""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import Groups, Int64, Pairs, UInt64

PAIRS_SCHEMA = {
    "row_a": pl.Int64,
    "row_b": pl.Int64,
    "signal": pl.String,
    "relation": pl.String,
    "similarity": pl.Float32,
    "containment_ab": pl.Float32,
    "containment_ba": pl.Float32,
}
SEMANTIC_SCHEMA = PAIRS_SCHEMA | {"proposal_cosine": pl.Float32, "differs": pl.String}
NO_PAIRS = pl.DataFrame(schema=SEMANTIC_SCHEMA)
COPIES = (pl.col("signal") == "exact") & (pl.col("relation") == "same_both")
"""Pairs of rows that are the same on both sides; exact pairs with another relation share one side."""


def alike_by_words(jaccard: float) -> pl.Expr:
    """Whether a near pair is as alike as --jaccard asks, or one of its rows stands inside the other."""
    return (pl.col("similarity") >= jaccard) | (pl.col("relation").cast(pl.String) == "contained")


CONTAINED = 0.95
"""Share of the smaller row's (or answer's) shingles found in the other from which it stands inside it."""


def packed(a: np.ndarray, b: np.ndarray) -> UInt64:
    """Pairs of places below 2 ** 32 as words a << 32 | b: they sort and compare as pairs do."""
    return a.astype(np.uint64, copy=False) << np.uint64(32) | b.astype(np.uint64, copy=False)


def unpacked(words: UInt64) -> tuple[Int64, Int64]:
    """The inverse of `packed`."""
    return (words >> np.uint64(32)).astype(np.int64), (words & np.uint64(0xFFFFFFFF)).astype(np.int64)


def table_of(pairs: Pairs) -> pl.DataFrame:
    """Pairs of one signal as lines of pairs.parquet."""
    return pl.DataFrame(
        {
            "row_a": pairs.row_a,
            "row_b": pairs.row_b,
            "signal": pl.Series([pairs.signal], dtype=pl.String).new_from_index(0, len(pairs)),
            "relation": pl.Series(pairs.relation.tolist(), dtype=pl.String),
            "similarity": pairs.similarity,
            "containment_ab": pairs.containment_ab,
            "containment_ba": pairs.containment_ba,
        },
        schema_overrides={"row_a": pl.Int64, "row_b": pl.Int64},
    )


def places(row_id: Int64, wanted: pl.Series) -> Int64:
    """Positions of row ids among all rows (ascending)."""
    return np.searchsorted(row_id, wanted.to_numpy()).astype(np.int64)


def ends(row_id: Int64, pairs: pl.DataFrame) -> tuple[Int64, Int64]:
    """(p,), (p,) positions of both rows of each pair among all rows (ascending)."""
    return places(row_id, pairs["row_a"]), places(row_id, pairs["row_b"])


def groups_of(row_id: Int64, pairs: pl.DataFrame) -> Groups:
    """Rows that these pairs connect, also by way of others."""
    return connected(len(row_id), *ends(row_id, pairs))


def connected(rows: int, a: Int64, b: Int64) -> Groups:
    """Rows (positions) that edges a-b connect, also by way of others."""
    from scanner.kernels.similarity import connect

    root = np.empty(rows, np.int64)
    connect(a, b, root)
    return Groups(root, np.bincount(root, minlength=rows)[root])


def by_meaning_alone(pairs: pl.DataFrame) -> pl.DataFrame:
    """Semantic pairs of rows that no other pair brings together; rows of equal text stand for one another in this."""
    text = pairs.with_columns(pl.col("signal", "relation").cast(pl.String))
    meaning = pl.col("signal") == "semantic"
    row_id = np.unique(pl.concat([text["row_a"], text["row_b"]]).to_numpy())
    texts = pl.Series(groups_of(row_id, text.filter(~meaning & (pl.col("relation") == "same_both"))).group)
    label = [texts.gather(places) for places in ends(row_id, text)]
    ordered = pl.DataFrame(label, schema=["a", "b"]).select(
        low=pl.min_horizontal("a", "b"), high=pl.max_horizontal("a", "b")
    )
    text = text.hstack(ordered)
    known = text.filter(~meaning).select("low", "high").unique()
    alone = text.filter(meaning & (pl.col("low") != pl.col("high"))).join(known, on=["low", "high"], how="anti")
    return alone.drop("low", "high")


def jaccard_of_learned(near: pl.DataFrame) -> np.ndarray:
    """(p,) of near pairs as in pairs.parquet: what is learned is the answer, a long prompt in common makes no copy."""
    least = pl.min_horizontal("similarity", pl.col("answer_similarity").fill_nan(None))
    return near.select(least).to_series().to_numpy()
