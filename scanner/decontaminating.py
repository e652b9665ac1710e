"""What the plan does with rows that hold evaluation items, and how the matches sum up per benchmark.

    both      rows that hold question and answer of an item, verified on the words, are dropped; the rest is reviewed
    question  rows that hold a question, verified on the words, are dropped too
    review    nothing is dropped
    off       the plan takes no notice; the matches stand in the report all the same

A match by meaning alone is never more than a matter for review.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from scanner.settings import Settings
from scanner.store import RunFolder

KIND = "evaluation"
"""matches.parquet's kind of a match with an evaluation item, beside those with earlier runs."""
VERIFIED = ("exact", "ngram", "near")
PARTS = ("question", "answer", "both")
HOWS = (*VERIFIED, "semantic")
PART_WORDS = {"question": "the question", "answer": "the answer", "both": "question and answer"}
HOW_RANK = pl.col("how").replace_strict({name: place for place, name in enumerate(HOWS)}, return_dtype=pl.Int64)
"""Place of a match among HOWS, the surest first."""
HOW_WORDS = {
    "exact": "word for word",
    "ngram": "13-word runs in common",
    "near": "5-word runs in common",
    "semantic": "in other words",
}


def items_of(run: RunFolder) -> RunFolder:
    """Where a run keeps the text of the items it was compared with, below private/."""
    return RunFolder(run.private / "evaluation")


def none() -> pl.DataFrame:
    """No match: what a run that was compared with nothing has."""
    texts = dict.fromkeys(("kind", "source", "item", "part", "how"), pl.String)
    return pl.DataFrame(schema={"row_id": pl.Int64, **texts, "similarity": pl.Float32})


def steps(matches: pl.DataFrame | None, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to drop and rows to review: (row_id, action, keep_row_id, rule_id, why), one line per row."""
    if matches is None or settings.decontaminate == "off":
        matches = none()
    matches = matches.filter(pl.col("kind") == KIND)
    dropped = {"both": ["both"], "question": ["both", "question"]}.get(settings.decontaminate, [])
    goes = pl.col("part").is_in(dropped) & pl.col("how").is_in(VERIFIED)
    worst = matches.sort(
        [goes, pl.col("part") == "both", HOW_RANK, "similarity", "source", "item"],
        descending=[True, True, False, True, False, False],
    ).with_columns(others=pl.len().over("row_id") - 1)
    worst = worst.unique("row_id", keep="first", maintain_order=True)
    words = pl.format(
        "holds {} of item {} of {} ({}){}",
        pl.col("part").replace_strict(PART_WORDS, return_dtype=pl.String),
        "item",
        "source",
        pl.col("how").replace_strict(HOW_WORDS, return_dtype=pl.String),
        pl.when(pl.col("others") > 0).then(pl.format(" and parts of {} more", "others")).otherwise(pl.lit("")),
    )
    told = worst.select(
        "row_id",
        pl.when(goes).then(pl.lit("drop")).otherwise(pl.lit("review")).alias("action"),
        pl.lit(None, pl.Int64).alias("keep_row_id"),
        (pl.lit("contamination/") + pl.col("how")).alias("rule_id"),
        words.alias("why"),
    )
    return told.filter(pl.col("action") == "drop"), told.filter(pl.col("action") == "review")


def sentences(matches: pl.DataFrame, row_id: int) -> tuple[str, ...]:
    """What a row holds of evaluation items, one sentence each, the surest first."""
    mine = matches.filter((pl.col("row_id") == row_id) & (pl.col("kind") == KIND)).sort(HOW_RANK, "source", "item")
    return tuple(
        f"It holds {PART_WORDS[part]} of item {item} of {source}: {HOW_WORDS[how]} (similarity {similarity:.2f})."
        for source, item, part, how, similarity in mine.select(
            "source", "item", "part", "how", "similarity"
        ).iter_rows()
    )


def per_benchmark(matches: pl.DataFrame, benchmarks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """summary.contamination: items, matched and share per benchmark, by part and by how; most contaminated first.

    An item counts once, by the most that a row holds of it.

    benchmarks: name, items, not_searched of each. An item is matched where the words in common prove it; one that is
    only alike in meaning counts as `semantic_only`; `semantic_in` is the file of an archive that holds most of them,
    `semantic_confirmed` tells how many a transformer has read again and confirmed, and which (--confirm-with).
    """
    found = {}
    for known in benchmarks:
        mine = matches.filter((pl.col("source") == known["name"]) & (pl.col("kind") == KIND))
        verified = mine.filter(pl.col("how").is_in(VERIFIED))
        matched = verified["item"].n_unique()
        alike = mine.join(verified, on="item", how="anti")
        found[known["name"]] = {
            "items": known["items"],
            "matched": matched,
            "share": matched / known["items"] if known["items"] else None,
            "rows": verified["row_id"].n_unique(),
            "semantic_only": alike["item"].n_unique(),
            "semantic_in": _where_most(alike["item"].unique()),
            "semantic_confirmed": _confirmed(alike),
            "by_part": _surest(verified, "part", ("both", "question", "answer")),
            "by_how": _surest(mine, "how", HOWS),
            "not_searched": known["not_searched"],
        }

    def rank(entry: tuple[str, dict[str, Any]]) -> tuple[int, int, int, str]:
        name, seen = entry
        return -seen["matched"], -seen["by_part"]["both"], -seen["semantic_only"], name

    return dict(sorted(found.items(), key=rank))


def _surest(matches: pl.DataFrame, column: str, order: tuple[str, ...]) -> dict[str, int]:
    """Items by the first of these that any row holds of them; they add up to the items."""
    rank = pl.col(column).replace_strict({name: place for place, name in enumerate(order)}, return_dtype=pl.Int64)
    of_item = matches.group_by("item").agg(rank.min().alias("rank"))["rank"]
    return {name: int((of_item == place).sum()) for place, name in enumerate(order)}


def _confirmed(alike: pl.DataFrame) -> dict[str, Any] | None:
    """Items of matches by meaning that a transformer confirmed, and its name; None for none."""
    if "confirmed_by" not in alike.columns:  # runs of before
        return None
    read = alike.filter(pl.col("confirmed_by").is_not_null())
    return {"items": read["item"].n_unique(), "model": read["confirmed_by"][0]} if len(read) else None


def file_of(item: str) -> str:
    """The file of an archive that an item is named after, empty for none."""
    return item.rpartition(":")[0]


def _where_most(items: pl.Series) -> dict[str, Any] | None:
    """The file of an archive that holds most of some items, where one holds half of them or more."""
    files = Counter(filter(None, map(file_of, items.to_list())))
    if not files:
        return None
    name = max(files, key=lambda name: (files[name], name))
    return {"file": name, "items": files[name]} if 2 * files[name] >= len(items) else None
