"""What a report shows of the rows that have something in common beside whole copies; figures are _partners'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from scanner.evidence import Difference, Evidence
from scanner.objects import LONG_TURN
from scanner.pairing import CONTAINED
from scanner.reports import _words as words
from scanner.store import RunFolder

COLUMNS = [
    "row_id", "source", "line", "conflicts.group", "conflicts.answer", "conflicts.answers", "conflicts.rows",
    "answers.group", "answers.prompt", "answers.prompts", "length.supervised_tokens", "script.answer",
]  # fmt: skip
SHOWN = 20
ANSWERS_SHOWN = 5
PROMPTS_SHOWN = 3
PAIRS_SHOWN = 10


@dataclass(frozen=True)
class Answer:
    """One of the answers that a prompt has."""

    row_id: int  # a row that gives it
    place: str
    rows: int
    share: float  # of the rows with this prompt
    excerpt: str


@dataclass(frozen=True)
class Conflict:
    """A prompt and its different answers, the most frequent first."""

    rows: int
    answers_total: int
    prompt: str
    answers: tuple[Answer, ...]  # at most ANSWERS_SHOWN
    difference: Difference | None  # of the two most frequent

    @property
    def more(self) -> int:
        """Answers that are not shown."""
        return self.answers_total - len(self.answers)


@dataclass(frozen=True)
class Boilerplate:
    """A long answer that several prompts have."""

    rows: int
    prompts_total: int
    answer: str
    prompts: tuple[tuple[int, str, str], ...]  # row_id, place, excerpt; the most frequent first


@dataclass(frozen=True)
class Aligned:
    """Two rows side by side, and what is remarkable about them."""

    left: int  # row ids
    right: int
    said: str
    difference: Difference | None


@dataclass(frozen=True)
class Relations:
    """What a report shows beside clusters."""

    conflicts: tuple[Conflict, ...] = ()
    boilerplate: tuple[Boilerplate, ...] = ()
    aligned: tuple[Aligned, ...] = ()


def gather(run: RunFolder, evidence: Evidence) -> Relations:
    """The groups of most rows, and pairs that are worth a look; excerpts under the evidence's policy."""
    if not set(COLUMNS) <= set(pq.read_schema(run.path / "rows.parquet").names):
        return Relations()
    rows = run.read_table("rows", COLUMNS)
    rows = rows.with_columns(pl.col("source").cast(pl.String))
    where = rows.select("row_id", "source", "line")
    pairs = run.read_table("pairs").with_columns(pl.col("signal", "relation").cast(pl.String))
    return Relations(
        conflicts=_conflicts(rows, where, evidence),
        boilerplate=_boilerplate(rows, where, evidence),
        aligned=_aligned(rows, pairs, evidence),
    )


def _ways(rows: pl.DataFrame, group: str, way: str, most: int) -> pl.DataFrame:
    """A row and the number of rows of each of the first `most` ways of the largest groups, the largest group first."""
    sizes = rows.group_by(group).agg(pl.len().alias("size")).sort(["size", group], descending=[True, False]).head(SHOWN)
    order = sizes.with_row_index("place").select("place", group)
    ways = rows.join(order, on=group).group_by("place", group, way).agg(pl.col("row_id").min(), pl.len().alias("rows"))
    return ways.filter(pl.col(way) < most).sort("place", way)


def _conflicts(rows: pl.DataFrame, where: pl.DataFrame, evidence: Evidence) -> tuple[Conflict, ...]:
    torn = rows.filter(pl.col("conflicts.answers") > 1)
    ways = _ways(torn, "conflicts.group", "conflicts.answer", ANSWERS_SHOWN)
    total = torn.group_by("conflicts.group").agg(
        pl.col("conflicts.answers").first().alias("answers"), pl.col("conflicts.rows").first().alias("all")
    )
    ways = ways.join(total, on="conflicts.group", maintain_order="left").join(where, on="row_id", maintain_order="left")
    evidence.load(ways["row_id"].to_list())
    found = []
    for mine in ways.partition_by("place", maintain_order=True):
        ids, size = mine["row_id"].to_list(), int(mine["all"][0])
        answers = tuple(
            Answer(row_id, words.place(source, line), count, count / size, evidence.answer(row_id, 200))
            for row_id, source, line, count in mine.select("row_id", "source", "line", "rows").iter_rows()
        )
        beside = evidence.difference(ids[0], ids[1]) if len(ids) > 1 else None
        found.append(Conflict(size, int(mine["answers"][0]), evidence.prompt(ids[0]), answers, beside))
    return tuple(found)


