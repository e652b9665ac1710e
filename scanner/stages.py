"""The stages of an audit as the pipeline calls them: each brings its parts together and reports progress.

What flows between stages that must not know one another is put together here, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from scanner import mapped
from scanner.embedding import Encoders
from scanner.fingerprints import Fingerprinter, fingerprint
from scanner.objects import Clusters, Fingerprints, Groups, Rows, Skip, Source
from scanner.pairing import NO_PAIRS, table_of
from scanner.progress import Progress
from scanner.running import submitting
from scanner.settings import Settings
from scanner.signatures import Index
from scanner.store import RunFolder
from scanner.storedtext import HasText
from scanner.templating import Marked

if TYPE_CHECKING:
    from scanner.signals.minhash import NearPairs
    from scanner.wording import Wording

SIGNATURE_SEED = 1
"""Seed of the MinHash permutations, datasketch's default; fixed, so that runs can be compared."""


@dataclass(frozen=True)
class Likeness:
    """What exact and near duplicates gave."""

    records: Groups
    texts: Groups
    normal: Groups
    exact: pl.DataFrame  # as in pairs.parquet
    near: pl.DataFrame  # as in pairs.parquet
    templates: Marked | None  # None where no source has one
    notes: dict[str, Any]


@dataclass(frozen=True)
class Wrapping:
    """What is told of templates."""

    patterns: pl.DataFrame  # templates.parquet
    features: pl.DataFrame
    notes: dict[str, Any]


@dataclass(frozen=True)
class Meaning:
    """What embeddings gave; empty with --no-semantic."""

    pairs: pl.DataFrame  # as in pairs.parquet
    features: list[pl.DataFrame]
    notes: dict[str, Any]


@dataclass(frozen=True)
class Passages:
    """What repeated passages gave; empty with --span-tokens 0."""

    spans: pl.DataFrame  # as in spans.parquet
    pairs: pl.DataFrame  # as in pairs.parquet
    features: pl.DataFrame
    notes: dict[str, Any]


def read(
    run: RunFolder,
    sources: list[Source],
    settings: Settings,
    threads: int,
    identity: str,
    progress: Progress,
    hashed: mapped.State | None = None,
) -> tuple[Rows, list[Skip], Fingerprints]:
    """Read the inputs and fingerprint every row, or take over what an interrupted run of the same has read.

    hashed: the files as they were when `identity` was made of them; InputError where they are no longer so.
    """
    from scanner import ingest, resuming

    state = run.private / "ingested.json"
    arrays = run.private / "rows.npz"
    if state.exists() and json.loads(state.read_text("utf-8"))["identity"] == identity:
        progress.say("the text was read by an earlier, interrupted run; going on from there")
        rows = resuming.load_rows(arrays)
        with progress.stage("fingerprint", len(rows)):
            shape = settings.shingle, settings.permutations, SIGNATURE_SEED
            prints = fingerprint(run.segments(), len(rows), *shape, threads, progress.advance)
        return rows, resuming.load_skips(state), prints
    total = sum(s.bytes_on_disk for s in sources)
    with progress.stage("read and fingerprint", total):
        done = {s.index: 0 for s in sources}

        def advance(source: Source, rows: int, byte: int) -> None:
            step = max(0, min(byte, source.bytes_on_disk) - done[source.index])
            done[source.index] += step
            progress.advance(step)

        printer = fingerprinter(settings)
        with mapped.steady(sources, hashed):
            rows, skips = ingest.read_all(sources, run, settings, threads, advance, printer, unread_too=True)
        resuming.save_rows(arrays, rows)
        resuming.save_skips(state, skips, identity)
    return rows, skips, printer.whole()


def fingerprinter(settings: Settings) -> Fingerprinter:
    """What makes signatures, hashes and counts of every row while its text is read."""
    return Fingerprinter(settings.shingle, settings.permutations, SIGNATURE_SEED)


