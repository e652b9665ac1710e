"""What the predictor says of the rows of a rehearsal, beside what was measured of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from scanner import alongside, rehearsal
from scanner.drawing import Drawn
from scanner.errors import SettingsError
from scanner.prediction import EXTRACTED
from scanner.prediction.scoring import auroc
from scanner.recounting import alone, as_trained, knowing_losses
from scanner.settings import Settings
from scanner.store import RunFolder


def foretold(
    run: RunFolder, settings: Settings, tune: rehearsal.Rehearsal, drawn: Drawn, epochs: pl.DataFrame,
    measured: pl.DataFrame, mark: str = "",
) -> tuple[dict[str, Any], pl.DataFrame]:  # fmt: skip
    """What the predictor says of the rows trained on, from them and those planted, beside what was measured.

    It knows what the audit did (the base's own losses under --base alone), and the lengths of the base, by which the
    batches were made. mark: fingerprint of the base, by which a calibration is known to be of another one.
    """
    from scanner import prediction
    from scanner.prediction import reliability
    from scanner.prediction.crediting import covered
    from scanner.prediction.plans import of_plan
    from scanner.prediction.skew import skew
    from scanner.prediction.statements import COUNT, ORDER

    planted, with_base = drawn.planted, settings.base is not None
    rows = as_trained(alone(run, settings, drawn.row_id, planted), drawn.lengths)
    rows = knowing_losses(rows, epochs) if with_base else rows
    plan = replace(tune.plan, model_params=float(tune.model.parameters))
    try:
        weights = prediction.load_weights(calibration=settings.calibration, plan=plan, with_base=with_base, mark=mark)
    except SettingsError:  # the file is gone or no longer fits: the table says that it is not calibrated
        weights = prediction.load_weights(plan=plan, with_base=with_base)
    at = np.searchsorted(rows.row_id, np.concatenate((drawn.row_id, alongside.row_ids(planted))))
    visits = None
    if tune.weight is not None:
        visits = np.ones(len(rows.row_id))
        visits[at] = tune.weight
    amounts = prediction.doses(
        plan,
        rows.length,
        rows.answers,
        rows.copies,
        rows.order,
        rows.near,
        visits,
        tune.sampler.sequence_tokens,
        settings.seed,
    )
    amounts = prediction.with_known(
        rows.features, rows.answers, amounts, rows.order, plan, weights, rows.conflicts, threads=1
    )
    result = prediction.predict_rows(rows.features, rows.answers, amounts, plan, weights, rows.conflicts, threads=1)
    members = np.where(rows.row_id >= 0, result.p_extract, np.nan)  # planted rows are not measured by themselves
    tail = skew(rows.features, rows.answers, amounts, rows.order, plan, weights, members, rows.conflicts, threads=1)
    predicted = pl.DataFrame({"row_id": rows.row_id, "predicted": result.p_extract}).filter(pl.col("row_id") >= 0)
    table = predicted.join(measured, on="row_id", how="inner").filter(pl.col("predicted").is_not_nan())
    truth = (table["n_pre"] >= EXTRACTED).to_numpy()
    known = replace(weights, validated=covered(weights))
    told = {
        "rows": len(table),
        "expected_rows": float(table["predicted"].sum()),
        "measured_rows": int(truth.sum()),
        "auroc": auroc(table["predicted"].to_numpy(), truth),
        "skew": tail.told(),
        "bins": [b.as_dict() for b in reliability.bins(table["predicted"], truth)],
        "calibrated": result.calibrated,
        "outside": [s.short for s in of_plan(plan, known, amounts.steps) if s.severity in (COUNT, ORDER)],
        "with_base": with_base,
    }
    return told, predicted
