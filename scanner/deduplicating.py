"""Duplicates alone (`scan duplicates`): files in, groups of rows out. Nothing is stored and nothing is predicted.

    files -> rows and fingerprints -> exact copies, templates, verified near copies -> groups with the row to keep

These are the first stages of an audit, with as few permutations as pairs at Jaccard .8 need, and the text of the few
rows that are looked at is read from the input again. benchmarks/duplicates measures this function beside other tools.
What may be dropped, which row stays and why are an audit's own decisions (scanner/planning/dropping.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from scanner import (
    choosing,
    earlier,
    figures,
    formats,
    ingest,
    inputs,
    keeping,
    memory,
    planning,
    running,
    stages,
    tables,
)
from scanner.errors import OutputError
from scanner.figures import percent, plural
from scanner.inplace import TextInPlace
from scanner.mapped import steady
from scanner.objects import Clusters, Rows, Skip, Source
from scanner.pairing import NO_PAIRS
from scanner.planning.dropping import dropped_rows, spared_rows
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.stages import Likeness
from scanner.store import RunFolder
from scanner.storedtext import HasText
from scanner.text import one_line
from scanner.writing import write_table

PERMUTATIONS = 32
"""8 bands of 4 catch a pair at Jaccard .8 as surely (.985) as the 18 bands of 7 that 128 make. An audit needs 128 for
its pairs at .5, and stores them for later runs."""
ALONE = Settings(floor=0.8, jaccard=0.8, permutations=PERMUTATIONS)
"""Pairs below the threshold are not looked for: an audit counts them in its prediction, and drops the few of them that
punctuation alone keeps apart; for groups of rows it is hardly worth the time."""
ENDINGS = (".parquet", ".csv")
LARGEST = 3
"""Clusters that are shown by the places of their rows, and ..."""
PLACES = 6
"""... rows of each."""
SOURCES = 10
"""Inputs that are counted apart on the screen."""


@dataclass(frozen=True)
class Duplicates:
    """What was found; arrays are over the rows that were read, in their order."""

    rows: Rows
    sources: list[Source]
    skips: list[Skip]  # records that could not be read, and why
    likeness: Likeness
    clusters: Clusters
    text: HasText
    preferred: keeping.Preference  # the order in which rows stay
    settings: Settings

    def frame(self) -> pl.DataFrame:
        """One line per row: row_id, source, line, group (null where it is in none), kept."""
        rows, group = self.rows, self.clusters.cluster
        return pl.DataFrame({
            "row_id": rows.row_id,
            "source": np.array([s.name for s in self.sources], dtype=object)[rows.source],
            "line": rows.place,
            "group": pl.Series(group).replace(-1, None),
            "kept": self.clusters.keep == np.arange(len(rows)),
        }, schema_overrides={"source": pl.String})  # fmt: skip

    def members(self) -> pl.DataFrame:
        """One line per row that is in a cluster, cluster by cluster, the row at its centre first.

        row_id · source, line: where it stands · cluster_id, cluster_size · action: keep, or drop if an audit would ·
        of dropped rows: keep_row_id, keep_source, keep_line: the row that stays · rule_id: duplicates/exact or
        duplicates/near · why: what was verified between the two · kept_because: why that one stays.
        """
        places = self._places()
        clusters, number = self.clusters, np.arange(len(self.rows))
        table = places.with_columns(
            cluster_id=clusters.cluster, cluster_size=clusters.size, _first=clusters.keep != number
        )
        kept = places.select(keep_row_id="row_id", keep_source="source", keep_line="line")
        dropped, spared = dropped_rows(self._findings, self.settings), spared_rows(self._findings, self.settings)
        return (
            table.filter(pl.col("cluster_id") >= 0)
            .join(dropped, on="row_id", how="left", maintain_order="left")
            .join(kept, on="keep_row_id", how="left", maintain_order="left")
            .join(spared, on="row_id", how="left", maintain_order="left")
            .sort("cluster_id", "_first", "row_id")
            .select(
                "row_id", "source", "line", "cluster_id", "cluster_size", pl.col("action").fill_null("keep"),
                "keep_row_id", "keep_source", "keep_line", "rule_id", pl.coalesce("why", "spared").alias("why"),
                "kept_because",
            )
        )  # fmt: skip

    def pairs(self) -> pl.DataFrame:
        """One line per verified pair at or above `settings.floor`: where both rows stand, and columns of pairs.parquet.

        All of them between different texts, and those of each dropped row with the row kept for it.
        """
        measured = ["similarity", "containment_ab", "containment_ba", "prompt_similarity", "answer_similarity"]
        table = self._verified
        for side in "ab":
            own = self._places().select(pl.all().name.suffix(f"_{side}")).rename({f"row_id_{side}": f"row_{side}"})
            table = table.join(own, on=f"row_{side}", how="left", maintain_order="left")
        return table.select(
            "row_a", "source_a", "line_a", "row_b", "source_b", "line_b", "signal", "relation", *measured
        )

    def in_words(self) -> str:
        """Lines for the screen: what was read, how many rows are in clusters, what an audit would do with them."""
        members, rows = self.members(), len(self.rows)
        dropped = members.filter(pl.col("action") == "drop")
        number = members["cluster_id"].n_unique()
        lines = [f"{plural(rows, 'row')} from {plural(len(self.sources), 'input')}{self._unread()}"]
        alike = f"Jaccard {self.settings.jaccard:g} or more"
        if not number:
            lines.append(f"No duplicates: no two rows are the same, or near copies ({alike})")
            return "\n".join([*lines, *self._other()])
        exact = dropped.filter(pl.col("rule_id") == "duplicates/exact").height
        lines += [
            f"{plural(len(members), 'row')} ({percent(len(members) / rows)}) in {plural(number, 'cluster')} of copies "
            f"and near copies ({alike})",
            f"an audit would keep {len(members) - len(dropped):,} of them and drop {len(dropped):,}: "
            f"{plural(exact, 'exact copy', 'exact copies')}, "
            f"{plural(len(dropped) - exact, 'near copy', 'near copies')}",
            keeping.in_words(self.settings.keep_policy, self.settings.keep),
        ]
        brake = planning.brake(self._actions(dropped), self.rows.source, self.settings, [s.name for s in self.sources])
        lines += [f"{sentence}, so that its plan would not be applied" for sentence in brake]
        if cut := self.likeness.notes["minhash"]["pairs_not_compared_at_least"]:
            told = f"{plural(cut, 'pair')} or more were not compared, of rows that share much with many others"
            lines.append(f"at least so many: {told}")
        lines += self._other()
        if len(self.sources) > 1:
            lines += self._by_source(members)
        lines += [
            *self._largest(members),
            "nothing was removed: scan DATASET --fix FILE audits and writes cleaned data",
        ]
        return "\n".join(line if line.startswith(" ") else line[:1].upper() + line[1:] for line in lines)

    def _other(self) -> list[str]:
        """Pairs as alike as copies that are none, since --pairs lists them too."""
        near = self.likeness.near
        copies = planning.may_drop(self.settings.changed(drop_semantic=False))
        other = near.filter((pl.col("similarity") >= self.settings.jaccard) & ~copies).height
        if not other:
            return []
        are = "is none" if other == 1 else "are none"
        return [f"{plural(other, 'pair')} of that likeness {are}: answers, context or what a template is given differ"]

    def _unread(self) -> str:
        if not self.skips:
            return ""
        first = self.skips[0]
        reason = one_line(f"{first.file}:{first.line} {first.reason}", 120)
        return f"; {plural(len(self.skips), 'record')} could not be read (the first: {reason})"

    def _by_source(self, members: pl.DataFrame) -> list[str]:
        """How much of each input, those with most to drop first."""
        found = members.group_by("source").agg(pl.len().alias("inside"), (pl.col("action") == "drop").sum())
        total = self.frame()["source"].value_counts(name="rows")
        table = (
            total.join(found, on="source", how="left").fill_null(0).sort(["action", "source"], descending=[True, False])
        )
        lines = [
            f"  {one_line(name, 60)}: {inside:,} of {plural(rows, 'row')} in clusters, {gone:,} to drop"
            for name, rows, inside, gone in table.head(SOURCES).iter_rows()
        ]
        more = len(table) - SOURCES
        return [*lines, f"  and {plural(more, 'more input')}"] if more > 0 else lines

    def _largest(self, members: pl.DataFrame) -> list[str]:
        """The rows of the largest clusters; by row_id, since all records of a file may stand in its first line."""
        largest = (
            members.group_by("cluster_id", maintain_order=True)
            .agg(
                pl.col("cluster_size").first(),
                pl.col("row_id").head(PLACES),
                pl.col("source").unique(maintain_order=True),
            )
            .sort("cluster_size", descending=True, maintain_order=True)
        )
        lines = []
        for _, size, row_ids, names in largest.head(LARGEST).iter_rows():
            more = ", …" if size > len(row_ids) else ""
            others = f" and {plural(len(names) - 1, 'more input')}" if len(names) > 1 else ""
            lines.append(f"  {size:,} rows: {', '.join(map(str, row_ids))}{more} of {one_line(names[0], 60)}{others}")
        return ["the largest clusters, by row_id:", *lines]

    def _actions(self, dropped: pl.DataFrame) -> pl.DataFrame:
        """row_id, action, rule_id of every row, as in plan.parquet."""
        actions = dropped.select("row_id", "action", "rule_id")
        return (
            self._places()
            .select("row_id")
            .join(actions, on="row_id", how="left", maintain_order="left")
            .with_columns(pl.col("action").fill_null("keep"))
        )

    def _places(self) -> pl.DataFrame:
        """row_id, source, line of every row."""
        return self.frame().select("row_id", "source", "line")

    @cached_property
    def _verified(self) -> pl.DataFrame:
        return tables.pairs_table(self.rows, self.likeness, self.clusters, NO_PAIRS, NO_PAIRS)

    @cached_property
    def _findings(self) -> planning.Findings:
        """What decides on dropping; private data, predictions and features play no part in that."""
        none = pl.DataFrame()
        return planning.Findings(self.rows, self.clusters, self._verified, none, none, none, self.preferred)


def find_duplicates(
    datasets: Sequence[str | Path],
    settings: Settings = ALONE,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Groups of rows that are copies or verified near copies of a kept row, at `settings.jaccard` or above.

    datasets: files, folders, patterns, or "-" alone for JSONL on standard input (copied into a temporary file) ·
    folder: where a run folder with the text of all rows is made; None: nothing is stored. Without `settings` pairs are
    verified from Jaccard .8 on, and only these are known; `scan duplicates` verifies them from .5 on (--floor).
    """
    progress = progress or Progress()
    threads = running.thread_count(settings.threads)
    memory.reuse()
    # looking for garbage in circles took a tenth of a second at 300,000 rows whenever its turn came
    with running.uncollected(), inputs.at_hand([str(file) for file in datasets]) as files:
        sources, left_out = formats.survey(files)
        for line in figures.left_out(left_out):
            progress.say(line)
        keeping.check_sources(keeping.parse(settings.keep_policy), [s.name for s in sources])
        text = RunFolder.open_for_writing(folder) if folder else TextInPlace()
        with steady(sources):  # where no text is kept it is read again
            with progress.stage("read and fingerprint"):
                printer = stages.fingerprinter(settings)
                rows, skips = ingest.read_all(sources, text, settings, threads, printer=printer)
                prints = printer.whole()
            for line in figures.tolerated(damage._asdict() for damage in rows.damage):
                progress.say(line)
            likeness = stages.find_likeness(text, rows, prints, settings, threads, progress)
            choice = choosing.find_clusters(
                text, rows, prints, likeness, NO_PAIRS, earlier.NONE, sources, settings, progress
            )  # fmt: skip
    return Duplicates(rows, sources, skips, likeness, choice.clusters, text, choice.preferred, settings)


def duplicates(
    datasets: Sequence[str | Path],
    settings: Settings,
    output: Path | None = None,
    pairs: Path | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Find the duplicates that an audit with these settings would find by words, and write tables (`scan duplicates`).

    output: where `Duplicates.members` goes, pairs: where `Duplicates.pairs` goes, as .parquet or .csv. Raises
    OutputError for another ending, and where an input would be overwritten.
    """
    for path in (output, pairs):
        if path and path.suffix not in ENDINGS:
            raise OutputError(f"{path}: expected a name that ends in {' or '.join(ENDINGS)}")
    if output and pairs and output.resolve() == pairs.resolve():
        raise OutputError(f"{output} is named for the rows and for the pairs; expected two names")
    found = find_duplicates(datasets, settings, progress=progress)
    read = {source.path.resolve() for source in found.sources}
    for path, table in ((output, found.members), (pairs, found.pairs)):
        if path:
            if path.resolve() in read:
                raise OutputError(f"{path} is one of the inputs; expected another name, so that the original stays")
            write_table(path, table())
    return found
