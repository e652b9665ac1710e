"""What one teacher-forced pass of a tuned model says of a row: one file per metric.

    logits of the answers' tokens -> Said (of each answer) -> every metric -> one line of confirmation/<name>.parquet

Every file of this folder offers

    NEEDS    of "tuned" (the model itself), "distribution" (its whole distribution at each token), "base" (the model
             before tuning); where one of them was not there, all of its columns are null
    COLUMNS  name -> (dtype, what it is, with unit and source); names are unique in the folder
    SCORES   column -> 1 or -1: those that a membership test may go by, and which sign speaks for a member; may be empty
    measure  (Row, Sampler) -> value of each column, None where the row has nothing to measure it on

All of them come out of forward passes over the true text. What takes generations, attention or hidden states is not
measured here.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from types import ModuleType
from typing import Any

from scanner import plugins
from scanner.confirmation._said import Row as Row
from scanner.confirmation._said import Said as Said
from scanner.confirmation._said import Sampler as Sampler
from scanner.confirmation._said import look as look

PACKAGE = "scanner.confirmation"
MISSING = {"base": "no --base was given"}
"""Why a need may be unmet."""


@cache
def metrics() -> dict[str, ModuleType]:
    """Every metric by name."""
    return plugins.load_all(PACKAGE)


def schema() -> dict[str, Any]:
    """Column -> polars dtype, over all metrics."""
    return {name: kind for metric in metrics().values() for name, (kind, _) in metric.COLUMNS.items()}


def scores() -> dict[str, int]:
    """Columns that a membership test may go by, with the sign that speaks for a member."""
    return {name: sign for metric in metrics().values() for name, sign in metric.SCORES.items()}


def unmeasured(there: Collection[str]) -> dict[str, str]:
    """Columns whose needs are not all there, each with the reason."""
    return {
        column: MISSING[lacking[0]]
        for metric in metrics().values()
        if (lacking := [need for need in metric.NEEDS if need not in there])
        for column in metric.COLUMNS
    }


def measured(row: Row, sampler: Sampler, there: Collection[str]) -> dict[str, Any]:
    """Every metric of a row; None where it was not measured."""
    line: dict[str, Any] = dict.fromkeys(schema())
    for metric in metrics().values():
        if set(metric.NEEDS) <= set(there):
            line |= metric.measure(row, sampler)
    return line
