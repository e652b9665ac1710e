"""The tables of a run, put together from what the stages found.

Columns are DESIGN's contract; more may be added, none renamed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import polars as pl

from scanner import earlier, keyed, matching, outcome, rulebook
from scanner.jsontext import NOT_UTF8
from scanner.objects import Clusters, Fingerprints, Float64, Rows, Skip, Source
from scanner.pairing import places
from scanner.predicting import Predicted, patterns_of
from scanner.settings import Settings
from scanner.stages import Likeness, Meaning, Passages, Wrapping
from scanner.store import RunFolder
from scanner.writing import write_bytes


def pairs_table(
    rows: Rows, likeness: Likeness, clusters: Clusters, semantic: pl.DataFrame, sides: pl.DataFrame
) -> pl.DataFrame:
    """pairs.parquet: every verified pair, the pair of each dropped row with the row kept for it, and shared sides."""
    table = pl.concat([likeness.exact, likeness.near, semantic], how="diagonal")
    # A near pair stands between two texts; where these have copies, the dropped copy and the kept one are a pair too.
    # So do all rows that are the same up to case and spacing.
    texts, normal = likeness.texts.group, likeness.normal.group
    gone = np.flatnonzero(clusters.keep != np.arange(len(rows)))
    kept = clusters.keep[gone]
    a, b = np.minimum(gone, kept), np.maximum(gone, kept)
    lines = pl.DataFrame(
        {
            "row_a": rows.row_id[a],
            "row_b": rows.row_id[b],
            "text_a": normal[a],
            "text_b": normal[b],
            "same": texts[a] == texts[b],
        }
    ).join(table.filter(pl.col("signal") != "semantic"), on=["row_a", "row_b"], how="anti")
    one = pl.lit(1.0, pl.Float32)
    equal = lines.filter("same").with_columns(
        signal=pl.lit("exact"), relation=pl.lit("same_both"), similarity=one, containment_ab=one, containment_ba=one
    )
    known = likeness.near.with_columns(
        text_a=pl.Series(normal[places(rows.row_id, likeness.near["row_a"])], dtype=pl.Int64),
        text_b=pl.Series(normal[places(rows.row_id, likeness.near["row_b"])], dtype=pl.Int64),
    )
    swapped = {"text_a": "text_b", "text_b": "text_a"}
    for name in ("containment", "answer_containment"):
        swapped |= {f"{name}_ab": f"{name}_ba", f"{name}_ba": f"{name}_ab"}
    either_way = pl.concat([known, known.rename(swapped).select(known.columns)])
    between = either_way.drop("row_a", "row_b").unique(["text_a", "text_b"], keep="first", maintain_order=True)
    across = lines.filter(~pl.col("same")).join(between, on=["text_a", "text_b"], how="inner", maintain_order="left")
    table = pl.concat(
        [table, *(part.select(c for c in part.columns if c in table.columns) for part in (equal, across))],
        how="diagonal",
    )
    table = pl.concat([table, sides], how="diagonal")  # last: where the rows are a pair already, that one stays
    return table.unique(["row_a", "row_b", "signal"], keep="first", maintain_order=True).sort(
        "row_a", "row_b", "signal"
    )


def with_passages(pairs: pl.DataFrame, passages: Passages) -> pl.DataFrame:
    """pairs.parquet with the rows that share a long passage."""
    return pl.concat([pairs, passages.pairs], how="diagonal").sort("row_a", "row_b", "signal")


def all_spans(private: pl.DataFrame, passages: Passages, memorized: pl.DataFrame) -> pl.DataFrame:
    """spans.parquet: what the rules found, what is repeated and what would be memorized, by place."""
    both = pl.concat([private, passages.spans, memorized], how="diagonal")
    return both.sort("row_id", "segment", "start", "end", "rule_id")


def rows_table(
    rows: Rows,
    sources: list[Source],
    prints: Fingerprints,
    likeness: Likeness,
    clusters: Clusters,
    quality: np.ndarray,
    spans: pl.DataFrame,
    wrapping: Wrapping,
    meaning: Meaning,
    predicted: Predicted,
    related: list[pl.DataFrame],
) -> pl.DataFrame:
    """rows.parquet: where each row stands, and every feature as family.name."""
    from scanner.features import copies, length

    names = pl.Series([s.name for s in sources], dtype=pl.String)
    layouts = pl.Series(rows.layout, dtype=pl.String)
    at = pl.Series(rows.source.astype(np.uint32))
    place = pl.DataFrame(
        {
            "row_id": rows.row_id,
            "source": names.gather(at),
            "line": rows.place,
            "byte_offset": rows.start,
            "content_hash": keyed_hashes(rows),
            "layout": layouts.gather(at),
            "turns": rows.turns,
            "prompt_chars": prints.prompt_chars,
            "response_chars": prints.response_chars,
            "cluster_id": pl.Series(clusters.cluster).replace(-1, None),
            "cluster_size": clusters.size,
            "copies_exact": likeness.records.size,
        }
    )
    frames = [
        copies.features(likeness.texts, likeness.normal, predicted.near_mass),
        *related,
        length.features(prints),
        pl.DataFrame({"quality.score": pl.Series(quality, dtype=pl.Float32)}),
        patterns_of(spans, rows),
        wrapping.features,
        *meaning.features,
        predicted.features,
    ]
    return pl.concat([place, *frames], how="horizontal")


def with_field(table: pl.DataFrame, field_rank: Float64 | None) -> pl.DataFrame:
    """rows.parquet with the ranks of --keep-policy field:NAME as keep.field; without them for other policies."""
    table = table.drop("keep.field", strict=False)
    if field_rank is None:
        return table
    return table.with_columns(pl.Series("keep.field", field_rank, dtype=pl.Float32))


def keyed_hashes(rows: Rows) -> list[str]:
    """(n,) content hashes for publication, keyed by the content of the whole data set.

    The key is a hash of the sum of all records' digests: the same for any order of rows, and known only to who has
    every record, so that nobody can test a guessed record against a published table.
    """
    key = hashlib.blake2b(keyed.content_of(rows), person=b"sftscan rows").digest()
    raw = np.ascontiguousarray(rows.digest).tobytes()
    return [hashlib.blake2b(raw[i : i + 16], key=key, digest_size=16).hexdigest() for i in range(0, len(raw), 16)]


def write_skips(run: RunFolder, skips: list[Skip]) -> None:
    """skipped.jsonl without text, and the raw beginnings of the records under private/."""
    public = [{"row_id": s.row_id, "file": s.file, "line": s.line, "reason": s.reason} for s in skips]
    raw = [{"row_id": s.row_id, "raw": s.raw.decode("utf-8", "replace")} for s in skips]
    for path, entries in ((run.path / "skipped.jsonl", public), (run.private / "skipped.jsonl", raw)):
        write_bytes(path, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries).encode())


def describe_inputs(sources: list[Source], digests: list[str], rows: Rows, skips: list[Skip]) -> list[dict[str, Any]]:
    """The inputs as scan.json names them."""
    by_file: dict[str, int] = {}
    rows_of = np.bincount(rows.source, minlength=len(sources))
    lines: dict[str, list[int]] = {s.name: [] for s in sources}  # of the first row, and of what was skipped
    for index, at in zip(*np.unique(rows.source, return_index=True), strict=True):
        lines[sources[index].name].append(int(rows.line[at]))
    for skip in skips:
        by_file[skip.file] = by_file.get(skip.file, 0) + 1
        lines.setdefault(skip.file, []).append(skip.line)
    return [
        {
            "index": s.index,
            "path": str(s.path),
            "name": s.name,
            "member": s.member,
            "format": s.format,
            "compression": s.compression,
            "bytes": s.bytes_on_disk,
            "bytes_on_disk": s.bytes_on_disk,
            "sha256": digest,
            "layout": rows.layout[s.index],
            "first_row": rows.first_row[s.index],
            "first_line": min(lines[s.name], default=None),
            "rows_read": int(rows_of[s.index]),
            "rows_skipped": by_file.get(s.name, 0),
        }
        for s, digest in zip(sources, digests, strict=True)
    ]


def summary(run: RunFolder, notes: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The figures of the run, from its tables."""
    from scanner.reports import summarise

    rows, pairs, spans, predicted, plan, unread = (
        run.read_table(name) for name in ("rows", "pairs", "spans", "prediction", "plan", "unread")
    )
    counts: dict[str, Any] = {"jaccard": settings.jaccard, "contamination": matching.summary(run, notes)}
    counts["looked_for"] = sorted(rule.id for rule in rulebook.load(settings.rules).rules)
    with (run.path / "skipped.jsonl").open("rb") as skipped:
        counts["rows_skipped"] = sum(1 for _ in skipped)
    counts["rows_not_utf8"] = sum(d["records"] for d in notes.get("reading", []) if d["what"] == NOT_UTF8)
    counts["confirmed"] = outcome.summarised(run, settings)
    counts["calibration"] = notes.get("prediction", {}).get("calibration")
    if notes.get("against"):
        matches = run.read_table("matches")
        counts["earlier"] = earlier.summarise(matches, notes["against"], len(rows), settings.jaccard)
    return summarise(rows, pairs, spans, predicted, plan, notes, counts, unread)