def _boilerplate(rows: pl.DataFrame, where: pl.DataFrame, evidence: Evidence) -> tuple[Boilerplate, ...]:
    long = rows.filter((pl.col("answers.prompts") > 1) & (pl.col("length.supervised_tokens") >= LONG_TURN))
    ways = _ways(long, "answers.group", "answers.prompt", PROMPTS_SHOWN)
    total = long.group_by("answers.group").agg(
        pl.col("answers.prompts").first().alias("prompts"), pl.len().alias("all")
    )
    ways = ways.join(total, on="answers.group", maintain_order="left").join(where, on="row_id", maintain_order="left")
    evidence.load(ways["row_id"].to_list())
    found = []
    for mine in ways.partition_by("place", maintain_order=True):
        asked = tuple(
            (row_id, words.place(source, line), evidence.prompt(row_id))
            for row_id, source, line in mine.select("row_id", "source", "line").iter_rows()
        )
        answer = evidence.answer(asked[0][0], 200)
        found.append(Boilerplate(int(mine["all"][0]), int(mine["prompts"][0]), answer, asked))
    return tuple(found)


def _aligned(rows: pl.DataFrame, pairs: pl.DataFrame, evidence: Evidence) -> tuple[Aligned, ...]:
    """Answers inside others, near copies across sources and pairs across scripts, a few of each."""
    parts = rows.select("row_id", "source", "script.answer")
    for end in ("a", "b"):
        names = {"row_id": f"row_{end}", "source": f"source_{end}", "script.answer": f"script_{end}"}
        pairs = pairs.join(parts.rename(names), on=f"row_{end}", maintain_order="left")
    alike = pairs.filter(pl.col("signal").is_in(["minhash", "semantic"]))
    if "answer_containment_ab" not in pairs.columns:
        pairs = pairs.with_columns(answer_containment_ab=math.nan, answer_containment_ba=math.nan)
    share = pl.max_horizontal("answer_containment_ab", "answer_containment_ba").fill_nan(0)
    low = pl.min_horizontal("answer_containment_ab", "answer_containment_ba").fill_nan(1) < CONTAINED
    apart = (pl.col("relation") != "same_both") & (pl.col("signal") != "semantic")
    inside = pairs.filter(apart & (share >= CONTAINED) & low)
    across = alike.filter((pl.col("source_a") != pl.col("source_b")) & (pl.col("signal") == "minhash"))
    written = (pl.col("script_a") != "none") & (pl.col("script_b") != "none")
    scripts = alike.filter(written & (pl.col("script_a") != pl.col("script_b")))
    shown: dict[tuple[int, int], str] = {}
    likeness = pl.col("similarity")
    chosen = ((inside, share, _inside), (across, likeness, _across_sources), (scripts, likeness, _across_scripts))
    for some, key, say in chosen:
        order = [key, "similarity", "row_a", "row_b"]
        ranked = some.sort(order, descending=[True, True, False, False], nulls_last=True)
        for end in ("row_a", "row_b"):  # the same row again and again shows nothing new
            ranked = ranked.unique(end, keep="first", maintain_order=True)
        for pair in ranked.head(PAIRS_SHOWN).iter_rows(named=True):
            shown.setdefault((pair["row_a"], pair["row_b"]), say(pair))
    evidence.load([row for pair in shown for row in pair])
    return tuple(Aligned(a, b, said, evidence.difference(a, b)) for (a, b), said in shown.items())


def _inside(pair: dict[str, Any]) -> str:
    inner, outer, share = pair["row_a"], pair["row_b"], pair["answer_containment_ab"]
    if pair["answer_containment_ba"] > share:
        inner, outer, share = outer, inner, pair["answer_containment_ba"]
    whole = "" if share == 1 else f" ({words.percent(share)} of it)"
    same = "; both answer the same prompt" if pair["relation"] == "same_prompt" else ""
    return f"row {inner}'s answer stands inside row {outer}'s{whole}{same}"


def _across_sources(pair: dict[str, Any]) -> str:
    return (
        f"row {pair['row_a']} of {pair['source_a']} and row {pair['row_b']} of {pair['source_b']}: "
        f"{words.RELATIONS[pair['relation']]} in two sources, Jaccard {words.number(pair['similarity'], 2)}"
    )


def _across_scripts(pair: dict[str, Any]) -> str:
    measure = "cosine" if pair["signal"] == "semantic" else "Jaccard"
    return (
        f"row {pair['row_a']} answers in {pair['script_a']} script, row {pair['row_b']} in {pair['script_b']}: "
        f"{words.RELATIONS[pair['relation']]}, {measure} {words.number(pair['similarity'], 2)}"
    )
