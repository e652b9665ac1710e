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
import torch
from tables import FOLDS, KINDS, SIMULATED, TESTED_EPOCHS, auroc, average_precision
from tokens import calibration_error

from scanner.prediction import Conflicts, Hazard
from scanner.prediction.hazard import EXTRACTED
from scanner.prediction.stretches import heat

TABLE, BESIDE, INSTEAD = "table alone", "base's probability beside it", "base's loss in its place"
OTHER = ("small-1", "chinese-1", "larger-1", "other-1")
"""Cells of another base, or of other rows."""

Hits = dict[tuple[str, int], np.ndarray]


def given(cells: fitting.Cells, variant: str) -> fitting.Cells:
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

    def take(self, name: str, table: measured.Table, o: measured.Observation, rows: np.ndarray, hazard: Hazard) -> None:
        """Predict some rows of a cell after one epoch."""
        weights = fitting.plain(hazard)
        whole = self.rows.setdefault((name, o.epoch), np.full(len(table.member), np.nan))
        whole[rows] = fitting.predict(table, o, weights).extract[rows]
        torn = Conflicts(table.conflict_place, table.conflict_share)
        exact = o.own * np.maximum(1, table.copies)
        chosen = rows[table.member[rows]]
        strength = weights.strength(fitting.grid.CELLS[name].plan)
        regime = replace(o.regime, set_dose=o.regime.set_dose * strength)
        warm = heat(table.features, table.answers, chosen, o.dose * strength, regime, weights, torn, 1,
                    exact=exact * strength)  # fmt: skip
        hit = np.concatenate([o.hits[row] for row in warm.row]) if len(warm.row) else np.zeros(0, bool)
        self.tokens.setdefault(name.split("-")[0], []).append((warm.probability, hit))

    def of_tokens(self, kind: str) -> tuple[float, float]:
        """AUROC and calibration error."""
        chance, hit = (np.concatenate(part) for part in zip(*self.tokens[kind], strict=True))
        return auroc(chance, hit), calibration_error(chance, hit)


def left_out(data: Path, variant: str) -> tuple[Found, fitting.Cells]:
    """The random and grouped cells of the seeds that the fit leaves out, source left out too."""
    found, cells = Found(), {}
    for fitted_on, tested_on in FOLDS[:1]:
        seen = given(fitting.load(data, [f"{k}-{s}" for k in KINDS for s in fitted_on]), variant)
        tested = given(fitting.load(data, [f"{k}-{s}" for k in KINDS for s in tested_on], SIMULATED), variant)
        cells |= tested
        table, start = next(iter(seen.values()))[0], None
        for source in np.unique(table.source):
            others: Callable[[measured.Table], np.ndarray] = lambda t, source=source: t.source != source  # noqa: E731
            start, _ = fitting.fit(seen, others, start, with_base=variant == BESIDE)
            rows = np.flatnonzero(table.source == source)
            for name, (there, observed) in tested.items():
                for o in (o for o in observed if o.epoch in TESTED_EPOCHS):
                    found.take(name, there, o, rows, start)
    return found, cells


def line(found: Found, cells: fitting.Cells, kind: str) -> list[str]:
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
    figures = "AUROC, predicted / true"
    print(f"\n| known of the language | tested on | epoch | rows: {figures} | tokens: {figures} |")
    print("|---|---|---|---|---|")
    names = [f"{kind}-{seed}" for kind in KINDS for seed in FOLDS[0][0]]
    for variant in variants:
        hazard, _ = fitting.fit(
            given(fitting.load(args.data, names), variant), lambda t: t.length > 0, with_base=variant == BESIDE
        )
        for name, (table, observed) in given(fitting.load(args.data, OTHER), variant).items():
            for o in (o for o in observed if o.epoch in (0, *TESTED_EPOCHS)):
                alone = Found()
                alone.take(name, table, o, np.flatnonzero(table.member & (table.length > 0)), hazard)
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
