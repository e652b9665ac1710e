"""whatif.parquet: the prediction for other plans, and for what the plan of this run leaves of the data.

predicted rows -> sample -> "as planned", batches, batching        with the prediction
plan's drops, stored sample -> "after deduplication"               once the plan is made, and again by `scan plan`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from scanner.errors import SettingsError
from scanner.objects import Float64, Int64
from scanner.pairing import COPIES, ends, groups_of, jaccard_of_learned
from scanner.sampling import asked_alone
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.writing import atomic

if TYPE_CHECKING:
    from scanner.prediction import Doses, Weights
    from scanner.prediction.whatif import Sample

STORED = "whatif.npz"
"""Under private/: the sample and the doses from which `scan plan` finds the deduplicated figure again."""


def project(
    run: RunFolder,
    sample: Sample,
    amounts: Doses,
    supervised: Int64,
    doses_under: Callable[[TrainingPlan], Doses],
    weights: Weights,
    settings: Settings,
    sequence_tokens: int,
    threads: int,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Lines of whatif.parquet that need no plan, and what they say about an audit by sampling.

    supervised: (n,) tokens of each row's answers.
    """
    from scanner.prediction import whatif

    plan = settings.plan
    table = pl.concat([
        whatif.curve(sample, amounts, plan, weights, threads),
        whatif.variants(sample, plan, doses_under, weights, threads, sequence_tokens),
        whatif.other_loss(sample, amounts, plan, weights, threads),
    ])  # fmt: skip
    stored = {
        "own": amounts.own, "together": amounts.together, "supervised": supervised, "steps": np.array(amounts.steps)
    }  # fmt: skip
    with atomic(run.private / STORED) as temporary, temporary.open("wb") as file:
        np.savez(file, **stored, **sample.first_tokens().arrays())  # type: ignore[arg-type]
    planned = table.filter((pl.col("variant") == whatif.PLANNED) & (pl.col("epochs") == plan.epochs)).row(0, named=True)
    return table, {
        "what_if_rows_sampled": len(sample.rows),
        "audit_size": {
            "certainty": 0.95,
            "rows": sample.measurable,
            "expected_rows": planned["expected_rows"],
            "sample": whatif.audit_size(sample.measurable, planned["expected_rows"]),
            "sample_if_low": whatif.audit_size(sample.measurable, planned["low"]),
            "sample_if_high": whatif.audit_size(sample.measurable, planned["high"]),
        },
    }


def with_plan(
    run: RunFolder, table: pl.DataFrame, plan: pl.DataFrame, pairs: pl.DataFrame, settings: Settings, weights: Weights
) -> pl.DataFrame:
    """whatif.parquet with the line "after deduplication"; without it where the stored sample was purged.

    table: whatif.parquet · plan: plan.parquet · pairs: pairs.parquet. The rows that stay keep their own dose, for their
    batches are filled with others; the visits of the rows that go, and their steps, are gone. What is left of copies
    that meet in one step is taken as it was among all of them: of several that stay, rather too little.
    """
    from scanner.prediction import whatif
    from scanner.prediction.hazard import Regime
    from scanner.sampling import dose_of_set

    table = table.filter(pl.col("variant") != whatif.DEDUPLICATED)
    path = run.private / STORED
    if not path.exists():
        return table
    with np.load(path) as stored:
        arrays = dict(stored)
    own, together, supervised, steps = (arrays.pop(name) for name in ("own", "together", "supervised", "steps"))
    stays = (plan["action"].cast(pl.String) != "drop").to_numpy()
    total, exact, copies, left = doses_of_rest(own, together, stays, plan["row_id"].to_numpy(), pairs, settings.shingle)
    alone = asked_alone(settings.plan, own, total)
    total, exact = total * alone, exact * alone
    set_dose = dose_of_set(own[stays], supervised[stays], copies[stays], settings.plan.goldfish_k)
    kept = float(steps * stays.mean()) if len(stays) else 0.0
    regime = Regime.of(settings.plan, set_dose, kept)
    sample = whatif.Sample.from_arrays(arrays)
    return pl.concat([table, whatif.deduplicated(sample, total, exact, left, regime, settings.plan, weights, 1)])


def project_again(run: RunFolder, settings: Settings, weights_of: Callable[[], Weights]) -> None:
    """Write the line "after deduplication" for the plan that now stands in the run; take it out where it cannot be.

    weights_of: gives the weights of the audit, or raises SettingsError where they or their calibration are gone.
    """
    from scanner.prediction.whatif import DEDUPLICATED

    if not run.has_table("whatif"):
        return
    table, plan, pairs = (run.read_table(name) for name in ("whatif", "plan", "pairs"))
    try:
        table = with_plan(run, table, plan, pairs, settings, weights_of())
    except SettingsError:
        table = table.filter(pl.col("variant") != DEDUPLICATED)
    run.write_table("whatif", table)


def doses_of_rest(
    own: Float64, together: Float64, stays: np.ndarray, row_id: np.ndarray, pairs: pl.DataFrame, shingle: int
) -> tuple[Float64, Float64, Int64, Float64]:
    """(n,) dose of each row by the visits of the rows that stay, in all and by its exact copies; how many of these, and
    what share, stay."""
    from scanner.sampling import copies_of, with_copies

    exact = groups_of(row_id, pairs.filter(COPIES))
    near = pairs.filter(pl.col("signal") == "minhash")
    copies = copies_of(exact.group, *ends(row_id, near), jaccard_of_learned(near), shingle)
    given = np.where(stays, own, 0.0)
    total = with_copies(given, copies, together)
    of_copies = np.bincount(exact.group, given, minlength=len(row_id))[exact.group] * together
    kept = np.bincount(exact.group[stays], minlength=len(row_id))[exact.group]
    return total, np.minimum(of_copies, total), kept, kept / exact.size
