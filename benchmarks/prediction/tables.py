"""Test the hazard model on sources and seeds that it was not fitted on, and print the first tables of RESULTS.md.

    python tables.py --data DATA                as far as "What each feature adds"
    python tables.py --data DATA --only bases

"Left out" means: fitted on two seeds of the random and two of the length-grouped cell without one source, tested on
the rows of that source under the other seeds, batches drawn by a seed of its own from the rows' lengths in the base's
tokens.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fit as fitting
import grid
import measured
import numpy as np
import other_bases
import predicting
import rehearsed
import torch

from scanner.prediction import intervals, scoring
from scanner.prediction.hazard import EXTRACTED, load_weights

TESTED_EPOCHS = (4, 6, 8)
FOLDS = (((1, 2), (3, 4)), ((3, 4), (1, 2)))  # seeds fitted on, seeds tested on
KINDS = ("random", "grouped")
DRAWS = 300
ABLATIONS = {
    "all features": (),
    "background language": ("background", "dose_background"),
    "width of the token": ("width", "dose_width"),
    "known contexts": ("context_known", "dose_known"),
    "openings": ("context_opening",),
    "certainty of the other rows": ("context_certain",),
    "all that the set's own n-grams say": (
        "context_bias",
        "context_surprise",
        "context_known",
        "context_certain",
        "context_opening",
        "dose_known",
    ),
    "rarity": ("rarity", "dose_rarity"),
    "progress": ("dose_progress", "dose_epochs"),
}

Predicted = dict[tuple[str, int], "Tails"]


class Tails:
    """(n,) P(N_pre >= 16) and P(whole answer) of a cell's rows at one epoch."""

    def __init__(self, count: int) -> None:
        self.extract, self.whole = np.full(count, np.nan), np.full(count, np.nan)

    def take(self, found: object, rows: np.ndarray) -> None:
        """Fill in the rows of one left-out source."""
        self.extract[rows], self.whole[rows] = found.extract[rows], found.whole[rows]


