"""From what was measured to what is predicted: contexts, dose and hazard of every row, and the risk that follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from scanner import memorizing, projecting
from scanner.errors import RunError, SettingsError
from scanner.objects import Fingerprints, Rows, Source
from scanner.pairing import ends, jaccard_of_learned
from scanner.progress import Progress
from scanner.rowlengths import row_lengths
from scanner.settings import Settings, TrainingPlan
from scanner.stages import Likeness
from scanner.store import RunFolder
from scanner.tokenising import TokenisedRows, tokens_of_rows
from scanner.untuned import Untuned, measured
from scanner.versions import PREDICTING, shipped
from scanner.writing import atomic

if TYPE_CHECKING:
    from scanner.prediction import Conflicts, Doses, NearCopies, Prediction, Weights

KNOWN = "known.npz"
"""Under private/, for it holds hashes of the text: what `scan plan` predicts again from."""


@dataclass(frozen=True)
class Known:
    """What a prediction takes of the rows beside their tokens, whatever the plan and the weights; (n,) over rows."""

    group: np.ndarray  # equal for exact copies
    order: np.ndarray  # content hash, equal for exact copies
    near: NearCopies
    conflicts: Conflicts
    severity: np.ndarray  # of what is private in the row
    base: Untuned | None = None  # what the untuned base knows; None: not measured. A file of its own keeps it

    def save(self, run: RunFolder) -> None:
        """Keep it in the run."""
        parts = {"near": self.near, "conflicts": self.conflicts}
        inner = {f"{owner}.{name}": value for owner, part in parts.items() for name, value in vars(part).items()}
        with atomic(run.private / KNOWN) as temporary, temporary.open("wb") as file:
            np.savez(file, group=self.group, order=self.order, severity=self.severity, **inner)

    @classmethod
    def load(cls, run: RunFolder) -> Known:
        """The inverse of `save`; RunError for a run that keeps none."""
        from scanner.prediction import Conflicts, NearCopies

        run.segments()  # says so where it was purged
        if not (run.private / KNOWN).exists():
            raise RunError(
                f"{run.path} was audited by a version that did not keep what a new prediction takes; audit the data "
                "again: scan DATASET --force"
            )
        with np.load(run.private / KNOWN) as stored:
            values = dict(stored)
        near = NearCopies(values["near.a"], values["near.b"], values["near.jaccard"], int(values["near.shingle"]))
        conflicts = Conflicts(values["conflicts.place"], values["conflicts.share"])
        return cls(values["group"], values["order"], near, conflicts, values["severity"], Untuned.load(run))


@dataclass(frozen=True)
class Predicted:
    """prediction.parquet and what goes with it."""

    table: pl.DataFrame
    what_if: pl.DataFrame
    skew: pl.DataFrame  # skew.parquet
    features: pl.DataFrame
    near_mass: np.ndarray
    notes: dict[str, Any]
    unit: str
    weights: Weights  # used for the prediction
    worth: float  # factor on the doses that the weights apply under the plan (Weights.worth)
    memorized: pl.DataFrame  # as in spans.parquet
    heat: pl.DataFrame  # private/heat.parquet


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
    from scanner import prediction
    from scanner.fingerprints import text_hashes
    from scanner.prediction.parting import conflicts
    from scanner.relating import same_prompt

    text = tokenise(run, len(rows), settings, threads, progress)
    near = prediction.NearCopies(
        *ends(rows.row_id, likeness.near),
        jaccard_of_learned(likeness.near),
        settings.shingle,
    )
    answers = prediction.Answers(text.answer_row, text.answer_start, text.answer_end)
    asked = same_prompt(rows, prints)
    known = Known(
        group=likeness.texts.group,
        order=text_hashes(run.segments(), len(rows), threads)[:, 0],
        near=near,
        conflicts=conflicts(text.tokens, answers, np.where(asked.ways > 1, asked.group, -1), asked.share),
        severity=patterns_of(spans, rows)["patterns.severity"].to_numpy(),
        base=measured(run, rows, text, settings, threads, progress),
    )
    known.save(run)
    return predict_known(run, rows, text, known, sources, settings, threads, progress)


def tokenise(run: RunFolder, rows: int, settings: Settings, threads: int, progress: Progress) -> TokenisedRows:
    """The text as the trainer sees it."""
    with progress.stage("tokenise", rows):
        return tokens_of_rows(
            run.segments(),
            tokenizer=settings.tokenizer,
            max_length=settings.max_length,
            threads=threads,
            advance=progress.advance,
        )


def predict_known(
    run: RunFolder,
    rows: Rows,
    text: TokenisedRows,
    known: Known,
    sources: list[Source],
    settings: Settings,
    threads: int,
    progress: Progress,
) -> Predicted:
    """The prediction from tokens and what is known of the rows: the part that plan and calibration change."""
    from scanner import prediction
    from scanner.batching import sequence_length
    from scanner.contextual import token_features
    from scanner.effects import alone_facts, batching_facts, length_facts, meeting_facts, order_facts, standing_facts
    from scanner.features import contexts
    from scanner.prediction import openings, whatif
    from scanner.prediction.crediting import stood_source_by_source
    from scanner.prediction.skew import skew

    plan, seed = settings.plan, settings.seed
    length = row_lengths(run, rows.row_id, text, settings, known.base, progress)
    whole = text
    if known.base is not None:
        text = known.base.within(text)
    group, order, conflicts = known.group, known.order, known.conflicts
    answers = prediction.Answers(text.answer_row, text.answer_start, text.answer_end)
    weight = source_weights(rows, sources, settings)
    context = None if known.base is None else int(known.base.facts["context_tokens"])
    sequence = sequence_length(plan, context, settings.max_length)

    def doses_under(other: TrainingPlan) -> Doses:
        """The doses of these rows under a plan; only the plan differs between the calls."""
        return prediction.doses(other, length, answers, group, order, known.near, weight, sequence, seed)

    with progress.stage("predict"):
        amounts = doses_under(plan)
        begin_alike = openings.shared(text.tokens, answers, group)
        weights = weights_of(settings, progress, begin_alike)
        features = token_features(
            text.tokens, text.widths, text.offsets, (answers.row, answers.start, answers.end), group,
            settings.tokenizer is None, threads,
        )  # fmt: skip
        if known.base is not None:
            features = known.base.beside_table(features, whole)
        amounts = prediction.with_known(features, answers, amounts, order, plan, weights, conflicts, threads)
        result = prediction.predict_rows(features, answers, amounts, plan, weights, conflicts, threads)
        tail = skew(features, answers, amounts, order, plan, weights, result.p_extract, conflicts, threads)
    with progress.stage("ask what if"):
        what_if, asked = projecting.project(
            run, whatif.draw(features, answers, result.p_extract, order, conflicts), amounts,
            answers.tokens(len(order)), doses_under, weights, settings, sequence, threads,
        )  # fmt: skip
    with progress.stage("find memorized spans"):
        stretches = memorizing.find(
            run.segments(), rows, text, features, amounts, result, known.severity, weights, conflicts, settings
        )
    supervised = answers.tokens(len(rows))
    stood = stood_source_by_source(weights) == "all"
    by_source = order_facts(plan, rows.source, supervised, length, seed, sequence, level_stood=stood)
    by_copy = standing_facts(plan, group, amounts.together, supervised, length, seed, sequence)
    by_length = length_facts(plan) if settings.tokenizer is None and known.base is None else []
    near_mass = np.where(amounts.own > 0, amounts.near, 0.0)
    near_mass = near_mass.round(9) + 0.0  # what is left of a difference of equal numbers is no copy, nor less than none
    notes = {
        "prediction": {
            "calibrated": result.calibrated,
            "calibration": weights.provenance.get("calibration"),
            "evaluation": weights.provenance.get("evaluation") or {},
            "rows_measured": int((~np.isnan(result.p_extract)).sum()),
            "rows_cut_by_max_length": text.rows_cut,
            "base": None if known.base is None else known.base.facts,
            "optimizer_steps": amounts.steps,
            "shared_openings": begin_alike,
            "mean_answer": float(np.nan_to_num(answers.mean_tokens(len(rows)))),
            "step_tokens": float(supervised.sum() * plan.epochs / amounts.steps) if amounts.steps else 0.0,
            "source_by_source": bool(by_source),
            "side_by_side": bool(by_copy),
            "batching": [
                *batching_facts(plan, supervised, length, order, weight, seed, rows.row_id, sequence),
                *meeting_facts(amounts.together),
                *alone_facts(plan),
                *by_source,
                *by_copy,
                *by_length,
            ],
            **asked,
        },
        **stretches.notes,
    }
    return Predicted(
        _with_risk(rows, result, known.severity), what_if, tail.frame(), contexts.features(result.summary), near_mass,
        notes, text.unit, weights, weights.worth(plan, amounts.regime(plan)), stretches.spans, stretches.heat,
    )  # fmt: skip


def _with_risk(rows: Rows, result: Prediction, severity: np.ndarray) -> pl.DataFrame:
    """prediction.parquet: what is predicted of each row, its severity (n,), and risk and band, which follow from them.

    A row without a p_extract has the risk NaN and the band of no risk.
    """
    from scanner import rulebook

    risk = result.p_extract * severity
    return (
        pl.DataFrame({"row_id": rows.row_id})
        .hstack(result.frame())
        .with_columns(
            severity=pl.Series(severity, dtype=pl.Float32),
            risk=pl.Series(risk, dtype=pl.Float32),
            band=pl.Series(rulebook.bands().band(risk).tolist(), dtype=pl.String),
        )
    )


def weights_of(settings: Settings, progress: Progress, begin_alike: float = 0.0) -> Weights:
    """The weights that the settings ask for; says so where a calibration does not fit the plan.

    begin_alike: openings.shared of the data set.
    """
    from scanner import prediction
    from scanner.prediction import openings
    from scanner.prediction.calibration import OWN_TOKENS
    from scanner.untuned import fingerprint

    mark = fingerprint(settings.base) if settings.base is not None and settings.calibration is not None else ""
    unit = OWN_TOKENS if settings.tokenizer is None else settings.tokenizer.name
    weights = prediction.load_weights(
        calibration=settings.calibration,
        plan=settings.plan,
        token_unit=unit,
        with_base=settings.base is not None,
        mark=mark,
    )
    told = weights.provenance.get("calibration") or {}
    if told.get("mismatch"):
        progress.say(f"{told['file']}: {told['mismatch']}")
    return replace(weights, set_sd=openings.doubt(begin_alike))


def weights_of_run(scan: dict[str, Any], settings: Settings) -> Weights:
    """The weights that a run was predicted with; SettingsError where the program has others by now.

    scan: its scan.json.
    """
    if any(scan["versions"].get(name) != shipped()[name] for name in PREDICTING):
        raise SettingsError("the run was predicted with the weights of another version; predict again to compare")
    begin_alike = scan["notes"]["prediction"].get("shared_openings", 0.0)  # not counted by earlier versions
    return weights_of(settings, Progress(), begin_alike)


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

    return patterns.features(spans, rows.row_id, rows.private_names)