def find_likeness(
    run: HasText, rows: Rows, prints: Fingerprints, settings: Settings, threads: int, progress: Progress
) -> Likeness:
    """Exact duplicates, templates, then verified near duplicates; rows that follow a template by their payload."""
    from scanner import families, planning, templating, wording
    from scanner.signals import exact, group_by, minhash

    reader = run.segments()
    bands = minhash.choose_bands(settings.permutations, settings.jaccard, settings.recall, settings.floor)
    with progress.stage("find duplicates and templates", bands.bands), submitting(threads) as submit:
        learned = submit(templating.find, reader, rows, prints, settings.shingle, threads)
        normal = group_by(prints.normal)
        records = exact.same_record(rows)
        texts = exact.same_text(normal, reader, threads)
        same = exact.pairs(rows, records, texts)
        proposed = minhash.propose(rows, prints, normal, bands, threads, progress.advance)
        equal = table_of(same)
        templates = learned.result()
    with progress.stage("verify near duplicates"):
        near = minhash.find(
            rows, prints, reader, proposed, texts=texts,
            jaccard=settings.jaccard, floor=settings.floor, recall=settings.recall, width=settings.shingle,
            threads=threads, payload=minhash.Payload(templates.sketched, templates.sketch) if templates else None,
        )  # fmt: skip
        wanted = near.same_context & (near.pairs.similarity >= settings.floor)
        alike = wording.compare(reader, rows, prints, templates, near.a, near.b, wanted, settings.shingle, threads)
        table = _near_table(near, alike)
        droppable = table.select(planning.may_drop(settings.changed(drop_semantic=False))).to_series().to_numpy()
        rarer = families.find(reader, rows, prints, near.a, near.b, droppable, settings.shingle, threads)
        if rarer is not None:
            alike = families.compare(reader, prints, rarer, alike, near.a, near.b, settings.shingle, threads)
            table = _near_table(near, alike)
    notes = {"exact": same.notes, "minhash": near.pairs.notes}
    return Likeness(records, texts, normal, equal, table, templates, notes)


def _near_table(near: NearPairs, alike: Wording) -> pl.DataFrame:
    """Verified pairs with all that decides on dropping, as in pairs.parquet."""
    return table_of(near.pairs).hstack([
        pl.Series("prompt_similarity", near.prompt_jaccard, pl.Float32),
        pl.Series("answer_similarity", near.answer_jaccard, pl.Float32),
        pl.Series("answer_containment_ab", near.answer_containment[:, 0], pl.Float32),
        pl.Series("answer_containment_ba", near.answer_containment[:, 1], pl.Float32),
        pl.Series("same_context", near.same_context, pl.Boolean),
        pl.Series("payload_similarity", alike.payload, pl.Float32),
        pl.Series("words_similarity", alike.words, pl.Float32),
    ])  # fmt: skip


def describe_templates(
    run: RunFolder, rows: Rows, prints: Fingerprints, likeness: Likeness, sources: list[str], progress: Progress
) -> Wrapping:
    """The templates found, as tables."""
    from scanner.features import templates as features

    with progress.stage("describe templates"):
        patterns, covering = features.patterns(run.segments(), rows, likeness.templates, sources)
        told = features.told(rows, likeness.templates, patterns, sources)
        return Wrapping(patterns, features.features(prints, likeness.templates, covering), {"templates": told})


