"""Which rows of each cluster of duplicates stay, and by what they were chosen.

pairs that may be dropped for one another, and an order of all rows -> stars around the rows that stay
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from scanner import earlier, fieldranks, keeping, pairing, planning
from scanner.objects import Clusters, Fingerprints, Groups, Int64, Rows, Source
from scanner.pairing import places
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.stages import Likeness
from scanner.storedtext import HasText


@dataclass(frozen=True)
class Choice:
    """Clusters, the order in which rows stay, and what it was made from."""

    clusters: Clusters
    preferred: keeping.Preference
    quality: np.ndarray  # (n,) NaN for rows in no near pair
    field: fieldranks.FieldRanks | None  # with --keep-policy field: only


def find_clusters(
    run: HasText,
    rows: Rows,
    prints: Fingerprints,
    likeness: Likeness,
    semantic: pl.DataFrame,
    matches: pl.DataFrame,
    sources: list[Source],
    settings: Settings,
    progress: Progress,
) -> Choice:
    """Stars of duplicates around the rows that stay."""
    with progress.stage("cluster"):
        quality = np.full(len(rows), np.nan)
        ends = pl.concat([likeness.near["row_a"], likeness.near["row_b"], semantic["row_a"], semantic["row_b"]])
        alike = places(rows.row_id, ends)
        involved = np.unique(likeness.texts.group[alike])
        if len(involved):
            quality[involved] = _quality_of_answers(run, involved)
            copies = np.flatnonzero(likeness.texts.size > 1)
            quality[copies] = quality[likeness.texts.group[copies]]  # equal text, equal quality
        pairs = pl.concat([likeness.near, semantic], how="diagonal")
        field = None
        if keeping.parse(settings.keep_policy).kind == "field":
            wanted = np.union1d(np.flatnonzero(likeness.texts.size > 1), alike)
            field = read_field(sources, rows.first_row, rows.row_id, wanted, settings)
        preferred = keeping.preference(
            rows, settings.keep_policy, [s.name for s in sources], quality, prints.supervised_tokens,
            field.rank if field else None, is_copied(rows, matches),
        )  # fmt: skip
        return Choice(stars(rows.row_id, likeness.texts, pairs, preferred.rank, settings), preferred, quality, field)


def read_field(
    sources: list[Source], first_rows: Sequence[int], row_id: Int64, wanted: Int64, settings: Settings
) -> fieldranks.FieldRanks:
    """Ranks of the field that --keep-policy names, over the rows that have duplicates (positions)."""
    name = keeping.parse(settings.keep_policy).field
    return fieldranks.read(sources, first_rows, row_id, wanted, name, settings)


def keep_notes(settings: Settings, field: fieldranks.FieldRanks | None) -> dict[str, Any]:
    """What is said about which rows stay."""
    return {"policy": keeping.in_words(settings.keep_policy, settings.keep), **(field.notes if field else {})}


def is_copied(rows: Rows, matches: pl.DataFrame) -> np.ndarray:
    """(n,) whether an earlier run holds the row as it is."""
    if not len(matches):
        return np.zeros(len(rows), np.bool_)
    return np.isin(rows.row_id, earlier.matched_rows(matches)["row_id"].to_numpy())


def findings(
    rows: Rows,
    clusters: Clusters,
    preferred: keeping.Preference,
    pairs: pl.DataFrame,
    spans: pl.DataFrame,
    prediction: pl.DataFrame,
    table: pl.DataFrame,
    matches: pl.DataFrame,
    unread: pl.DataFrame,
) -> planning.Findings:
    """What the plan is made from."""
    copied = earlier.matched_rows(matches)
    return planning.Findings(rows, clusters, pairs, spans, prediction, table, preferred, copied, matches, unread)


def stars(row_id: Int64, texts: Groups, pairs: pl.DataFrame, rank: Int64, settings: Settings) -> Clusters:
    """Clusters around kept rows, from the pairs that may be dropped.

    Rows that are the same up to case and spacing have the same shingles: what was verified for one holds for the other.
    """
    from scanner.clustering import cluster

    chosen = pairs.filter(planning.may_drop(settings))
    twins = (chosen["signal"] == "minhash") & (chosen["relation"] == "same_both")
    if twins.any():
        a, b = pairing.ends(row_id, chosen.filter(twins))
        n = len(row_id)
        texts = pairing.connected(n, np.concatenate((texts.group, a)), np.concatenate((np.arange(n), b)))
    return cluster(texts, *pairing.ends(row_id, chosen), rank)


def _quality_of_answers(run: HasText, positions: Int64) -> np.ndarray:
    """features.quality of the learned text of the rows at these positions (ascending)."""
    from scanner.features.quality import qualities

    some = run.segments().segments_of(positions)
    learned = np.flatnonzero(some.supervised)
    begin, end = some.begin[learned], some.end[learned]
    text = some.data.data
    # a line end after every segment: white space changes no quality
    joined = b"\n".join([text[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)] + [b""])
    ends = np.concatenate(([0], np.cumsum(end - begin + 1)))[np.searchsorted(learned, some.row_start)]
    answers = pa.LargeStringArray.from_buffers(len(positions), pa.py_buffer(ends), pa.py_buffer(joined))
    return qualities(pl.Series(answers))
