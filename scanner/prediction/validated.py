"""What a set of weights was fitted and tested on: the ranges and kinds that their numbers can be trusted within.

    [validated]                 of rules/weights/prediction.toml: hulls over all runs of the fit
    [[validated.tested]]        kinds that were not fitted but predicted and then measured: transfer, good or bad

`observed` describes one run, `widened` puts two together, `toml` writes what `read` reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.errors import RuleError
from scanner.settings import TrainingPlan

Range = tuple[float, float]

RARE = 0.01
"""Share of a run's rows at each end that makes no range: a handful of rows with an odd dose validate nothing there."""
LENGTH = "answer length"
"""Topic of tests on sets whose answers are shorter or longer on average; their value is that mean."""
STEPS = "optimizer steps"
"""Topic of tests on longer trainings than any of the fit; their value is the number of steps."""
CALIBRATION, LEFT_OUT, LATER = "calibration", "rows left out", "later epochs"
"""Topic and values of the tests that a calibration made on its own rehearsals."""
ENOUGH_ROWS = 10
"""Recited rows below which a test cannot tell whether the order holds."""
ORDER_HOLDS = 0.04
"""How far below the ceiling (another seed of the same training) an AUROC may lie."""
ORDER_HOLDS_ALONE = 0.85
"""AUROC that will do where no ceiling was measured."""
COUNT_HOLDS = 2.0
"""Factor between predicted and measured rows."""
COUNT_IS_CLOSE = 0.25
"""Share of the measured rows by which a calibrated prediction may miss, or two standard errors where that is more."""


@dataclass(frozen=True)
class Transfer:
    """A kind of training or data that the weights were not fitted on, predicted and then measured."""

    topic: str  # method, script, parameters, batching, loss average, schedule; of a calibration: calibration
    value: str  # lora, Han, ...; of parameters their number
    rows: int  # measured
    recited_rows: int  # N_pre >= 16 among them
    expected_rows: float  # predicted number of those
    auroc: float = math.nan  # NaN: not defined, for rows of one kind only
    ceiling: float = math.nan  # AUROC of another seed of the same training; NaN: not measured
    standard_error: float = math.nan  # of recited less expected rows; NaN: not measured

    @property
    def order_holds(self) -> bool:
        """Whether the rows came in the right order."""
        if self.recited_rows < ENOUGH_ROWS:
            return False
        known = not math.isnan(self.ceiling)
        return self.auroc >= (self.ceiling - ORDER_HOLDS if known else ORDER_HOLDS_ALONE)

    @property
    def count_holds(self) -> bool:
        """Whether the number of rows was right within a factor of two, or two standard errors of the true number."""
        near = abs(self.expected_rows - self.recited_rows) <= 2 * math.sqrt(self.recited_rows)
        return near or 1 / COUNT_HOLDS <= self.expected_rows / max(self.recited_rows, 1e-9) <= COUNT_HOLDS

    @property
    def count_is_close(self) -> bool:
        """Whether the number of rows was right as a calibrated one should be."""
        error = math.sqrt(self.recited_rows) if math.isnan(self.standard_error) else self.standard_error
        room = max(COUNT_IS_CLOSE * self.recited_rows, 2 * error)
        return abs(self.expected_rows - self.recited_rows) <= room


@dataclass(frozen=True)
class Validated:
    """Where the weights were fitted; a range of None and an empty tuple: nowhere, or not recorded."""

    epochs: Range | None = None
    optimizer_steps: Range | None = None
    dose_per_row: Range | None = None  # effective: with copies, and by the strength of method and size
    learning_rate: Range | None = None  # peak
    parameters: Range | None = None  # of the base
    answer_tokens: Range | None = None  # kernel tokens
    mean_answer: Range | None = None  # of the rows of one set that have any
    step_tokens: Range | None = None  # of the answers in an optimizer step, on average
    methods: tuple[str, ...] = ()
    batchings: tuple[str, ...] = ()
    loss_averages: tuple[str, ...] = ()
    lr_schedules: tuple[str, ...] = ()
    packings: tuple[str, ...] = ()  # of PACKINGS: in which order rehearsed rows were packed; none where they were not
    scripts: tuple[str, ...] = ()  # names of text.SCRIPTS
    languages: tuple[str, ...] = ()  # what the rows of these scripts were written in; a script holds more than one
    tested: tuple[Transfer, ...] = ()

    def widened(self, other: Validated) -> Validated:
        """The hull of both."""
        merged: dict[str, Any] = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name in RANGES:
                both = [r for r in (mine, theirs) if r is not None]
                merged[field.name] = (min(r[0] for r in both), max(r[1] for r in both)) if both else None
            else:
                merged[field.name] = tuple(dict.fromkeys((*mine, *theirs)))
        return replace(self, **merged)

    def reaching(self, topic: str, span: Range | None) -> Range | None:
        """A range of this record, widened by the tests of a topic whose values are numbers, as far as they held."""
        held = [float(t.value) for t in self.tested if t.topic == topic and t.order_holds and t.count_holds]
        return (min(span[0], *held), max(span[1], *held)) if span and held else span

    def test_of(self, topic: str, value: str) -> Transfer | None:
        """The worst test of this kind, of those that can tell where there are any; None where there was none."""
        found = [t for t in self.tested if (t.topic, t.value) == (topic, value)]
        found = [t for t in found if t.recited_rows >= ENOUGH_ROWS] or found
        return min(found, key=lambda t: (t.order_holds, t.count_holds, t.auroc), default=None)

    def toml(self, who: str = "the fit", table: str = "validated") -> str:
        """The table as it stands in a weights or calibration file; who: saw all this, for a comment."""
        lines = [f"[{table}]  # what {who} saw; outside of it the scan says so (scanner/prediction/validity.py)"]
        for name, note in RANGES.items():
            value = getattr(self, name)
            if value is not None:
                lines.append(f"{name} = [{value[0]:.6g}, {value[1]:.6g}]  # {note}")
        for name in KINDS:
            value = getattr(self, name)
            if value:
                lines.append(f"{name} = [{', '.join(_quoted(v) for v in value)}]")
        for test in self.tested:
            lines += ["", f"[[{table}.tested]]  # predicted, then measured; not in the fit"]
            for field in fields(Transfer):
                value = getattr(test, field.name)
                if isinstance(value, str):
                    lines.append(f"{field.name} = {_quoted(value)}")
                elif not (isinstance(value, float) and math.isnan(value)):
                    lines.append(f"{field.name} = {value:.6g}")
        return "\n".join(lines) + "\n"


