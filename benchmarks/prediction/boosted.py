"""Boosted trees over whole rows, beside the hazard model: do they earn their place on sources and seeds left out?

    python boosted.py --data DATA --cache CACHE        CACHE: that of candidates.py, whose fitted models are taken

They learn whether N_pre >= 16 from the hazard's own logit, dose and all row features of `candidate_columns.py`, on the
rows, seeds and sources that the hazard was fitted on (doses from a simulated sampler, as in the test), and are tested
as the candidates are. Raising the hazard or the dose may only raise their answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import candidates
import grid
import measured
import numpy as np
import predicting
import tables
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scanner.prediction.hazard import EXTRACTED

SAMPLER = predicting.SIMULATED + 1  # of the doses that are learned from
MODEL = "the hazard"
Made = Callable[[int], object]


def trees(columns: int, rising: int, leaves: int = 8, rounds: int = 150) -> HistGradientBoostingClassifier:
    """Small trees; the first `rising` columns may only raise the answer."""
    return HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=rounds, max_leaf_nodes=leaves, min_samples_leaf=40, l2_regularization=1.0,
        monotonic_cst=[1] * rising + [0] * (columns - rising), early_stopping=False, random_state=0,
    )  # fmt: skip


VARIANTS: dict[str, tuple[str, Made]] = {
    "trees on the hazard and dose": ("own", lambda k: trees(k, 2)),
    "trees on the hazard, dose and row features": ("all", lambda k: trees(k, 2)),
    "the same, 50 trees of 4 leaves": ("all", lambda k: trees(k, 2, 4, 50)),
    "trees on dose and row features, no hazard": ("rows", lambda k: trees(k, 1)),
    "logistic regression on the hazard, dose and row features": (
        "all",
        lambda k: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
    ),
}


def columns(p: np.ndarray, o: measured.Observation, rows: np.ndarray, which: str) -> np.ndarray:
    """(n, k): the hazard's logit, log dose, set dose, row features (n, r); "own" has none of these, "rows" no logit."""
    logit = np.log(np.clip(p, 1e-9, 1 - 1e-9)) - np.log1p(-np.clip(p, 1e-9, 1 - 1e-9))
    dose = [np.log2(1 + o.dose * o.freed), np.full(len(p), np.log2(1 + o.regime.set_dose * o.freed))]
    parts = {"own": [logit, *dose], "rows": [*dose, *rows.T], "all": [logit, *dose, *rows.T]}[which]
    return np.stack(parts, 1)


def described(data: Path, rows: str) -> np.ndarray:
    """(n, r) row features; what was not measured is the mean."""
    found = np.stack(list(candidates.described(data, rows)[1].values()), 1)
    return np.where(np.isnan(found), np.nanmean(found, 0), found)


def predicted(study: candidates.Study, data: Path) -> dict[str, candidates.Predicted]:
    """P(N_pre >= 16) by the hazard and by each variant, source and seed left out."""
    seen = predicting.load(data, candidates.FITTED_ON, SAMPLER)
    found: dict[str, candidates.Predicted] = {name: {} for name in (MODEL, *VARIANTS)}
    for source in study.sources:
        w = study.fold(source).fitted[1]
        learned: dict[str, object] = {}
        for name, (which, made) in VARIANTS.items():
            x, y = [], []
            for table, observed in seen.values():
                usable = table.member & (table.length >= EXTRACTED) & (table.source != source)
                for o in observed:
                    if o.epoch in tables.TESTED_EPOCHS:
                        p = candidates.extraction(w, table, o, _nothing(table))
                        x.append(columns(p, o, described(data, grid.CELLS[o.cell].rows), which)[usable])
                        y.append(o.n_pre[usable] >= EXTRACTED)
            learned[name] = made(x[0].shape[1]).fit(np.concatenate(x), np.concatenate(y))
        for cell, (table, observed) in (study.other if source is None else study.tested).items():
            rows = (table.source == source if source else True) & (table.length >= EXTRACTED)
            for o in observed:
                if o.epoch not in tables.TESTED_EPOCHS:
                    continue
                p = candidates.extraction(w, table, o, _nothing(table))
                for name in found:
                    whole = found[name].setdefault((cell, o.epoch), np.full(len(p), np.nan))
                    if name == MODEL:
                        whole[rows] = p[rows]
                    else:
                        x = columns(p, o, described(data, grid.CELLS[cell].rows), VARIANTS[name][0])
                        whole[rows] = learned[name].predict_proba(x[rows])[:, 1]
    return found


def _nothing(table: measured.Table) -> np.ndarray:
    return np.zeros((0, len(table.features.known)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = candidates.Study(args.data, args.cache)
    found = predicted(study, args.data)
    print("\n".join(candidates.report(study, found, found[MODEL])))


if __name__ == "__main__":
    main()
