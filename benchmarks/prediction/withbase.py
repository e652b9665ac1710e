"""What the untuned base's own losses add to the prediction, beside the table of general text or in its place.

    python withbase.py --data DATA                       sources and seeds left out, as in tables.py; then other bases

Rows: AUROC of N_pre >= 16 among all members / among rows with one copy, average precision, predicted / true rows,
means over seeds. Tokens: teacher-forced hits of every token of the members after epochs 4, 6 and 8.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fit as fitting
import measured
import numpy as np
import predicting
import torch
from tables import FOLDS, KINDS, TESTED_EPOCHS, auroc, average_precision, left_out_fits
from tokens import calibration_error

from scanner.prediction import Weights
from scanner.prediction.hazard import EXTRACTED

TABLE, BESIDE, INSTEAD = "table alone", "base's probability beside it", "base's loss in its place"
OTHER = ("small-1", "chinese-1", "larger-1", "other-1")
"""Cells of another base, or of other rows."""

Hits = dict[tuple[str, int], np.ndarray]


def given(cells: predicting.Cells, variant: str) -> predicting.Cells:
    """The cells with the background that a variant knows."""
    if variant != INSTEAD:
        return cells
    swapped: dict[int, measured.Table] = {}
    for table, _ in cells.values():
        features = replace(table.features, background=-table.base_loss)
        swapped.setdefault(id(table), replace(table, features=features))
    return {name: (swapped[id(table)], observed) for name, (table, observed) in cells.items()}


class Found:
    """Predictions of one variant: of rows by cell and epoch, and of tokens by kind of batches."""

    def __init__(self) -> None:
        self.rows: Hits = {}
        self.tokens: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def take(
        self, name: str, table: measured.Table, o: measured.Observation, rows: np.ndarray, weights: Weights
    ) -> None:
        """Predict some rows of a cell after one epoch."""
        whole = self.rows.setdefault((name, o.epoch), np.full(len(table.member), np.nan))
        whole[rows] = predicting.predict(table, o, weights).extract[rows]
        warm = predicting.warm(table, o, weights, rows[table.member[rows]])
        hit = np.concatenate([o.hits[row] for row in warm.row]) if len(warm.row) else np.zeros(0, bool)
        self.tokens.setdefault(name.split("-")[0], []).append((warm.probability, hit))

    def of_tokens(self, kind: str) -> tuple[float, float]:
        """AUROC and calibration error."""
        chance, hit = (np.concatenate(part) for part in zip(*self.tokens[kind], strict=True))
        return auroc(chance, hit), calibration_error(chance, hit)


def fitted(variant: str) -> Callable[..., Weights]:
    """How a variant is fitted: weights of rows and of tokens."""

    def fit(cells: predicting.Cells, chosen: Callable, start: Weights | None = None) -> Weights:
        beside = variant == BESIDE
        hazard, _ = fitting.fit(cells, chosen, start and start.hazard, with_base=beside)
        return predicting.plain(hazard, fitting.fit_heat(cells, chosen, start and start.heat, beside))

    return fit


def left_out(data: Path, variant: str) -> tuple[Found, predicting.Cells]:
    """The random and grouped cells, source and seed left out of the fit."""
    found, cells = Found(), {}
    for name, table, o, rows, weights in left_out_fits(data, fitted(variant), known=lambda c: given(c, variant)):
        found.take(name, table, o, rows, weights)
        cells.setdefault(name, (table, []))[1].append(o)
    return found, cells


def line(found: Found, cells: predicting.Cells, kind: str) -> list[str]:
    """A cell of the table for each tested epoch."""
    parts = []
    for epoch in TESTED_EPOCHS:
        scores: list[list[float]] = [[], [], []]
        counts = []
        for name, (table, observed) in cells.items():
            if not name.startswith(kind):
                continue
            truth = next(o for o in observed if o.epoch == epoch).n_pre >= EXTRACTED
            rows, value = table.member & (table.length >= EXTRACTED), found.rows[name, epoch]
            single = rows & table.single
            scores[0].append(auroc(value[rows], truth[rows]))
            scores[1].append(auroc(value[single], truth[single]))
            scores[2].append(average_precision(value[rows], truth[rows]))
            counts.append((value[rows].sum(), truth[rows].sum()))
        told, true = np.sum(counts, 0)
        parts.append(f"{' / '.join(f'{np.nanmean(s):.3f}' for s in scores)}, {told:.0f} / {true:.0f}")
    return parts


def ceiling(cells: predicting.Cells, kind: str) -> tuple[float, float]:
    """AUROC of tokens by the hits under one other seed, and by their mean under the others; means over the seeds."""
    hits = {}
    for name, (table, observed) in cells.items():
        if name.startswith(kind):
            at = {o.epoch: o for o in observed}
            hits[name] = np.concatenate(
                [at[e].hits[row] for e in TESTED_EPOCHS for row in np.flatnonzero(table.member & (table.length > 0))]
            )
    one = [auroc(hits[b].astype(float), hits[a]) for a in hits for b in hits if a != b]
    others = [auroc(np.mean([hits[b] for b in hits if b != a], 0), hits[a]) for a in hits]
    return float(np.mean(one)), float(np.mean(others))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    variants = (TABLE, BESIDE, INSTEAD)
    print("| known of the language | batches | epoch 4 | epoch 6 | epoch 8 | tokens: AUROC, calibration error |")
    print("|---|---|---|---|---|---|")
    for variant in variants:
        found, cells = left_out(args.data, variant)
        for kind in KINDS:
            ranked, error = found.of_tokens(kind)
            print(
                f"| {variant} | {kind} | {' | '.join(line(found, cells, kind))} | {ranked:.3f}, {error:.3f} |",
                flush=True,
            )
    for kind in KINDS:
        print("tokens, {}: one other seed {:.3f}, mean of three {:.3f}".format(kind, *ceiling(cells, kind)))
    figures = "AUROC, predicted / true"
    print(f"\n| known of the language | tested on | epoch | rows: {figures} | tokens: {figures} |")
    print("|---|---|---|---|---|")
    names = [f"{kind}-{seed}" for kind in KINDS for seed in FOLDS[0][0]]
    for variant in variants:
        weights = fitted(variant)(given(predicting.load(args.data, names), variant), lambda t: t.length > 0)
        for name, (table, observed) in given(predicting.load(args.data, OTHER), variant).items():
            for o in (o for o in observed if o.epoch in (0, *TESTED_EPOCHS)):
                alone = Found()
                alone.take(name, table, o, np.flatnonzero(table.member & (table.length > 0)), weights)
                rows = table.member & (table.length >= EXTRACTED)
                value, truth = alone.rows[name, o.epoch][rows], o.n_pre[rows] >= EXTRACTED
                (chance, hit), *_ = alone.tokens[name.split("-")[0]]
                print(
                    f"| {variant} | {name} | {o.epoch} | "
                    f"{auroc(value, truth):.3f}, {value.sum():.1f} / {truth.sum()} | "
                    f"{auroc(chance, hit):.3f}, {chance.mean():.3f} / {hit.mean():.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
