"""What a report shows of a run, gathered once: figures, the riskiest rows, clusters, findings, conflicts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from scanner.evidence import PRIVATE, Difference, Evidence
from scanner.repeats import Passage, passages
from scanner.reports import _relations
from scanner.reports import _words as words
from scanner.reports._contamination import Match, matches_shown
from scanner.reports._earlier import KnownRow, copied_rows
from scanner.reports._earlier import examples as known_rows
from scanner.reports._relations import Relations
from scanner.reports._riskiest import RiskRow, riskiest
from scanner.rule import Said
from scanner.rulefiles import said_of
from scanner.shownnames import without_private_paths
from scanner.store import RunFolder

TOP_ROWS = 50
CLUSTERS = 20
MEMBERS_PER_CLUSTER = 3
EXAMPLES_PER_RULE = 3
SKIPPED = 50

ROW_COLUMNS = ["row_id", "source", "line", "copies_exact", "cluster_id", "cluster_size"]
PREDICTION_COLUMNS = [
    "row_id", "p_extract", "p_whole", "p_counterfactual", "expected_tokens", "tokens_q50", "tokens_q95", "exposures",
    "taxon", "severity", "risk", "band", "reasons",
]  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A row of a cluster beside the row that is kept in its place."""

    row_id: int
    place: str
    relation: str
    similarity: float
    difference: Difference | None
    because: str = ""  # why the kept row stays rather than this one
    stays: bool = False  # it stays beside the kept row (--keep)

    @property
    def told(self) -> str:
        """How it is related to the kept row, in words."""
        return self._relation + (", stays too" if self.stays else "")

    @property
    def _relation(self) -> str:
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
    earlier: bool = False  # an earlier run holds the row that the others were verified against, so it is not kept

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
    unread: int  # findings, of these, in fields that no trainer reads
    unread_rows: tuple[int, ...]  # the first of their rows
    examples: tuple[Example, ...]  # in what a trainer reads
    said: Said | None  # advice and known problems; None where the rule's file is gone

    @property
    def beside(self) -> str:
        """What stands in fields that no trainer reads, in words; the cleaned data is masked there too."""
        some = ", ".join(map(str, self.unread_rows))
        of_all = "All" if self.unread == self.findings else f"{words.number(self.unread)} of them"
        return (
            f"{of_all} in fields that no trainer reads, first in row{'s' if len(self.unread_rows) > 1 else ''} {some}."
        )


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
    relations: Relations
    passages: tuple[Passage, ...]
    earlier: tuple[KnownRow, ...]  # some rows that earlier runs hold
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
    def no_top(self) -> str:
        """Why no row stands among the top ones, where none does."""
        predicted = self.summary["prediction"]
        why = f": it is that of {predicted['extracted_tokens']} tokens or more, and no answer is so long"
        return "no row has a predicted risk" + ("" if predicted["rows_measured"] else why)

    @property
    def commands(self) -> list[tuple[str, str]]:
        return words.commands(self.run.path, self.scan, self.top[0].row_id if self.top else None)


