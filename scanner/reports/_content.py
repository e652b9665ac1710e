"""What a report shows of a run, gathered once: figures, the riskiest rows, clusters, findings, conflicts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from scanner.evidence import Difference, Evidence
from scanner.reports import _words as words
from scanner.reports._contamination import Match, matches_shown
from scanner.reports._summary import groups
from scanner.store import RunFolder

TOP_ROWS = 50
CLUSTERS = 20
MEMBERS_PER_CLUSTER = 3
CONFLICTS = 20
ANSWERS_PER_CONFLICT = 3
CONFLICT_ROWS = 20_000
"""Rows among which prompts with several answers are looked for, to show some; all of them are counted."""
EXAMPLES_PER_RULE = 3
SKIPPED = 50

ROW_COLUMNS = ["row_id", "source", "line", "copies_exact", "cluster_id", "cluster_size"]
PREDICTION_COLUMNS = [
    "row_id", "p_extract", "p_whole", "p_counterfactual", "expected_tokens", "tokens_q50", "tokens_q95", "exposures",
    "taxon", "severity", "risk", "band", "reasons",
]  # fmt: skip


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


@dataclass(frozen=True)
class Member:
    """A row of a cluster beside the row that is kept in its place."""

    row_id: int
    place: str
    relation: str
    similarity: float
    difference: Difference | None

    @property
    def told(self) -> str:
        """How it is related to the kept row, in words."""
        if self.relation == "same_both":
            return "the same text"
        if math.isnan(self.similarity):
            return self.relation.replace("_", " ") or "verified against the kept row"
        return f"{self.relation.replace('_', ' ')}, similarity {words.number(self.similarity, 2)}"


@dataclass(frozen=True)
class Cluster:
    """A star of verified duplicates."""

    size: int
    row_id: int  # of the kept row
    place: str
    prompt: str
    members: tuple[Member, ...]  # the most different first; at most MEMBERS_PER_CLUSTER

    @property
    def plain(self) -> bool:
        """All of them are copies word for word (the most different member is shown, so it is enough to look there)."""
        return all(member.relation == "same_both" for member in self.members)

    @property
    def more(self) -> int:
        """Members that are not shown."""
        return self.size - 1 - len(self.members)


@dataclass(frozen=True)
class Example:
    """A private span where it stands: text before it, its placeholder, text after it."""

    row_id: int
    place: str
    before: str
    hidden: str
    after: str


@dataclass(frozen=True)
class Finding:
    """What one rule found."""

    rule_id: str
    kind: str
    findings: int
    rows: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Conflict:
    """A prompt and some of its different answers."""

    rows: int
    prompt: str
    answers: tuple[tuple[int, str, str], ...]  # row_id, place, excerpt


@dataclass(frozen=True)
class Content:
    """Everything a report may show; texts are excerpts under the chosen policy."""

    run: RunFolder
    scan: dict[str, Any]
    missing_text: str  # why no text is shown, "" where it is
    top: tuple[RiskRow, ...]
    risky: int  # rows in bands low to high
    clusters: tuple[Cluster, ...]
    findings: tuple[Finding, ...]
    conflicts: tuple[Conflict, ...]
    skipped: tuple[dict[str, Any], ...]
    whatif: tuple[dict[str, Any], ...]
    matches: tuple[Match, ...] = ()  # with evaluation items

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = self.scan["summary"]
        return summary

    @property
    def name(self) -> str:
        """What was audited: the inputs' file names."""
        names = [str(source.get("path", "")).rsplit("/", 1)[-1] for source in self.scan.get("inputs", ())]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or self.run.path.name

    @property
    def commands(self) -> list[tuple[str, str]]:
        return words.commands(self.run.path, self.scan, self.top[0].row_id if self.top else None)


def gather(run: RunFolder, text: str = "masked", top: int = TOP_ROWS, details: bool = True) -> Content:
    """Read a finished run. With `details` False only figures and the top rows are gathered."""
    evidence = Evidence(run, text)
    known = pq.read_schema(run.path / "rows.parquet").names if run.has_table("rows") else []
    columns = [*ROW_COLUMNS, *(name for name in ("conflicts.answers",) if name in known)]
    rows = run.read_table("rows", columns).with_columns(pl.col("source").cast(pl.String))
    prediction = run.read_table("prediction", PREDICTION_COLUMNS)
    plan = run.read_table("plan", ["row_id", "action", "keep_row_id", "why"])
    whatif = run.read_table("whatif").to_dicts() if run.has_table("whatif") else []
    return Content(
        run=run,
        scan=run.read_json("scan.json"),
        missing_text=evidence.missing,
        top=_top(rows, prediction, plan, evidence, top),
        risky=int((prediction["band"].cast(pl.String) != "none").sum()),
        clusters=_clusters(run, rows, plan, evidence) if details else (),
        findings=_findings(run, rows, evidence) if details else (),
        conflicts=_conflicts(run, rows, evidence) if details else (),
        skipped=skipped(run),
        whatif=tuple(whatif),
        matches=matches_shown(run, rows, evidence) if details else (),
    )


