"""The stages of an audit as the pipeline calls them: each brings its parts together and reports progress.

What flows between stages that must not know one another is put together here, and nowhere else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner import planning
from scanner.errors import SettingsError
from scanner.objects import Clusters, Fingerprints, Groups, Int64, Pairs, Rows, Skip, Source
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.store import RunFolder

PAIRS_SCHEMA = {
    "row_a": pl.Int64,
    "row_b": pl.Int64,
    "signal": pl.String,
    "relation": pl.String,
    "similarity": pl.Float32,
    "containment_ab": pl.Float32,
    "containment_ba": pl.Float32,
}
SIGNATURE_SEED = 1
"""Seed of the MinHash permutations, datasketch's default; fixed, so that runs can be compared."""
NO_PAIRS = pl.DataFrame(schema=PAIRS_SCHEMA)


@dataclass(frozen=True)
class Likeness:
    """What exact and near duplicates gave."""

    records: Groups
    texts: Groups
    normal: Groups
    exact: pl.DataFrame  # as in pairs.parquet
    near: pl.DataFrame  # as in pairs.parquet
    notes: dict[str, Any]


@dataclass(frozen=True)
class Meaning:
    """What embeddings gave; empty with --no-semantic."""

    pairs: pl.DataFrame  # as in pairs.parquet
    features: list[pl.DataFrame]
    notes: dict[str, Any]


@dataclass(frozen=True)
class Predicted:
    """prediction.parquet and what goes with it."""

    table: pl.DataFrame
    what_if: pl.DataFrame
    features: pl.DataFrame
    near_mass: np.ndarray
    notes: dict[str, Any]
    unit: str


def load_kernels(progress: Progress) -> None:
    """Import every kernel now, so that a first run after an install says what it is doing.

    numba compiles one function at a time per process, so a second process compiles half of the modules meanwhile and
    leaves them in the cache.
    """
    from scanner.kernels import _jit
    from scanner.plugins import load, names

    modules = sorted(names("scanner.kernels"), key=lambda name: -_jit.source_bytes(name))
    if not _jit.is_compiled():
        progress.say("first run after an install: compiling the kernels, once, for about 15 seconds")
        others = ", ".join(f"scanner.kernels.{name}" for name in modules[1::2])
        helper = subprocess.Popen([sys.executable, "-c", f"import {others}"], stderr=subprocess.DEVNULL)
        for name in modules[::2]:
            load("scanner.kernels", name)
        helper.wait()  # if it failed, its half is compiled here
    for name in modules:
        load("scanner.kernels", name)


def read(
    run: RunFolder, sources: list[Source], settings: Settings, threads: int, identity: str, progress: Progress
) -> tuple[Rows, list[Skip]]:
    """Read the inputs, or take over what an interrupted run of the same input and settings has read."""
    from scanner import ingest, resuming

    state = run.private / "ingested.json"
    arrays = run.private / "rows.npz"
    if state.exists() and json.loads(state.read_text("utf-8"))["identity"] == identity:
        progress.say("the text was read by an earlier, interrupted run; going on from there")
        return resuming.load_rows(arrays), resuming.load_skips(state)
    total = sum(s.bytes_on_disk for s in sources)
    with progress.stage("read", total):
        done = {s.index: 0 for s in sources}

        def advance(source: Source, rows: int, byte: int) -> None:
            step = max(0, min(byte, source.bytes_on_disk) - done[source.index])
            done[source.index] += step
            progress.advance(step)

        rows, skips = ingest.read_all(sources, run, settings, threads, advance)
        resuming.save_rows(arrays, rows)
        resuming.save_skips(state, skips, identity)
    return rows, skips


def fingerprint_rows(run: RunFolder, rows: Rows, settings: Settings, threads: int, progress: Progress) -> Fingerprints:
    """Signatures, hashes and counts of every row, in one pass over the text."""
    from scanner.fingerprints import fingerprint

    with progress.stage("fingerprint rows", len(rows)):
        return fingerprint(
            run.segments(),
            len(rows),
            settings.shingle,
            settings.permutations,
            SIGNATURE_SEED,
            threads,
            progress.advance,
        )


def find_likeness(
    run: RunFolder, rows: Rows, prints: Fingerprints, settings: Settings, threads: int, progress: Progress
) -> Likeness:
    """Exact duplicates, then verified near duplicates."""
    from scanner.signals import exact, group_by, minhash

    reader = run.segments()
    with progress.stage("find exact duplicates"):
        records = exact.same_record(rows)
        texts = exact.same_text(rows, prints, reader)
        same = exact.pairs(rows, records, texts)
    bands = minhash.choose_bands(settings.permutations, settings.jaccard, settings.recall, settings.floor)
    with progress.stage("find near duplicates", bands.bands):
        near = minhash.find(
            rows, prints, reader,
            jaccard=settings.jaccard, floor=settings.floor, recall=settings.recall, width=settings.shingle,
            threads=threads, advance=progress.advance,
        )  # fmt: skip
    table = _frame(near.pairs).with_columns(
        prompt_similarity=pl.Series(near.prompt_jaccard, dtype=pl.Float32),
        answer_similarity=pl.Series(near.answer_jaccard, dtype=pl.Float32),
        same_context=pl.Series(near.same_context, dtype=pl.Boolean),
    )
    notes = {"exact": same.notes, "minhash": near.pairs.notes}
    return Likeness(records, texts, group_by(prints.normal), _frame(same), table, notes)


