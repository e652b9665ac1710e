"""Duplicates alone, from Python: files in, groups of rows out. Nothing is stored and nothing is predicted.

    files -> rows and fingerprints -> exact copies, templates, verified near copies -> groups with the row to keep

These are the first stages of an audit, with as few permutations as pairs at Jaccard .8 need, and the text of the few
rows that are looked at is read from the input again. benchmarks/duplicates measures this function beside other tools.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from scanner import earlier, formats, ingest, keeping, memory, stages
from scanner.inplace import TextInPlace
from scanner.objects import Clusters, Rows, Skip, Source
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.stages import NO_PAIRS, Likeness
from scanner.store import HasText, RunFolder

PERMUTATIONS = 32
"""8 bands of 4 catch a pair at Jaccard .8 as surely (.985) as the 18 bands of 7 that 128 make. An audit needs 128 for
its pairs at .5, and stores them for later runs."""
ALONE = Settings(floor=0.8, jaccard=0.8, permutations=PERMUTATIONS)
"""Pairs below the threshold are not looked for: an audit counts them in its prediction, here nobody asks."""


@dataclass(frozen=True)
class Duplicates:
    """What was found; arrays are over the rows that were read, in their order."""

    rows: Rows
    sources: list[Source]
    skips: list[Skip]  # records that could not be read, and why
    likeness: Likeness
    clusters: Clusters
    text: HasText

    def frame(self) -> pl.DataFrame:
        """One line per row: row_id, source, line, group (null where it is in none), kept."""
        rows, group = self.rows, self.clusters.cluster
        return pl.DataFrame({
            "row_id": rows.row_id,
            "source": np.array([s.name for s in self.sources], dtype=object)[rows.source],
            "line": rows.line,
            "group": pl.Series(group).replace(-1, None),
            "kept": self.clusters.keep == np.arange(len(rows)),
        }, schema_overrides={"source": pl.String})  # fmt: skip


def find_duplicates(
    inputs: Sequence[str | Path],
    settings: Settings = ALONE,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Groups of rows that are copies or verified near copies of a kept row, at `settings.jaccard` or above.

    folder: where a run folder with the text of all rows is made; None: nothing is stored.
    """
    progress = progress or Progress()
    threads = settings.threads or os.cpu_count() or 1
    memory.reuse()
    sources = formats.discover([str(file) for file in inputs])
    keeping.check_sources(keeping.parse(settings.keep_policy), [s.name for s in sources])
    text = RunFolder.open_for_writing(folder) if folder else TextInPlace()
    with progress.stage("read and fingerprint"):
        printer = stages.fingerprinter(settings)
        rows, skips = ingest.read_all(sources, text, settings, threads, printer=printer)
        prints = printer.whole()
    likeness = stages.find_likeness(text, rows, prints, settings, threads, progress)
    choice = stages.find_clusters(
        text, rows, prints, likeness, NO_PAIRS, earlier.NONE, sources, settings, progress
    )  # fmt: skip
    return Duplicates(rows, sources, skips, likeness, choice.clusters, text)