def compare_with_earlier(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    likeness: Likeness,
    indexes: Sequence[Index],
    settings: Settings,
    threads: int,
    progress: Progress,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Matches with earlier runs, and this run's own index for later ones."""
    from scanner import against, signatures

    opening = signatures.openings(run.segments(), rows, prints)
    with progress.stage("write the index"):
        against.write_index(run, rows, prints, opening, likeness.notes["minhash"], SIGNATURE_SEED, indexes)
    return against.find(run, rows, prints, opening, indexes, settings, SIGNATURE_SEED, threads, progress)


def find_spans(
    run: RunFolder, settings: Settings, threads: int, progress: Progress
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Private data and secrets by the rules: spans.parquet, and unread.parquet for fields that no trainer reads."""
    from scanner import unread

    with progress.stage("find private data and secrets"):
        return unread.find(run, settings, threads)


def find_passages(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    clusters: Clusters,
    settings: Settings,
    threads: int,
    progress: Progress,
) -> Passages:
    """Spans of at least --span-tokens tokens that stand in several places, and the rows that share them."""
    from scanner.features import spans
    from scanner.signals import span

    if not settings.span_tokens:
        nothing = {"span": {"measured": False, "reason": "--span-tokens 0"}}
        return Passages(pl.DataFrame(schema=span.SCHEMA), NO_PAIRS, spans.not_measured(len(rows)), nothing)
    with progress.stage("find repeated passages", len(rows)):
        found = span.find(
            rows, prints, clusters, run.segments(),
            width=settings.span_tokens, threads=threads, advance=progress.advance,
        )  # fmt: skip
        features = spans.features(prints, found.covered, found.leaked, found.longest)
    pairs = table_of(found.pairs).with_columns(
        answer_containment_ab=pl.Series(found.answer_ab, dtype=pl.Float32),
        answer_containment_ba=pl.Series(found.answer_ba, dtype=pl.Float32),
    )
    return Passages(found.spans, pairs, features, {"span": {"measured": True, **found.pairs.notes}})


def find_meaning(
    run: RunFolder,
    rows: Rows,
    sources: list[str],
    likeness: Likeness,
    encoders: Encoders,
    settings: Settings,
    threads: int,
    progress: Progress,
) -> Meaning:
    """Semantic neighbours and what follows from them; nothing but a note with --no-semantic."""
    if not settings.semantic:
        return Meaning(NO_PAIRS, [], {"semantic": {"measured": False, "reason": "--no-semantic"}})
    from scanner import confirming, embedding, neighbourhoods
    from scanner.features import density
    from scanner.signals import semantic

    encoder = encoders.embedder()
    with progress.stage("embed", 2 * len(rows)):
        full = embedding.encode(run.segments(), rows.row_id, encoder, "full", threads, progress.advance)
        prompt = embedding.encode(run.segments(), rows.row_id, encoder, "input", threads, progress.advance)
    with progress.stage("compare prompts with whole rows"):
        gaps = neighbourhoods.embedding_gap(
            full.vectors, prompt.vectors, full.measured & prompt.measured, rows.source, len(rows.layout)
        )
    del prompt  # as large as `full`, and the search needs the room
    with progress.stage("find semantic neighbours", len(rows)):
        near = semantic.search(full, rows.content_order, settings.neighbours, threads, settings.seed)
        pairs = semantic.pairs(near, rows.row_id, settings.cosine)
    proposed = np.full(len(pairs), np.nan)
    if (confirmer := encoders.confirmer()) is not None:
        pairs, proposed = confirming.confirm(
            list(run.segments()), rows, full, near, likeness.texts.group, likeness.near, confirmer, settings, threads,
            progress,
        )  # fmt: skip
    table = table_of(pairs).with_columns(proposal_cosine=pl.Series(proposed, dtype=pl.Float32, nan_to_null=True))
    copies = [likeness.exact, confirming.copies_of(likeness.near, settings)]
    table = confirming.with_differences(table, run.segments(), copies, progress)
    with progress.stage("measure density"):
        around = pl.DataFrame(density.summarise(near).columns())
    notes = {
        "semantic": {"measured": True, **full.notes, **near.notes, **pairs.notes},
        "embedding_gap": [
            {"source": source, "rows": int(count), "s_input": s_input, "s_full": s_full, "difference": gap}
            for source, count, s_input, s_full, gap in zip(
                sources, gaps.rows, gaps.s_input, gaps.s_full, gaps.difference, strict=True
            )
        ],
    }
    return Meaning(table, [around], notes)
