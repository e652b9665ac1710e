"""Repeated passages as reports and explanations show them: where they stand, and masked excerpts.

Only rows that the plan keeps count here: that a dropped row shares its text with the row kept for it is told there.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from scanner.evidence import Evidence, shortened
from scanner.store import RunFolder

KINDS = ("leakage", "boilerplate", "within", "echo")
"""Kinds that are shown; `filler` (ruled lines, padding) is counted only."""
KIND_WORDS = {
    "leakage": "in a few rows",
    "boilerplate": "boilerplate",
    "within": "twice in one text",
    "echo": "in two texts of one row",
    "filler": "filler",
}
ROLE_WORDS = {"system": "system prompts", "tools": "tool schemas", "user": "prompts", "assistant": "answers",
              "tool": "tool results", "text": "texts"}  # fmt: skip
ACROSS = ("leakage", "boilerplate")
"""Kinds that several rows share."""
SHOWN = {"leakage": 15, "boilerplate": 10, "within": 6, "echo": 4}
"""Passages of each kind that are shown."""
PLACES = 6
"""Rows that are named for a passage; the others are counted."""
EXCERPT = 260
"""Characters of a passage's beginning."""


@dataclass(frozen=True)
class Passage:
    """A repeated passage: spans that have enough tokens in common, directly or through others."""

    kind: str  # one of KINDS
    tokens: int  # of its longest span
    rows: int  # rows of the plan that hold a part of it
    spans: int
    alike: int  # further passages of this kind in the very same rows
    where: str  # "prompts and answers"
    files: int
    row_ids: tuple[int, ...]  # the first PLACES
    text: str  # the beginning of its longest span, masked; "" where no text is shown

    @property
    def told(self) -> str:
        """Where it stands, in words."""
        across = f", in {self.files} files" if self.files > 1 else ""
        more = f", and {self.alike} more in the same row{'s' if self.rows > 1 else ''}" if self.alike else ""
        return f"{KIND_WORDS[self.kind]}: {self.where}{across}{more}"

    @property
    def more(self) -> int:
        """Rows that are not named."""
        return self.rows - len(self.row_ids)


@dataclass(frozen=True)
class Stretch:
    """A repeated span of one row."""

    kind: str  # one of KINDS
    role: str  # of the string it stands in
    tokens: int
    others: tuple[int, ...]  # other rows with the passage, the first PLACES
    others_total: int
    text: str

    @property
    def told(self) -> str:
        """What it is and where else it stands, in words."""
        what = f"{self.tokens:,} tokens in {ROLE_WORDS.get(self.role, self.role)}"
        if self.kind not in ACROSS:
            return f"{what}, {KIND_WORDS[self.kind]}"
        what = f"{what}, {'boilerplate, ' if self.kind == 'boilerplate' else ''}"
        if not self.others:
            return f"{what}in no other row that the plan keeps"
        more = self.others_total - len(self.others)
        named = f"{', '.join(map(str, self.others))}{f' and {more:,} more' if more else ''}"
        return f"{what}also in row{'' if self.others_total == 1 else 's'} {named}"


def kept(spans: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    """The repeated spans of rows that the plan does not drop, with `what` for their kind."""
    if "passage" not in spans.columns:
        return spans.clear().with_columns(what=pl.lit("", pl.String), passage=pl.lit(0), tokens=pl.lit(0))
    dropped = plan.filter(pl.col("action").cast(pl.String) == "drop").select("row_id")
    mine = spans.filter(pl.col("kind").cast(pl.String) == "repeated").join(dropped, on="row_id", how="anti")
    return mine.with_columns(what=pl.col("rule_id").cast(pl.String).str.split("/").list.last())


def passages(run: RunFolder, rows: pl.DataFrame, plan: pl.DataFrame, evidence: Evidence) -> tuple[Passage, ...]:
    """The passages that say most of each kind: those that repeat the most tokens. rows: row_id, source."""
    found = kept(run.read_table("spans"), plan)
    if not len(found):
        return ()
    found = found.join(rows.select("row_id", "source"), on="row_id", how="left", maintain_order="left")
    found = found.sort(["tokens", "row_id", "segment", "start"], descending=[True, False, False, False])
    table = found.group_by("what", "passage", maintain_order=True).agg(
        pl.col("tokens").max(),
        pl.col("row_id").n_unique().alias("rows"),
        pl.len().alias("spans"),
        pl.col("role").unique().sort(),
        pl.col("source").n_unique().alias("files"),
        pl.col("row_id").unique().sort().head(PLACES).alias("named"),
        pl.col("row_id").unique().sort().cast(pl.String).str.join(",").alias("holders"),
        pl.first("row_id", "segment", "start", "end"),
    )
    # what few rows share is no longer shared where the plan leaves one of them
    table = table.filter((pl.col("rows") > 1) | ~pl.col("what").is_in(ACROSS))
    again = pl.col("tokens") * (pl.col("spans") - 1).clip(1)
    table = table.with_columns(again.alias("again")).sort(["again", "passage"], descending=[True, False])
    # rows that have several passages in common are one finding
    alike = table.group_by("what", "holders").agg((pl.len() - 1).alias("alike"))
    table = table.unique(["what", "holders"], keep="first", maintain_order=True).join(
        alike, on=["what", "holders"], maintain_order="left"
    )
    chosen = pl.concat([table.filter(pl.col("what") == kind).head(SHOWN[kind]) for kind in KINDS])
    evidence.load(chosen["row_id"].to_list())
    return tuple(
        Passage(
            kind=one["what"],
            tokens=one["tokens"],
            rows=one["rows"],
            spans=one["spans"],
            alike=one["alike"],
            where=" and ".join(ROLE_WORDS.get(role, role) for role in one["role"]),
            files=one["files"],
            row_ids=tuple(one["named"]),
            text=_text(evidence, one["row_id"], one["segment"], one["start"], one["end"], EXCERPT),
        )
        for one in chosen.iter_rows(named=True)
    )


def stretches(
    spans: pl.DataFrame, plan: pl.DataFrame, row_id: int, evidence: Evidence, limit: int
) -> tuple[tuple[Stretch, ...], int]:
    """The longest span of each passage in one row, the longest passages first, and how many it has in all."""
    others = kept(spans, plan)
    mine = kept(spans.filter(pl.col("row_id") == row_id), plan.clear()).filter(pl.col("what") != "filler")
    if not len(mine):
        return (), 0
    mine = mine.sort(["tokens", "segment", "start"], descending=[True, False, False])
    mine = mine.unique(["passage", "what"], keep="first", maintain_order=True)
    also = others.join(mine.select("passage", "what").unique(), on=["passage", "what"])
    also = also.filter(pl.col("row_id") != row_id).group_by("passage", "what").agg(pl.col("row_id").unique().sort())
    rows = {(passage, what): ids for passage, what, ids in also.iter_rows()}
    told = []
    for one in mine.head(limit).iter_rows(named=True):
        shared = rows.get((one["passage"], one["what"]), []) if one["what"] in ACROSS else []
        text = _text(evidence, row_id, one["segment"], one["start"], one["end"], EXCERPT)
        told.append(Stretch(one["what"], str(one["role"]), one["tokens"], tuple(shared[:PLACES]), len(shared), text))
    return tuple(told), len(mine)


def _text(evidence: Evidence, row_id: int, segment: int, start: int, end: int, limit: int) -> str:
    return shortened(evidence.in_context(row_id, segment, start, end, 0)[1], limit)
