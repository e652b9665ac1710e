"""Held against what the weights were fitted on: a prediction gets its statements of validity and its outsiders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from scanner.predicting import Predicted
from scanner.settings import Settings


def validate(predicted: Predicted, rows: pl.DataFrame, settings: Settings) -> Predicted:
    """`predicted` with the column `outside` (why a row lies outside what was fitted, "" where it does not) and the
    statements under notes["prediction"]["validity"].

    rows: rows.parquet, in the order of the prediction.
    """
    from scanner.prediction import crediting, validity

    weights, n = predicted.weights, len(predicted.table)
    measured = predicted.table["p_extract"].is_not_nan().to_numpy()
    dose = predicted.table["exposures"].to_numpy() * predicted.worth
    script = rows["script.answer"]
    facts = validity.Facts(
        dose=dose[measured],
        answer_tokens=rows["length.supervised_tokens"].to_numpy()[measured],
        script=script.filter(pl.Series(measured)),
        optimizer_steps=predicted.notes["prediction"]["optimizer_steps"],
        shared_openings=predicted.notes["prediction"]["shared_openings"],
        mean_answer=predicted.notes["prediction"]["mean_answer"],
        step_tokens=predicted.notes["prediction"]["step_tokens"],
        source_by_source=predicted.notes["prediction"]["source_by_source"],
        side_by_side=predicted.notes["prediction"]["side_by_side"],
        own_tokens=settings.tokenizer is None,
    )
    judged = validity.judge(settings.plan, weights, facts)
    outside = pl.repeat("", n, dtype=pl.String, eager=True)
    outside = outside.scatter(
        np.flatnonzero(measured), validity.outside_of(facts.dose, facts.script, crediting.covered(weights))
    )
    said = {**judged.as_dict(), "interval": interval(predicted.what_if, settings.plan.epochs)}
    notes = {**predicted.notes, "prediction": {**predicted.notes["prediction"], "validity": said}}
    table = predicted.table.with_columns(outside.alias("outside"))
    return replace(predicted, table=table, notes=notes)


def interval(what_if: pl.DataFrame, epochs: float) -> list[float] | None:
    """The 90 % interval of the number of rows under the plan, where the what-if table has one."""
    from scanner.prediction.whatif import PLANNED

    if not {"low", "high"} <= set(what_if.columns):
        return None
    mine = what_if.filter((pl.col("variant") == PLANNED) & ((pl.col("epochs") - epochs).abs() < 1e-9))
    known = mine.drop_nulls(["low", "high"])
    return [float(known["low"][0]), float(known["high"][0])] if len(known) else None