def find_spans(run: RunFolder, settings: Settings, threads: int, progress: Progress) -> pl.DataFrame:
    """spans.parquet: private data and secrets by the rules."""
    from scanner import rulebook

    reader = run.segments()
    with progress.stage("find private data and secrets"):
        return rulebook.load(settings.rules).find(reader.text_frames(), threads)


def find_clusters(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    likeness: Likeness,
    semantic: pl.DataFrame,
    settings: Settings,
    progress: Progress,
) -> tuple[Clusters, np.ndarray]:
    """Stars of duplicates, and the quality of every row in a near pair (NaN for others)."""
    with progress.stage("cluster"):
        quality = np.full(len(rows), np.nan)
        ends = pl.concat([likeness.near["row_a"], likeness.near["row_b"], semantic["row_a"], semantic["row_b"]])
        involved = np.unique(likeness.texts.group[places(rows.row_id, ends)])
        if len(involved):
            quality[involved] = _quality_of_answers(run, rows.row_id[involved])
            quality = quality[likeness.texts.group]  # equal text, equal quality
        rank = planning.priority(rows, settings.keep_policy, np.nan_to_num(quality), prints.supervised_tokens)
        pairs = pl.concat([likeness.near, semantic], how="diagonal")
        return stars(rows.row_id, likeness.texts, pairs, rank, settings), quality


def stars(row_id: Int64, texts: Groups, pairs: pl.DataFrame, rank: Int64, settings: Settings) -> Clusters:
    """Clusters around kept rows, from the pairs that may be dropped."""
    from scanner.clustering import cluster

    chosen = pairs.filter(planning.may_drop(settings))
    return cluster(texts, places(row_id, chosen["row_a"]), places(row_id, chosen["row_b"]), rank)


def _quality_of_answers(run: RunFolder, row_ids: Int64) -> np.ndarray:
    """features.quality of each row's learned text; rows ascending."""
    from scanner.features.quality import qualities

    text = run.segments().rows(row_ids.tolist(), ["row_id", "supervised", "text"])
    joined = text.filter("supervised").group_by("row_id").agg(pl.col("text").str.join("\n"))
    answers = pl.DataFrame({"row_id": row_ids}).join(joined, on="row_id", how="left", maintain_order="left")
    return qualities(answers["text"].fill_null(""))


def find_meaning(
    run: RunFolder, rows: Rows, sources: list[str], settings: Settings, threads: int, progress: Progress
) -> Meaning:
    """Semantic neighbours and what follows from them; nothing but a note with --no-semantic."""
    if not settings.semantic:
        return Meaning(NO_PAIRS, [], {"semantic": {"measured": False, "reason": "--no-semantic"}})
    from scanner import embedding, neighbourhoods
    from scanner.features import density
    from scanner.signals import semantic

    encoder = embedding.load(settings.embedder)
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
    return Meaning(_frame(pairs), [around], notes)


def _frame(pairs: Pairs) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_a": pairs.row_a,
            "row_b": pairs.row_b,
            "signal": pl.repeat(pairs.signal, len(pairs), dtype=pl.String, eager=True),
            "relation": pl.Series(pairs.relation.tolist(), dtype=pl.String),
            "similarity": pairs.similarity,
            "containment_ab": pairs.containment_ab,
            "containment_ba": pairs.containment_ba,
        },
        schema_overrides={"row_a": pl.Int64, "row_b": pl.Int64},
    )