def skipped(run: RunFolder, limit: int = SKIPPED) -> tuple[dict[str, Any], ...]:
    """The first records that could not be read: file, line, reason."""
    path = run.path / "skipped.jsonl"
    if not path.exists():
        return ()
    found: list[dict[str, Any]] = []
    with path.open("rb") as lines:
        for line in lines:
            if len(found) == limit:
                break
            entry = json.loads(line)
            found.append({key: entry.get(key) for key in ("file", "line", "reason")})
    return tuple(found)


def _top(
    rows: pl.DataFrame, prediction: pl.DataFrame, plan: pl.DataFrame, evidence: Evidence, top: int
) -> tuple[RiskRow, ...]:
    """The riskiest rows, one per cluster, ordered by risk, then by expected tokens."""
    number = pl.col("risk", "p_extract", "p_whole", "expected_tokens", "tokens_q95", "exposures")
    joined = prediction.with_columns(number.cast(pl.Float64).fill_null(math.nan)).join(rows, on="row_id")
    ranked = joined.filter(pl.col("risk").is_not_nan()).sort(
        ["risk", "expected_tokens", "row_id"], descending=[True, True, False]
    )
    # rows of one cluster are one finding, not sixteen
    alone = pl.col("cluster_size") <= 1
    own = pl.when(alone).then(-1 - pl.col("row_id")).otherwise(pl.col("cluster_id"))
    chosen = ranked.with_columns(own.alias("own")).unique("own", keep="first", maintain_order=True).head(top)
    chosen = chosen.join(plan.select("row_id", "action", "why"), on="row_id", how="left", maintain_order="left")
    evidence.load(chosen["row_id"].to_list())
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
        )
        for row in chosen.iter_rows(named=True)
    )


def in_words(reasons: Any) -> str:
    """Reasons as one text; the column may hold text or a list of texts."""
    if reasons is None:
        return ""
    return reasons if isinstance(reasons, str) else "; ".join(str(reason) for reason in reasons)


def _clusters(run: RunFolder, rows: pl.DataFrame, plan: pl.DataFrame, evidence: Evidence) -> tuple[Cluster, ...]:
    """The clusters that say most: the largest, but those with a difference to look at before plain copies."""
    inside = rows.filter(pl.col("cluster_size") > 1).join(plan.select("row_id", "action", "keep_row_id"), on="row_id")
    if not len(inside):
        return ()
    pairs = run.read_table("pairs", ["row_a", "row_b", "signal", "relation", "similarity"])
    pairs = pairs.filter(pl.col("signal").cast(pl.String) != "semantic")
    both = pl.concat([
        pairs.select("row_a", "row_b", "relation", "similarity"),
        pairs.select(pl.col("row_b").alias("row_a"), pl.col("row_a").alias("row_b"), "relation", "similarity"),
    ]).with_columns(pl.col("relation").cast(pl.String))  # fmt: skip
    # the kept row: the one others are dropped for, else the first
    named = (
        inside.drop_nulls("keep_row_id").group_by("cluster_id").agg(pl.col("keep_row_id").mode().min().alias("kept"))
    )
    first = inside.group_by("cluster_id").agg(pl.col("row_id").min().alias("first"), pl.len().alias("members"))
    kept = first.join(named, on="cluster_id", how="left").with_columns(pl.coalesce("kept", "first").alias("kept"))
    members = inside.join(kept.select("cluster_id", "kept"), on="cluster_id").filter(pl.col("row_id") != pl.col("kept"))
    linked = members.join(both, left_on=["row_id", "kept"], right_on=["row_a", "row_b"], how="left")
    linked = linked.sort(["cluster_id", "row_id", "similarity"], descending=[False, False, True], nulls_last=True)
    linked = linked.unique(["cluster_id", "row_id"], keep="first", maintain_order=True)
    plain = linked.group_by("cluster_id").agg((pl.col("relation") == "same_both").all().alias("plain"))
    order = kept.join(plain, on="cluster_id").with_columns(pl.col("plain").fill_null(False))
    shown = _mixed(order.sort(["members", "kept"], descending=[True, False]))
    where = {i: words.place(s, n) for i, s, n in _places(rows, [*shown["kept"], *linked["row_id"]])}
    out = []
    for cluster_id, kept_id, count in shown.select("cluster_id", "kept", "members").iter_rows():
        mine = linked.filter(pl.col("cluster_id") == cluster_id)
        mine = mine.sort(pl.col("relation") == "same_both", "similarity", "row_id", nulls_last=True)
        mine = mine.head(MEMBERS_PER_CLUSTER)
        evidence.load([kept_id, *mine["row_id"]])
        beside = tuple(
            Member(row_id, where[row_id], relation or "", math.nan if similarity is None else similarity,
                   evidence.difference(kept_id, row_id) if relation != "same_both" else None)
            for row_id, relation, similarity in mine.select("row_id", "relation", "similarity").iter_rows()
        )  # fmt: skip
        out.append(Cluster(count, kept_id, where[kept_id], evidence.prompt(kept_id), beside))
    return tuple(out)