RANGES = {
    "epochs": "epochs",
    "optimizer_steps": "optimizer steps of the whole training",
    "dose_per_row": "effective visits at 3e-4 in an average step, copies included",
    "learning_rate": "peak",
    "parameters": "of the base model",
    "answer_tokens": "words, CJK characters or punctuation marks",
    "mean_answer": "of these a row has on average, in one set",
    "step_tokens": "of these an optimizer step holds on average",
}
KINDS = ("methods", "batchings", "loss_averages", "lr_schedules", "packings", "scripts", "languages")
SHUFFLED, SOURCE_BY_SOURCE, STANDING_MIXED = PACKINGS = (
    "shuffled", "as they stand, source by source", "as they stand, sources mixed in steps",
)  # fmt: skip
"""Orders in which rows are packed; in the last, steps are of about as many sources as of shuffled rows."""


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def observed(
    plan: TrainingPlan,
    epochs: Range,
    optimizer_steps: Range,
    dose_per_row: npt.ArrayLike,
    answer_tokens: npt.ArrayLike,
    mean_answer: float,
    step_tokens: float,
    parameters: float,
    scripts: tuple[str, ...],
    languages: tuple[str, ...],
) -> Validated:
    """What one measured run validates.

    epochs, optimizer_steps: of the first and last measurement; dose_per_row: effective doses of the trained rows at
    these measurements, any shape; answer_tokens: lengths of their answers. The rarest 1 % at each end are left out.
    mean_answer: tokens of the answers of a row trained on, on average over those with any; step_tokens: of the answers
    in a step, on average; NaN where not known.
    """
    dose, length = (np.asarray(v, np.float64).ravel() for v in (dose_per_row, answer_tokens))
    spread = [tuple(np.quantile(v, [RARE, 1 - RARE]).tolist()) if len(v) else None for v in (dose, length)]
    return Validated(
        epochs=epochs, optimizer_steps=optimizer_steps, dose_per_row=spread[0],
        learning_rate=(plan.learning_rate, plan.learning_rate), parameters=(parameters, parameters),
        answer_tokens=spread[1], mean_answer=None if math.isnan(mean_answer) else (mean_answer, mean_answer),
        step_tokens=None if math.isnan(step_tokens) else (step_tokens, step_tokens),
        methods=(plan.method,), batchings=(plan.batching,), loss_averages=(plan.loss_average,),
        lr_schedules=(plan.lr_schedule,), scripts=scripts, languages=languages,
    )  # fmt: skip


def read(values: Any, where: str) -> Validated:
    """From the table of a TOML file; None is an empty table. RuleError names what is wrong in file `where`."""
    if values is None:
        return Validated()
    if not isinstance(values, dict):
        raise RuleError(f"{where}: validated is {type(values).__name__}, expected a table")
    known = {f.name for f in fields(Validated)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise RuleError(f"{where}: [validated] has unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name in RANGES:
            made[name] = _range(value, f"{where}: [validated] {name}")
        elif name in KINDS:
            if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                raise RuleError(f"{where}: [validated] {name} is {value!r}; expected a list of texts")
            made[name] = tuple(value)
        else:
            made[name] = _tests(value, where)
    return Validated(**made)


def _range(value: Any, where: str) -> Range:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value)
    if not numbers or not value[0] <= value[1]:
        raise RuleError(f"{where} is {value!r}; expected [smallest, largest]")
    return float(value[0]), float(value[1])


def _tests(value: Any, where: str) -> tuple[Transfer, ...]:
    optional = ("auroc", "ceiling", "standard_error")
    numbers = {"rows": int, "recited_rows": int, "expected_rows": float, **dict.fromkeys(optional, float)}
    made = []
    for test in value if isinstance(value, list) else [value]:
        names = set(test) if isinstance(test, dict) else set()
        if not {"topic", "value", *numbers} - {*optional} <= names <= {"topic", "value", *numbers}:
            raise RuleError(
                f"{where}: [[validated.tested]] has {', '.join(sorted(names)) or 'no entries'}; expected topic, value, "
                f"rows, recited_rows, expected_rows and, where they were measured, {', '.join(optional)}"
            )
        if any(type(test[name]) not in (int, float) for name in names & set(numbers)):
            raise RuleError(f"{where}: [[validated.tested]] of {test['value']!r}: {', '.join(numbers)} are numbers")
        figures = {name: kind(test[name]) for name, kind in numbers.items() if name in names}
        made.append(Transfer(topic=str(test["topic"]), value=str(test["value"]), **figures))
    return tuple(made)
