"""The rows of a confirmation as the predictor sees them: the run as a whole, of which some answers were measured.

run + its plan -> tokens -> contexts, answers, copies, doses by a simulated sampler
+ confirmation/<name> -> N_pre of the answers that were measured -> Observed, after the plan's last epoch
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from scanner import prediction, recalls, recounting, rehearsed
from scanner.batching import sequence_length
from scanner.drawing import weight_of_rows
from scanner.errors import RunError
from scanner.outcome import plan_of
from scanner.prediction.level import Observed
from scanner.prediction.validated import Validated
from scanner.recalls import FOLDER, finished
from scanner.recounting import RowsAlone
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder


@dataclass(frozen=True)
class Confirmation:
    """A finished confirmation as it lies in a run folder."""

    run: RunFolder
    name: str
    facts: dict[str, Any]
    settings: Settings  # of the audit
    plan: TrainingPlan  # that the model was trained under, with the true size of the base
    planted = 0

    @property
    def base(self) -> dict[str, Any]:
        """See `tuned_base`; the tuned model where no base was given."""
        return rehearsed.tuned_base(self.facts["base"] or {**self.facts["model"], "fingerprint": ""}, self.plan)

    @property
    def told(self) -> str:
        """Where it was measured, in words."""
        return f"{self.run.path.name}, confirmed on {recalls.called(self.name, self.facts)}"

    @property
    def data(self) -> str:
        """Identity of the audit."""
        return str(self.facts["asked"]["identity"])

    @property
    def lacking(self) -> str:
        """Why the base's own losses are not known; empty where they are."""
        return (
            "" if self.facts["base"] else f"what the base knew untuned was not measured ({self.told}, without --base)"
        )

    def observed(self, first_unit: int = 0) -> Iterator[Observed]:
        """What the model showed; units are numbered from `first_unit`."""
        yield from observed(self, first_unit)

    def covered(self, states: Sequence[Observed], fitted: prediction.Weights) -> Validated:
        """What its training went through."""
        return rehearsed.went_through(self.run, states, self.measured["row_id"].unique(), fitted)

    @property
    def measured(self) -> pl.DataFrame:
        """row_id, answer, tokens, n_pre, losses of the base, weight of each measured answer."""
        path = self.run.private / FOLDER / self.name / "answers.parquet"
        table = self.run.path / FOLDER / f"{self.name}.parquet"
        for file in (path, table):
            if not file.is_file():
                raise RunError(f"{file} is gone (purged?); confirm again under another --name")
        weight = pl.read_parquet(table, columns=["row_id", "weight"], glob=False)
        answers = pl.read_parquet(path, glob=False).join(weight, on="row_id", how="inner", maintain_order="left")
        return answers.sort("row_id", "answer")


def confirmations(run: RunFolder) -> list[Confirmation]:
    """The finished confirmations of a run, by name."""
    settings = Settings.from_dict(run.read_json("scan.json")["settings"])
    return [Confirmation(run, name, facts, settings, plan_of(facts)) for name, facts in finished(run).items()]


def rows_of(confirmation: Confirmation) -> RowsAlone:
    """Every row of the run, as long as the tuned model has it, with what its base knew of the measured ones untuned.

    A row that the model's chat template refuses keeps our own lengths.
    """
    run = confirmation.run
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()
    rows = recounting.alone(run, confirmation.settings, ids)
    lengths = pl.read_parquet(run.private / FOLDER / confirmation.name / "lengths.parquet", glob=False)
    own = pl.DataFrame({"row_id": rows.row_id[rows.answers.row], "answers": rows.answers.end - rows.answers.start})
    own = own.group_by("row_id", maintain_order=True).agg(pl.col("answers").cast(pl.Int32))
    missing = pl.DataFrame({"row_id": rows.row_id, "tokens": pl.Series(rows.length, dtype=pl.Int32)}).join(
        lengths, on="row_id", how="anti", maintain_order="left"
    )
    missing = missing.join(own, on="row_id", how="left", maintain_order="left").with_columns(
        pl.col("answers").fill_null([])
    )
    rows = recounting.as_trained(rows, pl.concat([lengths, missing]).sort("row_id"))
    if confirmation.facts["base"] is None:
        return rows
    return recounting.knowing_losses(rows, confirmation.measured.with_columns(epoch=pl.lit(0)))


def observed(confirmation: Confirmation, first_unit: int = 0) -> Iterator[Observed]:
    """What the model showed after the plan's last epoch, each answer with the rows that it stands for."""
    plan, rows = confirmation.plan, rows_of(confirmation)
    context = int((confirmation.facts["base"] or confirmation.facts["model"])["context"])
    sequence = sequence_length(plan, context, confirmation.settings.max_length)
    amounts = prediction.doses(
        plan, rows.length, rows.answers, rows.copies, rows.order, rows.near,
        weight_of_rows(confirmation.run, plan, rows.row_id), sequence, confirmation.settings.seed,
    )  # fmt: skip
    yield recounting.observed(
        rows, confirmation.measured, plan, plan.epochs if plan.epochs % 1 else int(plan.epochs), int(amounts.steps),
        amounts.total, amounts.set_dose, amounts.goldfish(plan), first_unit,
    )  # fmt: skip
