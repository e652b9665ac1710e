"""What rows have in common beside whole copies: the figures for scan.json, and what a report shows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from scanner.evidence import Difference, Evidence
from scanner.objects import LONG_TURN
from scanner.reports import _words as words
from scanner.store import RunFolder

INSIDE = 0.95
"""Share of an answer's shingles found in another from which it stands inside it (as in signals.minhash)."""
COLUMNS = [
    "row_id", "source", "line", "conflicts.group", "conflicts.answer", "conflicts.answers", "conflicts.rows",
    "answers.group", "answers.prompt", "answers.prompts", "length.supervised_tokens", "script.answer",
]  # fmt: skip
ACROSS = ("exact", "near", "semantic", "prompt", "opening")
"""What rows of two parts may have in common: the whole text, nearly, in other words, the prompt, the first question."""
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


def figures(rows: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, Any]:
    """Figures for scan.json; the same keys whether anything was found, or measured, or not."""
    n = len(rows)
    known = set(rows.columns)

    def counted(condition: pl.Expr, *needs: str) -> dict[str, Any]:
        hit = rows.filter(condition) if set(needs) <= known else rows.clear()
        return {"rows": len(hit), "share": len(hit) / n if n else None}

    long = pl.col("length.supervised_tokens") >= LONG_TURN
    torn, asked = pl.col("answers.prompts") > 1, ("answers.prompts", "length.supervised_tokens")
    shared = {name: counted(torn & part, *asked) for name, part in (("long", long), ("short", ~long))}
    for name, part in (("long", long), ("short", ~long)):
        groups = rows.filter(torn & part)["answers.group"].n_unique() if {*asked, "answers.group"} <= known else 0
        shared[name]["groups"] = groups
    text = pairs.with_columns(pl.col("signal", "relation").cast(pl.String))
    kinds = []
    for relation in words.RELATIONS:
        mine = text.filter(pl.col("relation") == relation)
        touched = pl.concat([mine["row_a"], mine["row_b"]]).n_unique() if len(mine) else 0
        kinds.append({"relation": relation, "pairs": len(mine), "rows": touched})
    return {
        "kinds": kinds,
        "same_answer": shared,
        "prompts": counted(pl.col("conflicts.rows") > 1, "conflicts.rows") | _repeats(rows, "conflicts.group"),
        "openings": counted(pl.col("turns.opening_rows") > 1, "turns.opening_rows")
        | _repeats(rows, "turns.opening_group"),
        "torn_openings": counted(pl.col("turns.opening_answers") > 1, "turns.opening_answers"),
        "repeated_turns": counted(pl.col("turns.repeated") > 0, "turns.repeated"),
        "scripts": _scripts(rows),
        "across_sources": _across(rows, text, "source"),
        "across_scripts": _across(rows, text, "script.answer"),
    }


def _repeats(rows: pl.DataFrame, group: str) -> dict[str, Any]:
    """Rows that are not the first of their group."""
    named = rows[group].drop_nulls() if group in rows.columns else pl.Series(group, [], dtype=pl.Int64)
    repeats = len(named) - named.n_unique()
    return {"repeats": repeats, "repeats_share": repeats / len(rows) if len(rows) else None}


def _scripts(rows: pl.DataFrame) -> list[dict[str, Any]]:
    if "script.answer" not in rows.columns:
        return []
    counts = rows.group_by(pl.col("script.answer").alias("script")).agg(pl.len().alias("rows"))
    return counts.sort(["rows", "script"], descending=[True, False]).to_dicts()


def _across(rows: pl.DataFrame, pairs: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    """How many rows of each part (source, script) have a copy, or the same question, in each part; empty for one part.

    Rows of equal text stand for one another, so that every copy of a near copy is counted, whichever the pair names.
    """
    if column not in rows.columns or rows[column].n_unique() < 2:
        return []
    part = rows.select("row_id", pl.col(column).cast(pl.String).alias("part"))
    exact = pairs.filter((pl.col("signal") == "exact") & (pl.col("relation") == "same_both"))
    label = _labels(part, exact)
    others = pairs.filter(pl.col("signal").is_in(["minhash", "semantic"]) & (pl.col("relation") != "contained"))
    named = others.select("row_a", "row_b", pl.col("signal").replace({"minhash": "near"}).alias("kind"))
    for end, short in (("row_a", "a"), ("row_b", "b")):
        named = named.join(label.rename({"row_id": end, "label": short}), on=end)
    back = named.select(pl.col("b").alias("a"), pl.col("a").alias("b"), "kind")
    links = pl.concat([named.select("a", "b", "kind"), back]).unique()
    where = part.join(label, on="row_id")
    held = where.select("label", "part").unique()
    reached = where.join(links, left_on="label", right_on="a").join(
        held.rename({"part": "other"}), left_on="b", right_on="label"
    )
    found = [reached.select("part", "other", "row_id", "kind"), _together(where, "exact")]
    for kind, group in (("prompt", "conflicts.group"), ("opening", "turns.opening_group")):
        if group in rows.columns:
            grouped = rows.select("row_id", pl.col(group).alias("label")).drop_nulls().join(part, on="row_id")
            found.append(_together(grouped, kind))
    everything = pl.concat(found)
    counted = everything.group_by("part", "other").agg(
        pl.col("row_id").filter(pl.col("kind") == kind).n_unique().alias(kind) for kind in ACROSS
    )
    return counted.sort("part", "other").to_dicts()


def _together(grouped: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Rows that share their label with another row, by that row's part; grouped has row_id, label and part."""
    held = grouped.group_by("label", pl.col("part").alias("other")).agg(pl.len().alias("held"))
    met = grouped.join(held, on="label").filter((pl.col("part") != pl.col("other")) | (pl.col("held") > 1))
    return met.select("part", "other", "row_id", kind=pl.lit(kind))


def _labels(part: pl.DataFrame, exact: pl.DataFrame) -> pl.DataFrame:
    """(row_id, label): the smallest row id of each row's group of equal text."""
    first = pl.concat([exact.select("row_a", "row_b"), exact.select(pl.col("row_a"), pl.col("row_a").alias("row_b"))])
    lowest = first.group_by("row_b").agg(pl.col("row_a").min().alias("label"))
    # groups are stars or all their pairs, so the lowest partner of a row is the group's first row
    joined = part.select("row_id").join(lowest, left_on="row_id", right_on="row_b", how="left")
    return joined.with_columns(pl.coalesce("label", "row_id").alias("label"))


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
    low = pl.min_horizontal("answer_containment_ab", "answer_containment_ba").fill_nan(1) < INSIDE
    apart = (pl.col("relation") != "same_both") & (pl.col("signal") != "semantic")
    inside = pairs.filter(apart & (share >= INSIDE) & low)
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
