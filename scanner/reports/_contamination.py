"""Evidence for matches with evaluation items: the item beside the row that holds it, private spans masked in both."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from scanner.decontaminating import HOW_RANK, HOW_WORDS, KIND, PART_WORDS, items_of
from scanner.evidence import Difference, Evidence, difference
from scanner.reports import _words as words
from scanner.store import RunFolder

SHOWN = 20
SHOWN_PER_BENCHMARK = 4
_ASKING = ("user", "text", "system")


@dataclass(frozen=True)
class Match:
    """An evaluation item and a row that holds a part of it; the difference has the item on the left."""

    row_id: int
    place: str
    source: str
    item: str
    part: str
    how: str
    similarity: float
    difference: Difference | None

    @property
    def told(self) -> str:
        """What was found, in words."""
        share = "" if self.how == "exact" else f", {HOW_MEASURES[self.how]} {words.number(self.similarity, 2)}"
        return f"{PART_WORDS[self.part]}, {HOW_WORDS[self.how]}{share}"


HOW_MEASURES = {"ngram": "coverage", "near": "containment", "semantic": "cosine"}


def matches_shown(run: RunFolder, rows: pl.DataFrame, evidence: Evidence) -> tuple[Match, ...]:
    """Some matches of every benchmark, the surest first; rows: (row_id, source, line)."""
    if not run.has_table("matches"):
        return ()
    found = run.read_table("matches").filter(pl.col("kind") == KIND)
    found = found.sort(
        [HOW_RANK, pl.col("part") == "both", "similarity", "row_id"], descending=[False, True, True, False]
    )
    found = found.group_by("source", maintain_order=True).head(SHOWN_PER_BENCHMARK).head(SHOWN)
    found = found.join(
        rows.select("row_id", "line", file=pl.col("source")), on="row_id", how="left", maintain_order="left"
    )
    evidence.load(found["row_id"].to_list())
    texts = _ItemTexts(run, evidence)
    return tuple(
        Match(
            m["row_id"], words.place(m["file"], m["line"]), m["source"], m["item"], m["part"], m["how"],
            m["similarity"], texts.beside(m["item_index"], m["row_id"], m["part"]),
        )
        for m in found.iter_rows(named=True)
    )  # fmt: skip


class _ItemTexts:
    """The text of matched items, masked like the rows beside it; nothing where it is not shown or was purged."""

    def __init__(self, run: RunFolder, evidence: Evidence):
        self._rows = evidence
        own = items_of(run)
        self._missing = bool(evidence.missing) or not own.has_table("items")
        if not self._missing:
            self._evidence = Evidence(own, evidence.policy, beside=evidence)
            self._places = own.read_table("items")

    def beside(self, item: int, row_id: int, part: str) -> Difference | None:
        """What was found of the item, question, answer or both, beside the same parts of the row."""
        if self._missing:
            return None
        wanted = {"question": [0], "answer": [1]}.get(part, [0, 1])
        mine = self._places.filter((pl.col("item_index") == item) & pl.col("part").is_in(wanted))
        known = {(row, segment) for row, segment in mine.select("row_id", "segment").iter_rows()}
        of_item = [
            s for row in {row for row, _ in known} for s in self._evidence.segments(row) if (row, s.segment) in known
        ]
        of_row = [s for s in self._rows.segments(row_id) if int(s.role not in _ASKING) in wanted or s.role == "text"]
        left, right = ("\n".join(s.shown() for s in side if s.text) for side in (of_item, of_row))
        return difference(left, right)