def gather(run: RunFolder, text: str = "masked", top: int = TOP_ROWS, details: bool = True) -> Content:
    """Read a finished run. With `details` False only figures and the top rows are gathered."""
    evidence = Evidence(run, text)
    rows = run.read_table("rows", ROW_COLUMNS).with_columns(pl.col("source").cast(pl.String))
    prediction = run.read_table("prediction", PREDICTION_COLUMNS)
    reasons = [c for c in ("kept_because",) if c in pq.read_schema(run.path / "plan.parquet").names]
    plan = run.read_table("plan", ["row_id", "action", "keep_row_id", "why", *reasons])
    whatif = run.read_table("whatif").to_dicts() if run.has_table("whatif") else []
    return Content(
        run=run,
        scan=without_private_paths(run.read_json("scan.json")),
        missing_text=evidence.missing,
        top=riskiest(run, rows, prediction, plan, evidence, top),
        risky=int((prediction["band"].cast(pl.String) != "none").sum()),
        clusters=_clusters(run, rows, plan, evidence) if details else (),
        findings=_findings(run, rows, evidence) if details else (),
        relations=_relations.gather(run, evidence) if details else Relations(),
        passages=passages(run, rows, plan, evidence) if details else (),
        earlier=known_rows(run, rows, evidence) if details else (),
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


def _clusters(run: RunFolder, rows: pl.DataFrame, plan: pl.DataFrame, evidence: Evidence) -> tuple[Cluster, ...]:
    """The clusters that say most: the largest, but those with a difference to look at before plain copies."""
    if "kept_because" not in plan.columns:
        plan = plan.with_columns(kept_because=pl.lit(None, pl.String))
    inside = rows.filter(pl.col("cluster_size") > 1)
    inside = inside.join(plan.select("row_id", "action", "keep_row_id", "kept_because"), on="row_id")
    if not len(inside):
        return ()
    pairs = run.read_table("pairs", ["row_a", "row_b", "signal", "relation", "similarity"])
    pairs = pairs.filter(pl.col("signal").cast(pl.String) != "semantic")
    both = pl.concat([
        pairs.select("row_a", "row_b", "relation", "similarity"),
        pairs.select(pl.col("row_b").alias("row_a"), pl.col("row_a").alias("row_b"), "relation", "similarity"),
    ]).with_columns(pl.col("relation").cast(pl.String))  # fmt: skip
    # the kept row: the one others are dropped for, else the one that an earlier run holds, else the first
    named = (
        inside.drop_nulls("keep_row_id").group_by("cluster_id").agg(pl.col("keep_row_id").mode().min().alias("kept"))
    )
    known = pl.col("row_id").is_in(copied_rows(run))
    first = inside.group_by("cluster_id").agg(
        pl.coalesce(pl.col("row_id").filter(known).min(), pl.col("row_id").min()).alias("first"),
        known.any().alias("known"),
        pl.len().alias("members"),
    )
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
    for cluster_id, kept_id, count, known_there in shown.select("cluster_id", "kept", "members", "known").iter_rows():
        mine = linked.filter(pl.col("cluster_id") == cluster_id)
        mine = mine.sort(pl.col("relation") == "same_both", "similarity", "row_id", nulls_last=True)
        mine = mine.head(MEMBERS_PER_CLUSTER)
        evidence.load([kept_id, *mine["row_id"]])
        beside = tuple(
            Member(row_id, where[row_id], relation or "", math.nan if similarity is None else similarity,
                   evidence.difference(kept_id, row_id) if relation != "same_both" else None,
                   because or "", action != "drop")
            for row_id, relation, similarity, because, action
            in mine.select("row_id", "relation", "similarity", "kept_because", "action").iter_rows()
        )  # fmt: skip
        out.append(Cluster(count, kept_id, where[kept_id], evidence.prompt(kept_id), beside, known_there))
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
    spans = spans.filter(PRIVATE)
    both = spans.select("row_id", "rule_id", "kind", unread=pl.lit(False))
    if run.has_table("unread"):
        beside = run.read_table("unread", ["row_id", "rule_id", "kind"]).with_columns(unread=pl.lit(True))
        both = pl.concat([both, beside.with_columns(pl.col("rule_id", "kind").cast(pl.String))])
    in_unread = pl.col("row_id").filter("unread")
    per_rule = both.group_by("kind", "rule_id").agg(
        pl.len().alias("findings"),
        pl.col("row_id").n_unique().alias("rows"),
        pl.col("unread").sum().cast(pl.Int64),
        in_unread.unique().sort().head(EXAMPLES_PER_RULE).alias("unread_rows"),
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
    folders = run.read_json("scan.json").get("settings", {}).get("rules", ())
    return tuple(
        Finding(
            rule_id,
            kind,
            count,
            touched,
            unread,
            tuple(first),
            tuple(examples.get(rule_id, ())),
            said_of(rule_id, folders),
        )
        for kind, rule_id, count, touched, unread, first in per_rule.iter_rows()
    )
