"""What the runs behind a calibration add to what is validated, and what they say of the level that was fitted on them.

The hull of the fit and of these runs counts as validated, where they recited enough rows to tell whether they were
predicted well. How well they were stands in the calibration file, and is said of every plan that takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from scanner.batching import PACKED
from scanner.figures import plural, plural_g
from scanner.prediction.hazard import Weights
from scanner.prediction.statements import COUNT, INSIDE, NOTE, ORDER, SEVERITIES, Statement, span
from scanner.prediction.validated import CALIBRATION, ENOUGH_ROWS, LATER, LEFT_OUT, SOURCE_BY_SOURCE, Range, Validated
from scanner.settings import TrainingPlan

HIGH_RATE = 6e-4
"""Peak learning rate, scaled to the size of the base of the fit, above which a level that was read on fewer epochs than
the plan has says too few rows. Read on the first four of eight epochs at 1e-3, or on four in which the rate fell from
there to 0, it said seven to nine tenths of what the eight recited; at 6e-4 and 4e-4 nine tenths and more
(benchmarks/prediction/LAWS.md, 18 and 19)."""


def covered(weights: Weights) -> Validated:
    """What the weights were fitted on, and what the runs behind their calibration add to it.

    Runs that recited too few rows to tell whether they were predicted well add nothing.
    """
    more = weights.rehearsed
    test = more.test_of(CALIBRATION, LEFT_OUT) if more else None
    if more is None or test is None or test.recited_rows < ENOUGH_ROWS:
        return weights.validated
    return weights.validated.widened(more)


def stood_source_by_source(weights: Weights) -> str:
    """Which runs behind the level packed rows as they stand, source by source: "none", "some" or "all" of them."""
    runs = weights.rehearsed or Validated()
    if SOURCE_BY_SOURCE not in runs.packings:
        return "none"
    return "some" if {*runs.packings} - {SOURCE_BY_SOURCE} or {*runs.batchings} - {*PACKED} else "all"


def credited(now: Statement, shipped: Statement) -> Statement:
    """A statement that owes its place inside to the runs behind the calibration says so."""
    better = SEVERITIES.index(now.severity) < SEVERITIES.index(shipped.severity)
    if not better or now.severity not in (INSIDE, NOTE):
        return now
    return replace(now, text=f"{now.short[:1].upper()}{now.short[1:]}: within what the runs behind the calibration "
                             "went through; the shipped weights alone were not fitted there.")  # fmt: skip


def of_level(plan: TrainingPlan, weights: Weights) -> Iterator[Statement]:
    """How well the level of a calibration predicted its own runs, and whether the plan trains longer than they did."""
    runs = weights.rehearsed or Validated()
    test, later = runs.test_of(CALIBRATION, LEFT_OUT), runs.test_of(CALIBRATION, LATER)
    if test is None or runs.epochs is None:
        return
    counts = f"{test.expected_rows:,.1f} of {plural(test.rows, 'row')} predicted, {test.recited_rows:,} recited"
    ranked = "" if np.isnan(test.auroc) else f", AUROC {test.auroc:.3f}"
    told = f"Rows of its own runs, predicted by a level that was fitted on the others: {counts}{ranked}"
    if test.recited_rows < ENOUGH_ROWS:
        severity = NOTE  # no evidence against the number, and none for it
        told += ": too few to tell whether the number holds, so the calibration widens nothing of what is validated."
    elif not test.order_holds:
        severity = ORDER
        told += ": the order of the rows did not hold."
    else:
        severity = INSIDE if test.count_is_close else COUNT
        told += f": order and number {'held' if severity == INSIDE else 'did not both hold; the order did'}."
    yield Statement(
        CALIBRATION, severity, f"the calibration ({plural(test.recited_rows, 'row')} recited in its runs, "
        f"{test.expected_rows:,.1f} predicted)", told,
    )  # fmt: skip
    most = runs.epochs[1]
    if plan.epochs <= most:
        return
    told = f"The plan trains for {plural_g(plan.epochs, 'epoch')}, the runs behind the calibration for {most:g}"
    if rates := high_rates(runs, weights):
        yield Statement(
            LATER, COUNT, f"epochs after the {most:g} rehearsed at a high rate",
            f"{told}, at a learning rate ({span(rates, '{:g}'.format)}) so high for the size of their "
            "base that their first epochs tell too little of later ones: of small models such a level said seven to "
            "nine tenths of what the whole training recited. The number of rows is a guess, rather too small. Rehearse "
            "as many epochs as the plan has, or at a lower rate.",
        )  # fmt: skip
        return
    if later is None:
        yield Statement(LATER, NOTE, "epochs after those rehearsed", f"{told}: how far their level holds after that "
                        "was not tried.")  # fmt: skip
        return
    foretold = f"their last epoch, foretold from the first ones: {later.expected_rows:,.1f} rows predicted, "
    foretold += f"{later.recited_rows:,} recited"
    outcome = "the number held" if later.recited_rows >= ENOUGH_ROWS else "too few to tell whether the number holds"
    if not later.count_is_close:
        outcome = "the number did not hold, so that of the plan is a guess"
    yield Statement(
        LATER, NOTE if later.count_is_close else COUNT, f"epochs after the {most:g} rehearsed",
        f"{told}; {foretold}: {outcome}.",
    )  # fmt: skip


def high_rates(runs: Validated, weights: Weights) -> Range | None:
    """The runs' learning rates, if under full fine-tuning one made larger steps than HIGH_RATE does; else None."""
    if runs.learning_rate is None or runs.parameters is None or "full" not in runs.methods:
        return None
    highest = TrainingPlan(learning_rate=runs.learning_rate[1], model_params=runs.parameters[0])
    return runs.learning_rate if weights.priors.rate(highest) > HIGH_RATE else None
