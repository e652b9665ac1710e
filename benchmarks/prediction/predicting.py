"""Cells of the grid, and what given weights predict for them.

What is predicted is predicted by the scanner's own code; rows are derived from the data files, doses are simulated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import corpus
import grid
import measured
import numpy as np

from scanner.prediction import (
    Answers,
    Conflicts,
    Hazard,
    Priors,
    Weights,
    carrying,
    intervals,
    knowing,
    level,
    openings,
    turn_tails,
)
from scanner.prediction.hazard import HeatWeights, Regime
from scanner.prediction.stretches import Heat, heat
from scanner.prediction.validated import Validated
from scanner.settings import TrainingPlan

PRIORS = Priors(
    offset=0.0, offset_sd=0.7, level_factor=1.0, level_factor_sd=0.0, lora_dose=1.0, lora_holds=np.inf,
    lora_steps=110.0, size_exponent=0.0, fitted_parameters=1.0, unknown_parameters=1.0, most_steps=1e9,
)  # fmt: skip

SIMULATED = 77
"""Seed of the batches that are drawn where a prediction is tested: not that of the training."""

Cells = dict[str, tuple[measured.Table, list[measured.Observation]]]


@cache
def _table(data: Path, name: str) -> measured.Table:
    return measured.assemble(data, name)


def load(data: Path, names: Iterable[str], simulated: int | None = None) -> Cells:
    """The named cells that were measured; cells that train on the same rows share a table."""
    shared: dict[tuple, str] = {}
    cells: Cells = {}
    for name in names:
        if not (grid.HERE / f"{name}.parquet").exists():
            continue
        cell = grid.CELLS[name]
        order = cell.seed if cell.shuffled else None
        rows = (cell.rows, cell.members, cell.half, cell.times, cell.replaced, cell.base, order)
        first = shared.setdefault(rows, name)
        table = _table(data, first)
        cells[name] = (table, measured.observe(table, name, simulated))
    return cells


def plan_of(name: str) -> TrainingPlan:
    """The plan of a cell, with the size of its base."""
    return replace(grid.CELLS[name].plan, model_params=float(parameters(grid.CELLS[name].base)))


def given(table: measured.Table, o: measured.Observation, weights: Weights) -> tuple[float, Regime, Conflicts]:
    """What a visit is worth under the plan of a cell, the training of its set by then, and its conflicting answers.

    What the set knows by then is what the weights say, as in an audit, and not what was measured.
    """
    torn, plan = Conflicts(table.conflict_place, table.conflict_share), plan_of(o.cell)
    members = table.answers.where(table.member)
    known = knowing(
        table.features, members, o.dose, o.regime, plan, weights, torn, 1, o.goldfish, measured.trained_rows(table)
    )
    return *weights.under(plan, known), torn


def predict(
    table: measured.Table, o: measured.Observation, weights: Weights, curve: np.ndarray | None = None
) -> object:
    """The shipped prediction of every row: distributions of N_pre (TurnTails).

    curve: (T,) takes P(the answer is reproduced up to and including this token).
    """
    worth, regime, torn = given(table, o, weights)
    dose = o.dose * worth
    return turn_tails(table.features, table.answers, dose, None, regime, weights, torn, 1, curve, o.goldfish)


@cache
def parameters(base: str) -> int:
    """Parameters of a base, as measured when it was made."""
    return int(json.loads((grid.HERE / f"bases-{base}.json").read_text())["parameters"])


def warm(table: measured.Table, o: measured.Observation, weights: Weights, rows: np.ndarray) -> Heat:
    """The shipped heat of the answers of some rows."""
    worth, regime, torn = given(table, o, weights)
    exact = o.own * np.maximum(1, table.copies) * worth
    return heat(table.features, table.answers, rows, o.dose * worth, regime, weights, torn, exact)


def plain(hazard: Hazard, heated: HeatWeights | None = None) -> Weights:
    """The weights alone: no priors on size or kind of tuning."""
    return Weights(hazard, PRIORS, False, {}, heat=heated)


def interval(weights: Weights, state: level.Observed, p: np.ndarray | None = None) -> intervals.ExpectedRows:
    """Number of rows with N_pre >= 16 and its 90 % interval, as whatif.parquet has it of rows without copies.

    weights: at a level, with the runs behind it; state: what it is predicted for; p: of its rows, if at hand.
    """
    plan = replace(state.plan, epochs=state.epoch)
    regime = weights.under(plan, level.foretold(state, weights).regime)[1]
    return carrying.number_of_rows(partial(extraction, state), weights, plan, regime, known=p)


def begin_alike(table: measured.Table) -> float:
    """Share of the rows of different text that are trained on whose answers begin as those of five others do."""
    cut = [max(corpus.MIN_ANSWER_TOKENS, table.length[t.member]) for t in table.trained]
    parts = [measured.tokens_of(t.row.answer)[0][:n] for t, n in zip(table.trained, cut, strict=True)]
    edges = np.cumsum([0, *map(len, parts)])
    answers = Answers(np.arange(len(parts)), edges[:-1], edges[1:])
    texts = {(t.row.prompt, t.row.answer): i for i, t in enumerate(table.trained)}
    group = np.array([texts[t.row.prompt, t.row.answer] for t in table.trained])
    return openings.shared(np.concatenate(parts), answers, group)


def extraction(state: level.Observed, weights: Weights) -> np.ndarray:
    """(m,) P(N_pre >= 16) of each answer, foretold."""
    return level.extraction(level.foretold(state, weights), weights)


def runs_of(name: str, epochs: int) -> Validated:
    """What a calibration file records of the plan of a cell that was rehearsed for so many epochs."""
    plan = plan_of(name)
    return Validated(
        epochs=(1, epochs), learning_rate=(plan.learning_rate,) * 2, parameters=(plan.model_params,) * 2,
        methods=(plan.method,), batchings=(plan.batching,), loss_averages=(plan.loss_average,),
        lr_schedules=(plan.lr_schedule,),
    )  # fmt: skip


def observed_for_level(table: measured.Table, o: measured.Observation, rows: np.ndarray) -> level.Observed:
    """A cell's epoch as `scan calibrate` sees a rehearsal, restricted to some rows; `level.foretold` to predict it."""
    part = table.answers.where(rows)
    return level.Observed(
        table.features, part, o.n_pre[rows], o.dose, o.regime.set_dose, int(o.regime.steps), plan_of(o.cell),
        rows, o.epoch, o.regime.known, goldfish=o.goldfish, trained=measured.trained_rows(table),
    )  # fmt: skip