def auroc(value: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a positive outranks a negative, ties counted half; NaN without both kinds."""
    found = scoring.auroc(value, truth)
    return math.nan if found is None else found


def average_precision(value: np.ndarray, truth: np.ndarray) -> float:
    """Mean precision at the positives; ties are taken in the worst order."""
    if not truth.any():
        return float("nan")
    ranked = truth[np.lexsort((truth, -value))]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def left_out_fits(
    data: Path, fit: Callable, folds: tuple = FOLDS, known: Callable[[predicting.Cells], predicting.Cells] = lambda c: c
) -> Iterator[tuple[str, measured.Table, measured.Observation, np.ndarray, Any]]:
    """Cell, table, observation, rows of the left-out source, and what was fitted without them and without the cell.

    fit(cells, chosen, start): fits, beginning with what it gave last, None at first; known: what it may know of cells.
    """
    for fitted_on, tested_on in folds:
        seen = known(predicting.load(data, [f"{k}-{s}" for k in KINDS for s in fitted_on]))
        tested = known(predicting.load(data, [f"{k}-{s}" for k in KINDS for s in tested_on], predicting.SIMULATED))
        table, fitted = next(iter(seen.values()))[0], None
        for source in np.unique(table.source):
            fitted = fit(seen, lambda t, source=source: t.source != source, fitted)
            rows = np.flatnonzero(table.source == source)
            for name, (there, observed) in tested.items():
                for o in observed:
                    if o.epoch in TESTED_EPOCHS:
                        yield name, there, o, rows, fitted


def left_out(data: Path, dropped: tuple[str, ...] = (), folds: tuple = FOLDS) -> Predicted:
    """Predictions of every random and grouped cell at the tested epochs, source and seed left out."""
    predicted: Predicted = {}
    fit = lambda cells, chosen, start: fitting.fit(cells, chosen, start, dropped)[0]  # noqa: E731
    for name, table, o, rows, hazard in left_out_fits(data, fit, folds):
        tails = predicted.setdefault((name, o.epoch), Tails(len(table.member)))
        tails.take(predicting.predict(table, o, predicting.plain(hazard)), rows)
    return predicted


def baselines(table: measured.Table) -> dict[str, Callable[[measured.Observation], np.ndarray]]:
    """The five that must be beaten, and dose alone."""

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
        return (sums[table.answers.end] - sums[table.answers.start]) / np.maximum(1, table.length)

    loss, ngram = mean(table.base_loss), mean(table.features.log_probability)
    return {
        "number of copies": lambda o: table.copies.astype(float),
        "copies with near copies at their kappa": lambda o: table.plain,
        "- answer length": lambda o: -table.length.astype(float),
        "- loss before tuning": lambda o: -loss,
        "- leave-one-out n-gram loss": lambda o: ngram,
        "dose alone (simulated)": lambda o: o.dose,
    }


def ranking(data: Path, predicted: Predicted, whole: bool) -> list[str]:
    """AUROC / average precision, mean over seeds and half their range, beside baselines and ceilings."""
    lines = []
    for kind in KINDS:
        cells = predicting.load(data, [f"{kind}-{s}" for s in (1, 2, 3, 4)], predicting.SIMULATED)
        if not cells:
            continue
        table = next(iter(cells.values()))[0]
        at = {(name, o.epoch): o for name, (_, observed) in cells.items() for o in observed}
        truth_of = (lambda o: o.whole) if whole else (lambda o: o.n_pre >= EXTRACTED)
        for title, rows in (
            ("all members", table.member),
            ("rows with one copy, nothing planted", table.member & table.single),
        ):
            rows = rows & (table.whole if whole else table.length >= EXTRACTED)
            positive = {e: [int(truth_of(at[n, e])[rows].sum()) for n in cells] for e in TESTED_EPOCHS}
            head = [f"epoch {e} ({'+'.join(map(str, positive[e]))} of {rows.sum()} each)" for e in TESTED_EPOCHS]
            lines += [f"**{kind} batches, {title}**, {len(cells)} seeds", "", f"| score | {' | '.join(head)} |",
                      "|---" * (len(head) + 1) + "|"]  # fmt: skip
            mine = lambda o, n: predicted[n, o.epoch].whole if whole else predicted[n, o.epoch].extract  # noqa: E731
            scores = {"**hazard, source and seed left out**": mine}
            for name, score in baselines(table).items():
                scores[name] = lambda o, n, score=score: score(o)
            for name, score in scores.items():
                cellwise = []
                for e in TESTED_EPOCHS:
                    found = [(score(at[n, e], n)[rows], truth_of(at[n, e])[rows]) for n in cells]
                    roc, precision = ([f(v, y) for v, y in found] for f in (auroc, average_precision))
                    text = f"{_mean(roc)} / {np.nanmean(precision):.3f}"
                    if not name.startswith("**"):
                        best = [(mine(at[n, e], n)[rows], truth_of(at[n, e])[rows]) for n in cells]
                        text += f" ({_paired(best, found)})"
                    cellwise.append(text)
                lines.append(f"| {name} | {' | '.join(cellwise)} |")
            for name, pooled in (("ceiling: one other seed", False), ("ceiling: mean of all other seeds", True)):
                cellwise = [_ceiling([at[n, e] for n in cells], rows, truth_of, pooled) for e in TESTED_EPOCHS]
                lines.append(f"| {name} | {' | '.join(cellwise)} |")
            if not whole:
                pairs = {
                    e: [(np.nansum(predicted[n, e].extract[rows]), truth_of(at[n, e])[rows].sum()) for n in cells]
                    for e in TESTED_EPOCHS
                }
                counts = [", ".join(f"{expected:.0f}/{true}" for expected, true in pairs[e]) for e in TESTED_EPOCHS]
                lines.append(f"| predicted / true rows | {' | '.join(counts)} |")
            lines.append("")
    return lines


def _mean(values: list[float]) -> str:
    usable = [v for v in values if not np.isnan(v)]
    return f"{np.mean(usable):.3f} ±{(max(usable) - min(usable)) / 2:.3f}" if usable else "-"


def _paired(best: list, other: list) -> str:
    """Shares of bootstrap draws of rows in which the hazard's AUROC, and its average precision, is the higher one."""
    rng, won, drawn = np.random.default_rng(0), np.zeros(2), 0
    for _ in range(DRAWS):
        pick = rng.integers(0, len(best[0][0]), len(best[0][0]))
        gap = np.array(
            [
                [f(v[pick], y[pick]) - f(u[pick], y[pick]) for (v, y), (u, _) in zip(best, other, strict=True)]
                for f in (auroc, average_precision)
            ]
        )
        if not np.isnan(gap).all(1).any():
            drawn += 1
            won += np.nanmean(gap, 1) > 0
    return f"beaten in {won[0] / drawn:.0%} / {won[1] / drawn:.0%}" if drawn else "-"


def _ceiling(observed: list[measured.Observation], rows: np.ndarray, truth_of: Callable, pooled: bool) -> str:
    found = []
    for o in observed:
        others = [p for p in observed if p is not o]
        truth = truth_of(o)[rows]
        if pooled and len(others) > 1:
            found.append(auroc(np.mean([np.minimum(p.n_pre[rows], 64) for p in others], axis=0), truth))
        elif not pooled:
            found += [auroc(p.n_pre[rows].astype(float), truth) for p in others]
    return _mean(found)


def bases(data: Path) -> list[str]:
    """What the level of the other bases says of each base, without any rehearsal of it."""
    weights = load_weights()
    levels = other_bases.levels_of_bases(data, weights)
    lines = [
        "| base | parameters | pre-trained on | loss there | untuned: loss of a word, chance of it | worth of a visit "
        "| as the others have it (log: sd) | epoch | predicted (90 % interval) / true rows | within a factor of 2 |",
        "|---" * 10 + "|",
    ]
    for name, own in levels.items():
        base = grid.CELLS[name].base
        facts = json.loads((grid.HERE / f"bases-{base}.json").read_text())
        there = other_bases.at_level_of_others(weights, name, levels)
        ((table, observed),) = predicting.load(data, [name], predicting.SIMULATED).values()
        rows = table.member & (table.length >= EXTRACTED)
        for o in (o for o in observed if o.epoch in TESTED_EPOCHS):
            low, mid, high = (predicting.predict(table, o, w).extract[rows] for w in intervals.levels(there))
            told = intervals.expected_rows(low, mid, high, copies=np.maximum(1, table.copies)[rows])
            true = int((o.n_pre[rows] >= EXTRACTED).sum())
            ok = abs(told.expected - true) <= 2 * np.sqrt(true) or 0.5 <= told.expected / max(true, 1) <= 2
            lines.append(
                f"| {base} | {facts['parameters'] / 1e6:.2f} M | {facts['tokens'] / 1e6:.1f} M | "
                f"{facts['loss_per_token_nats']:.2f} | {table.base_loss.mean():.2f}, "
                f"{table.features.base.mean():.3f} | {np.exp(own):.2f} | "
                f"{there.dose_factor:.2f} ±{there.log_factor_step:.2f} | {o.epoch} | "
                f"{told.expected:.0f} ({told.low:.0f}-{told.high:.0f}) / {true} | {'yes' if ok else 'no'} |"
            )
    return lines


def ablation(data: Path) -> list[str]:
    """What each feature adds: fitted on seeds 1 and 2 without it, source left out, tested on seeds 3 and 4."""
    lines = [
        "| left out | AUROC, all members, epoch 4 / 6 / 8 | rows with one copy | average precision |",
        "|---|---|---|---|",
    ]
    tested = predicting.load(data, [f"{k}-{s}" for k in KINDS for s in FOLDS[0][1]], predicting.SIMULATED)
    for name, dropped in ABLATIONS.items():
        predicted = left_out(data, dropped, FOLDS[:1])
        cells: list[list[str]] = [[], [], []]
        for e in TESTED_EPOCHS:
            rocs: list[list[float]] = [[], [], []]
            for cell, (table, observed) in tested.items():
                o = next(o for o in observed if o.epoch == e)
                rows = table.member & (table.length >= EXTRACTED)
                value, truth = predicted[cell, e].extract, o.n_pre >= EXTRACTED
                single = rows & table.single
                rocs[0].append(auroc(value[rows], truth[rows]))
                rocs[1].append(auroc(value[single], truth[single]))
                rocs[2].append(average_precision(value[rows], truth[rows]))
            for column, values in zip(cells, rocs, strict=True):
                column.append(f"{np.nanmean(values):.3f}")
        lines.append(f"| {name} | {' | '.join(' / '.join(column) for column in cells)} |")
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parts = ("ranking", "calibration", "boilerplate", "often", "further", "quick", "bases", "ablation")
    parser.add_argument("--only", choices=parts, help="one part alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only in (None, "ranking"):
        predicted = left_out(args.data)
        print("## N_pre >= 16: AUROC ± half the range over seeds / average precision\n")
        print("\n".join(ranking(args.data, predicted, whole=False)))
        print("## Whole answer reproduced, of rows whose answer was not cut\n")
        print("\n".join(ranking(args.data, predicted, whole=True)), flush=True)
    if args.only in (None, "calibration"):
        print("## Level after one short rehearsal\n")
        print(
            "Tested are plans that the weights did not see, or other seeds and rows of the plans of random-1, "
            "grouped-1 and linear-steep: fitted to the cells of FITTED (fit.py) but the tested one, those of its plan, "
            "random-3, random-4, grouped-3 and grouped-4; for other rows, to cells of the English rows alone. "
            "LoRA, of which no fit has a cell: the shipped weights, what adapters learn and hold told by the other "
            "cells.\n"
        )
        print("\n".join(rehearsed.calibration(args.data)), flush=True)
    if args.only in (None, "boilerplate"):
        print("\n## Level where answers are boilerplate\n")
        print("\n".join(rehearsed.calibration(args.data, rehearsed.BOILERPLATE)), flush=True)
    if args.only in (None, "often"):
        print("\n## Level where no row has a copy, or every row as many\n")
        print("\n".join(rehearsed.calibration(args.data, rehearsed.OFTEN)), flush=True)
    if args.only in (None, "further"):
        print("\n## Level on rows of sources that nothing was chosen on\n")
        print("\n".join(rehearsed.calibration(args.data, rehearsed.FURTHER)), flush=True)
    if args.only in (None, "quick"):
        print("\n## Level from a short rehearsal whose rate falls as the plan's does\n")
        print("\n".join(rehearsed.calibration(args.data, rehearsed.QUICK)), flush=True)
    if args.only in (None, "bases"):
        print("\n## Bases without a rehearsal\n")
        print("The shipped weights, their level as the other bases have it; only `english` was in the fit.\n")
        print("\n".join(bases(args.data)), flush=True)
    if args.only in (None, "ablation"):
        print("\n## What each feature adds\n")
        print("\n".join(ablation(args.data)))


if __name__ == "__main__":
    main()
