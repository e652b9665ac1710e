"""Memorized spans and the heat of an answer, as plans, reports and explanations use them (made by memorizing.py).

The heat of a token is the chance that the tuned model says it, the text before it being the true one. For the eye the
tokens of a string are merged into shades: neighbours are joined as long as that hides little (Ward's criterion), but
never across the edge of a memorized span.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner.evidence import PRIVATE, Evidence, SegmentText
from scanner.store import RunFolder

KIND = "memorized"
FROM_START, STRETCH = "memorized/from-start", "memorized/stretch"
HEAT_SCHEMA: dict[str, Any] = {
    "row_id": pl.Int64,
    "segment": pl.Int32,
    "start": pl.List(pl.Int64),  # code points of the string, per token
    "end": pl.List(pl.Int64),
    "p": pl.List(pl.UInt8),  # the heat in units of 1 / STEPS
}
INSIDE_SCHEMA: dict[str, Any] = {
    "row_id": pl.Int64, "segment": pl.Int32, "start": pl.Int64, "end": pl.Int64, "rule_id": pl.String,
    "chance": pl.Float32,
}  # fmt: skip
STEPS = 255
HEAT = "private/heat"
"""Table of the heat: which parts of a text are words can be read off it, so it stands with the text."""
HIDDEN = 0.5
"""Largest rise of the squared error, summed over tokens, for which two neighbouring shades are joined."""
FEWEST = 3
"""Tokens of the shortest shade, where the string, or its part within or between memorized spans, has as many."""


@dataclass(frozen=True)
class Shade:
    """A run of tokens of about the same heat, all in one memorized span or in none."""

    p: float  # mean of its tokens' chances: the share of them that is expected right
    tokens: int
    text: str  # masked, with the white space that follows it
    score: float  # of the memorized span that holds it; 0 where none does


def memorized(spans: pl.DataFrame) -> pl.DataFrame:
    """The memorized spans of spans.parquet."""
    return spans.filter(pl.col("kind").cast(pl.String) == KIND)


def private_inside(spans: pl.DataFrame) -> pl.DataFrame:
    """Private and secret spans that lie within a memorized one, with its `chance`; each place once, by place."""
    place = ["row_id", "segment", "start", "end"]
    around = memorized(spans)
    if not len(around):
        return pl.DataFrame(schema=INSIDE_SCHEMA)
    private = spans.filter(PRIVATE).select(*place, "rule_id")
    around = around.select(
        "row_id", "segment", pl.col("start").alias("from"), pl.col("end").alias("to"), pl.col("score").alias("chance")
    )
    both = private.join(around, on=["row_id", "segment"])
    both = both.filter((pl.col("start") >= pl.col("from")) & (pl.col("end") <= pl.col("to"))).drop("from", "to")
    return both.sort(*place, "rule_id").unique(place, keep="first", maintain_order=True)


@dataclass(frozen=True)
class Kept:
    """The heat and the memorized spans of some rows; empty where none was kept or no text is shown."""

    heat: pl.DataFrame
    spans: pl.DataFrame


def kept(run: RunFolder, row_ids: list[int], evidence: Evidence) -> Kept:
    """What the run holds of these rows."""
    columns = ["row_id", "segment", "start", "end", "kind", "score"]
    if evidence.missing or not run.has_table(HEAT):
        return Kept(pl.DataFrame(schema=HEAT_SCHEMA), pl.DataFrame(schema=dict.fromkeys(columns, pl.String)))
    mine = pl.col("row_id").is_in(row_ids)
    return Kept(run.read_table(HEAT).filter(mine), memorized(run.read_table("spans", columns).filter(mine)))


def shades(seen: Kept, row_id: int, segment: SegmentText | None) -> tuple[Shade, ...]:
    """The shades of one string of a row; none where its heat was not kept."""
    if segment is None:
        return ()
    mine = (pl.col("row_id") == row_id) & (pl.col("segment") == segment.segment)
    table = seen.heat.filter(mine)
    if not len(table):
        return ()
    start, end, p = (np.concatenate([np.asarray(part) for part in table[name]]) for name in ("start", "end", "p"))
    spans = seen.spans.filter(mine).select("start", "end", "score").rows()
    edges = np.searchsorted(start, [at for span in spans for at in span[:2]])
    parts = itertools.pairwise(np.unique([0, *edges, len(start)]).tolist())
    cuts = [first + cut for first, last in parts for cut in _cuts(p[first:last] / STEPS)[:-1]]
    found = []
    for first, last in itertools.pairwise([*cuts, len(start)]):
        begin = int(start[first]) if first else 0
        stop = int(start[last]) if last < len(start) else int(end[-1])
        score = next((score for a, b, score in spans if a <= start[first] < b), 0.0)
        text = segment.shown(begin, stop)
        found.append(Shade(float(p[first:last].mean() / STEPS), last - first, text, float(score)))
    return tuple(found)


def _cuts(p: np.ndarray) -> list[int]:
    """Edges of runs of similar values: the cheapest neighbours are joined first, the earliest of equals."""
    size, mean, edges = np.ones(len(p)), p.astype(float), list(range(len(p) + 1))
    while len(size) > 1:
        cost = size[:-1] * size[1:] / (size[:-1] + size[1:]) * np.diff(mean) ** 2
        short = np.minimum(size[:-1], size[1:]) < FEWEST
        at = int(np.argmin(cost))
        if cost[at] > HIDDEN:
            if not short.any():
                break
            at = int(np.flatnonzero(short)[np.argmin(cost[short])])
        total = size[at] + size[at + 1]
        mean[at] = (size[at] * mean[at] + size[at + 1] * mean[at + 1]) / total
        size[at] = total
        size, mean = np.delete(size, at + 1), np.delete(mean, at + 1)
        del edges[at + 1]
    return edges
