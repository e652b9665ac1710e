"""Trainings with a goldfish loss, and with rows laid end to end, beside what is predicted of them.

    python forgetting.py --data DATA

Neither is in the fit: the shipped weights, at the level of its base, batches drawn by a seed of its own. "as if scaled"
is the prediction that takes 1/k off every dose and knows nothing of single tokens; "without" leaves the loss out of it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import grid
import measured
import numpy as np
import predicting
import tables

from scanner.prediction import Weights
from scanner.prediction.hazard import EXTRACTED, load_weights
from scanner.prediction.stretches import heat
from scanner.sampling import BATCH_POWER

CELLS = ("goldfish-4", "goldfish-10", "goldfish-4-other", "wrapped", "wrapped-other", "wrapped-long")


def beside(table: measured.Table, o: measured.Observation, weights: Weights) -> str:
    """One line: rows that recited 16 tokens, and what each way of predicting says of their number and order."""
    rows, truth = table.member & (table.length >= EXTRACTED), o.n_pre >= EXTRACTED
    plan = grid.CELLS[o.cell].plan
    # what the kept tokens gain, taken back; then 1/k off every dose, whoever has it
    plain = replace(o, goldfish=None, dose=o.dose * plan.share_in_loss**BATCH_POWER)
    less = plan.share_in_loss
    scaled = replace(plain, dose=plain.dose * less, regime=replace(o.regime, set_dose=o.regime.set_dose * less))
    found = []
    for one in (plain, scaled, o):
        p = predicting.predict(table, one, weights)
        found.append(f"{np.nansum(p.extract[rows]):.1f}, {p.mean[table.member].mean():.2f}, "
                     f"{tables.auroc(p.extract[rows], truth[rows]):.3f}")  # fmt: skip
    controls = ~table.member & (table.length >= EXTRACTED)
    return (
        f"| {o.cell} | {o.epoch} | {truth[rows].sum()} (controls {truth[controls].sum()}), "
        f"{o.n_pre[table.member].mean():.2f} | {' | '.join(found)} |"
    )


def tokens(table: measured.Table, o: measured.Observation, weights: Weights) -> str:
    """One line: share of the words hit after the true text, of those learned whole and of the others."""
    chosen = np.flatnonzero(table.member & (table.length > 0))
    strength, regime, _ = predicting.given(table, o, weights)
    exact = o.own * table.copies * strength
    found = heat(
        table.features, table.answers, chosen, o.dose * strength, regime, weights, exact=exact, goldfish=o.goldfish
    )
    hits, kept = (np.concatenate([of[i] for i in chosen]) for of in (o.hits, o.kept))
    parts = []
    for which, odds in ((kept, found.odds), (~kept, found.lost)):
        p = sum(share / (1 + odds * node) for node, share in zip(found.node, found.share, strict=True))
        for alone in (True, False):
            rows = np.repeat(table.single[chosen] == alone, table.length[chosen])
            parts.append(f"{hits[which & rows].mean():.3f} / {p[which & rows].mean():.3f}")
    return f"| {o.cell} | {o.epoch} | {kept.mean():.3f} / {found.kept.mean():.3f} | {' | '.join(parts)} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    weights = load_weights()
    cells = predicting.load(args.data, CELLS, predicting.SIMULATED)
    print("| cell | epoch | rows with N_pre >= 16, mean N_pre: measured | predicted without the loss: rows, mean, "
          "AUROC | as if scaled | now |\n|---|---|---|---|---|---|")  # fmt: skip
    for table, observed in cells.values():
        for o in observed:
            print(beside(table, o, weights), flush=True)
    print("\n| cell | epoch | words learned whole, measured / predicted | of them hit, rows with one copy | other rows "
          "| of the others hit, rows with one copy | other rows |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for table, observed in cells.values():
        for o in observed:
            if o.kept is not None:
                print(tokens(table, o, weights), flush=True)


if __name__ == "__main__":
    main()