def _mixed(order: pl.DataFrame) -> pl.DataFrame:
    """At most half of the clusters shown are plain copies, while there are others."""
    others = order.filter(~pl.col("plain"))
    plain = order.filter(pl.col("plain")).head(max(CLUSTERS // 2, CLUSTERS - len(others)))
    both = pl.concat([plain, others.head(CLUSTERS - len(plain))])
    return both.sort(["members", "kept"], descending=[True, False])


def _places(rows: pl.DataFrame, ids: list[int]) -> list[tuple[int, str, int]]:
    return rows.filter(pl.col("row_id").is_in(ids)).select("row_id", "source", "line").rows()


def _findings(run: RunFolder, rows: pl.DataFrame, evidence: Evidence) -> tuple[Finding, ...]:
    spans = run.read_table("spans", ["row_id", "segment", "start", "end", "rule_id", "kind"])
    spans = spans.with_columns(pl.col("rule_id", "kind").cast(pl.String)).sort("row_id", "segment", "start")
    per_rule = spans.group_by("kind", "rule_id").agg(
        pl.len().alias("findings"), pl.col("row_id").n_unique().alias("rows")
    )
    per_rule = per_rule.sort(["kind", "findings", "rule_id"], descending=[True, True, False])
    # one example per row: sixteen copies of a row would show the same span sixteen times
    firsts = spans.unique(["rule_id", "row_id"], keep="first", maintain_order=True)
    firsts = firsts.group_by("rule_id", maintain_order=True).head(EXAMPLES_PER_RULE)
    evidence.load(firsts["row_id"].to_list())
    where = {i: words.place(s, n) for i, s, n in _places(rows, firsts["row_id"].to_list())}
    examples: dict[str, list[Example]] = {}
    for row_id, segment, start, end, rule_id in firsts.select(
        "row_id", "segment", "start", "end", "rule_id"
    ).iter_rows():
        before, hidden, after = evidence.in_context(row_id, segment, start, end)
        examples.setdefault(rule_id, []).append(Example(row_id, where.get(row_id, ""), before, hidden, after))
    return tuple(
        Finding(rule_id, kind, count, touched, tuple(examples.get(rule_id, ())))
        for kind, rule_id, count, touched in per_rule.iter_rows()
    )


def _conflicts(run: RunFolder, rows: pl.DataFrame, evidence: Evidence) -> tuple[Conflict, ...]:
    """Prompts with several answers, those asked most often first."""
    asked = _asked_alike(run, rows) if not evidence.missing else _paired_alike(run)
    sizes = asked.group_by("prompt").agg(pl.len().alias("rows"), pl.col("row_id").sort())
    sizes = sizes.with_columns(pl.col("row_id").list.first().alias("first"))
    shown = sizes.sort(["rows", "first"], descending=[True, False]).head(CONFLICTS)
    chosen = [row_id for ids in shown["row_id"].to_list() for row_id in ids]
    evidence.load(chosen)
    where = {i: words.place(s, n) for i, s, n in _places(rows, chosen)}
    found = []
    for count, ids in shown.select("rows", "row_id").iter_rows():
        answers: dict[str, int] = {}  # different excerpts first; where there is no text, the first rows
        for i in ids:
            answers.setdefault(evidence.answer(i, 200) or str(i), i)
        some = list(answers.values())[:ANSWERS_PER_CONFLICT]
        found.append(
            Conflict(count, evidence.prompt(ids[0]), tuple((i, where[i], evidence.answer(i, 200)) for i in some))
        )
    return tuple(found)


def _asked_alike(run: RunFolder, rows: pl.DataFrame) -> pl.DataFrame:
    """(row_id, prompt): rows whose prompt has several answers, grouped by the prompt's text."""
    if "conflicts.answers" not in rows.columns:
        return _paired_alike(run)
    torn = rows.filter(pl.col("conflicts.answers") > 1).sort("row_id").head(CONFLICT_ROWS)
    text = run.segments().rows(torn["row_id"].to_list(), ["row_id", "supervised", "turn", "text"])
    answered = text.filter("supervised").group_by("row_id").agg(pl.col("turn").min().alias("answered"))
    before = text.join(answered, on="row_id").filter(pl.col("turn") < pl.col("answered"))
    prompts = before.group_by("row_id", maintain_order=True).agg(pl.col("text").str.join("\n").hash().alias("prompt"))
    return prompts.filter(pl.col("prompt").is_duplicated())


def _paired_alike(run: RunFolder) -> pl.DataFrame:
    """(row_id, prompt) from the pairs alone, for runs whose text is not to be shown."""
    pairs = run.read_table("pairs", ["row_a", "row_b", "relation"])
    same = pairs.filter(pl.col("relation").cast(pl.String) == "same_prompt")
    ids, label = groups(same["row_a"].to_numpy(), same["row_b"].to_numpy())
    return pl.DataFrame({"row_id": ids, "prompt": label})
