"""The prediction of a finished run made again: under another plan, or at the level of another calibration.

    scan plan RUN --calibration FILE | --epochs N ...  ->  stored text and likeness  ->  the audit's own prediction

It is the audit's prediction and no second one: the same functions on the same tokens, so that the tables are those
that an audit with these settings would have written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import polars as pl

from scanner import heat, inputs, predicting, resuming, running, validating
from scanner.errors import RunError
from scanner.progress import Progress
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.versions import TOKENIZER, of_tokenizer

NEEDING = frozenset({"calibration", *(f.name for f in fields(TrainingPlan))})
"""Entries of Settings and of its plan that change what is predicted."""


def is_needed(changes: Iterable[str]) -> bool:
    """Whether these entries of Settings change what is predicted."""
    return not NEEDING.isdisjoint(changes)


def predict_again(run: RunFolder, scan: dict[str, Any], settings: Settings, progress: Progress) -> dict[str, Any]:
    """Write prediction, whatif, skew, memorized spans and heat anew; returns the notes that take the old ones' place.

    Raises RunError where the text was purged, and SettingsError for a calibration that cannot be used; nothing is
    written then.
    """
    predicting.weights_of(settings, Progress())  # refused now, not after the reading
    known = predicting.Known.load(run)
    if settings.base and known.base is None:
        raise RunError(
            f"{run.path} lacks the losses of its base; audit the data again: scan DATASET --base {settings.base}"
        )
    _check_tokenizer(run, scan, settings)
    rows = resuming.load_rows(run.private / "rows.npz")
    threads = running.thread_count(settings.threads)
    text = predicting.tokenise(run, len(rows), settings, threads, progress)
    predicted = predicting.predict_known(
        run, rows, text, known, inputs.sources_of(scan), settings, threads, progress
    )  # fmt: skip
    table = run.read_table("rows").with_columns(
        pl.Series("copies.near_mass", predicted.near_mass, dtype=pl.Float32)  # the doses are the plan's
    )
    predicted = validating.validate(predicted, table, settings)
    found = run.read_table("spans").filter(pl.col("kind") != heat.KIND)
    spans = pl.concat([found, predicted.memorized], how="diagonal")
    frames = {
        "rows": table, "spans": spans.sort("row_id", "segment", "start", "end", "rule_id"),
        "prediction": predicted.table, "whatif": predicted.what_if, "skew": predicted.skew, heat.HEAT: predicted.heat,
    }  # fmt: skip
    for name, frame in frames.items():
        run.write_table(name, frame)
    return predicted.notes


def _check_tokenizer(run: RunFolder, scan: dict[str, Any], settings: Settings) -> None:
    """RunError where --tokenizer is no longer what the other tables of the run were counted with."""
    known = scan["versions"].get(TOKENIZER)  # runs of older versions hold none
    if settings.tokenizer and known and of_tokenizer(settings.tokenizer) != known:
        raise RunError(
            f"{settings.tokenizer} changed since the audit (its content has another digest), and the run's other "
            f"tables are counted in the old tokens; bring it back, or audit again with --force --out {run.path}"
        )