def predict(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    likeness: Likeness,
    spans: pl.DataFrame,
    sources: list[Source],
    settings: Settings,
    threads: int,
    progress: Progress,
) -> Predicted:
    """Contexts, dose and hazard of every row; risk by the severity of what is private in it."""
    from scanner import prediction, rulebook
    from scanner.features import contexts
    from scanner.kernels.contexts import context_features
    from scanner.sampling import batching_facts
    from scanner.tokenising import tokens_of_rows

    with progress.stage("tokenise", len(rows)):
        text = tokens_of_rows(
            run.segments(),
            tokenizer=settings.tokenizer,
            max_length=settings.max_length,
            threads=threads,
            advance=progress.advance,
        )
    with progress.stage("predict"):
        answers = prediction.Answers(text.answer_row, text.answer_start, text.answer_end)
        group = likeness.texts.group
        order = prints.text[:, 0]
        near = prediction.NearCopies(
            places(rows.row_id, likeness.near["row_a"]),
            places(rows.row_id, likeness.near["row_b"]),
            # What is learned is the answer: a long prompt in common makes no copy of it.
            likeness.near.select(
                pl.min_horizontal("similarity", pl.col("answer_similarity").fill_nan(None)).alias("jaccard")
            )["jaccard"].to_numpy(),
            settings.shingle,
        )
        weight = source_weights(rows, sources, settings)
        amounts = prediction.doses(
            settings.plan, np.diff(text.offsets), answers, group, order, near, weight, seed=settings.seed
        )
        result = prediction.predict_rows(
            context_features(text.tokens, text.offsets, group, threads), answers, amounts, order, settings.plan,
            prediction.load_weights(), conflicts(prints, text.tokens, answers), threads,
        )  # fmt: skip
        supervised = np.bincount(answers.row, answers.end - answers.start, minlength=len(rows)).astype(np.int64)
    severity = patterns_of(spans, rows)["patterns.severity"].to_numpy()
    risk = np.nan_to_num(result.p_extract) * severity
    table = (
        pl.DataFrame({"row_id": rows.row_id})
        .hstack(result.frame())
        .with_columns(
            severity=pl.Series(severity, dtype=pl.Float32),
            risk=pl.Series(np.where(np.isnan(result.p_extract), np.nan, risk), dtype=pl.Float32),
            band=pl.Series(rulebook.bands().band(risk).tolist(), dtype=pl.String),
        )
    )
    what_if = pl.DataFrame({"epochs": result.what_if.epochs, "expected_rows": result.what_if.rows}).with_columns(
        variant=pl.lit("as planned")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        near_mass = np.where(amounts.own > 0, amounts.total / amounts.own - amounts.copies, 0.0)
    notes = {
        "prediction": {
            "calibrated": result.calibrated,
            "rows_measured": int((~np.isnan(result.p_extract)).sum()),
            "rows_cut_by_max_length": text.rows_cut,
            "optimizer_steps": amounts.steps,
            "batching": batching_facts(
                settings.plan, amounts.own, supervised, np.diff(text.offsets), order, weight, settings.seed, rows.row_id
            ),
            "what_if_rows_sampled": result.what_if.sampled,
        }
    }
    return Predicted(table, what_if, contexts.features(result.summary), near_mass, notes, text.unit)


def source_weights(rows: Rows, sources: list[Source], settings: Settings) -> np.ndarray | None:
    """(n,) sampling weight of every row by its source's name or file name; None when the plan names none."""
    if not settings.plan.source_weight:
        return None
    known = {name: s.index for s in sources for name in (s.name, s.path.name, s.path.stem)}
    weight = np.ones(len(rows))
    for name, value in settings.plan.source_weight:
        if name not in known:
            raise SettingsError(
                f"--source-weight {name}: no input has this name; inputs are {', '.join(s.name for s in sources)}"
            )
        weight[rows.source == known[name]] = value
    return weight


def patterns_of(spans: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    """Features of what the rules found, per row."""
    from scanner.features import patterns

    return patterns.features(spans, rows.row_id)


def conflicts(prints: Fingerprints, tokens: np.ndarray, answers: Any) -> Any:
    """Where the answers to one prompt first part, and the share of rows with this row's answer (see prediction)."""
    from scanner.features import conflicts as feature
    from scanner.prediction import Conflicts

    counted = feature.features(prints)
    n = len(counted)
    place = np.full(n, -1, np.int64)
    share = counted["conflicts.share"].to_numpy().astype(np.float64)
    first = np.full(n, -1, np.int64)
    heads = np.flatnonzero(np.diff(answers.row, prepend=-1))
    first[answers.row[heads]] = heads
    torn = np.flatnonzero((counted["conflicts.answers"].to_numpy() > 1) & (first >= 0))
    key = np.lexsort((prints.context[torn], prints.prompt[torn]))
    torn = torn[key]
    new = (np.diff(prints.prompt[torn]) != 0) | (np.diff(prints.context[torn]) != 0)
    for members in np.split(torn, np.flatnonzero(new) + 1) if len(torn) else []:
        texts = [tokens[answers.start[first[i]] : answers.end[first[i]]] for i in members]
        shortest = min(map(len, texts))
        block = np.stack([t[:shortest] for t in texts])
        differs = np.flatnonzero((block != block[0]).any(axis=0))
        # answers of which one is the beginning of the others part where it ends
        place[members] = differs[0] if len(differs) else shortest
    return Conflicts(place, share)


def places(row_id: Int64, wanted: pl.Series) -> Int64:
    """Positions of row ids among all rows (ascending)."""
    return np.searchsorted(row_id, wanted.to_numpy()).astype(np.int64)
