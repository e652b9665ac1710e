"""Test the hazard model on sources and seeds that it was not fitted on, and print every table of RESULTS.md.

    python tables.py --data DATA > RESULTS.md

"Left out" means: fitted on two seeds of the random and two of the length-grouped cell without one source, tested on
the rows of that source under the other seeds, batches drawn by a seed of its own from the rows' lengths in the base's
tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import fit as fitting
import grid
import measured
import numpy as np
import torch
from scipy.stats import rankdata

from scanner.prediction import Hazard, Weights, intervals, level, scoring
from scanner.prediction.hazard import EXTRACTED, load_weights

TESTED_EPOCHS = (4, 6, 8)
SIMULATED = 77
FOLDS = (((1, 2), (3, 4)), ((3, 4), (1, 2)))  # seeds fitted on, seeds tested on
KINDS = ("random", "grouped")
CALIBRATED_TO = 4  # epochs of the short rehearsal
DRAWS = 300
HELD = ("random-3", "random-4", "grouped-3", "grouped-4")  # never fitted where a level is tested
OF_OTHER_ROWS = [
    "other-2", "other-3", "linear-other", "linear-other-3", "other-grouped", "other-grouped-2", "other-grouped-3",
    "packed-other",
]  # fmt: skip
"""Cells of rows that no weights they are tested with have seen, beside other-1."""
REHEARSED = {  # rehearsal -> cells that are predicted with its level, beside its own later epochs
    "random-3": [
        "random-4", "grouped-3", "grouped-4", "batch-32", "linear", "cosine", "steep", "gentle", "per-row", "micro-2",
        "packed", "packed-2", "few", "other-1", *OF_OTHER_ROWS,
    ],
    "other-1": OF_OTHER_ROWS, "lora": [], "short-1": [], "small-1": [], "middle-1": [], "larger-1": [], "chinese-1": [],
}  # fmt: skip
ABLATIONS = {
    "all features": (),
    "background language": ("background", "dose_background"),
    "width of the token": ("width", "dose_width"),
    "known contexts": ("context_known", "dose_known"),
    "the set's own n-grams": ("context_bias", "context_surprise", "context_known", "dose_known"),
    "rarity": ("rarity", "dose_rarity"),
    "progress": ("dose_progress", "dose_epochs"),
}

FITTED_BEFORE: list[Hazard] = []
"""What `hazard_of` fitted, the latest last: where the next fit begins."""

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
    positive = int(truth.sum())
    if positive in (0, len(truth)):
        return float("nan")
    rank = rankdata(value)
    return float((rank[truth].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))


def average_precision(value: np.ndarray, truth: np.ndarray) -> float:
    """Mean precision at the positives; ties are taken in the worst order."""
    if not truth.any():
        return float("nan")
    ranked = truth[np.lexsort((truth, -value))]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def left_out_fits(
    data: Path, fit: Callable, folds: tuple = FOLDS, known: Callable[[fitting.Cells], fitting.Cells] = lambda c: c
) -> Iterator[tuple[str, measured.Table, measured.Observation, np.ndarray, Any]]:
    """Cell, table, observation, rows of the left-out source, and what was fitted without them and without the cell.

    fit(cells, chosen, start): fits, beginning with what it gave last, None at first; known: what it may know of cells.
    """
    for fitted_on, tested_on in folds:
        seen = known(fitting.load(data, [f"{k}-{s}" for k in KINDS for s in fitted_on]))
        tested = known(fitting.load(data, [f"{k}-{s}" for k in KINDS for s in tested_on], SIMULATED))
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
        tails.take(fitting.predict(table, o, fitting.plain(hazard)), rows)
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
        cells = fitting.load(data, [f"{kind}-{s}" for s in (1, 2, 3, 4)], SIMULATED)
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


def observed_for_level(table: measured.Table, o: measured.Observation, rows: np.ndarray) -> level.Observed:
    """A cell's epoch as `scan calibrate` sees a rehearsal, restricted to some rows."""
    part = replace(
        table.answers, row=table.answers.row[rows], start=table.answers.start[rows], end=table.answers.end[rows]
    )
    return level.Observed(
        table.features, part, o.n_pre[rows], o.dose, o.regime.set_dose, int(o.regime.steps), fitting.plan_of(o.cell),
        rows, o.epoch, goldfish=o.goldfish,
    )  # fmt: skip


def calibration(data: Path, rehearsals: dict[str, list[str]], weights_for: Callable[[str], Weights]) -> list[str]:
    """The level fitted on the first epochs of one cell, tested on its later epochs and on other plans.

    weights_for: the weights for a tested cell, which were not fitted to it.
    """
    lines = [
        "| rehearsal, epochs 1 to 4 | level | tested on | epoch | predicted / true rows before | after (90 % interval) "
        "| within the bar | calibration error | by chance | 95 % quantile covers | AUROC |",
        "|---" * 11 + "|",
    ]
    for name, others in rehearsals.items():
        cells = fitting.load(data, [name, *others], SIMULATED)
        if name not in cells:
            continue
        table, observed = cells[name]
        short = [o for o in observed if 1 <= o.epoch <= CALIBRATED_TO]
        rows = np.flatnonzero(table.member & (table.length > 0))
        for other, (there, epochs) in cells.items():
            weights = weights_for(other)
            found = level.fit([observed_for_level(table, o, rows) for o in short], weights)
            told = f"{found.offset:+.2f} ±{found.offset_sd:.2f}" + (
                f", dose x{found.dose_factor:.2f}" if found.fitted != "offset" else ""
            )
            fitted = level.at(
                weights, [found.offset, np.log(found.dose_factor)] if found.fitted != "offset" else [found.offset]
            )
            for o in epochs:
                if o.epoch < CALIBRATED_TO or (other == name and o.epoch <= CALIBRATED_TO):
                    continue
                members = np.flatnonzero(there.member & (there.length >= EXTRACTED))
                one = observed_for_level(there, o, members)
                p, truth = level.extraction(one, fitted), o.n_pre[members] >= EXTRACTED
                before, after = level.around(one, fitted)
                scores = scoring.score(p, truth, members, 1 - before, 1 - after, members)
                moved = [
                    level.extraction(one, level.at(weights, _shift(found, sign))).sum() for sign in (-1.645, 1.645)
                ]
                noise = 1.645 * np.sqrt((p * (1 - p)).sum())
                low, high = (np.hypot(m - p.sum(), noise) for m in moved)
                bar = max(0.25 * truth.sum(), 2 * scores.standard_error)
                ok = "yes" if abs(p.sum() - truth.sum()) <= bar else "no"
                lines.append(
                    f"| {name} | {told} | {other} | {o.epoch} | {level.extraction(one, weights).sum():.0f} / "
                    f"{truth.sum()} | {p.sum():.0f} ({p.sum() - low:.0f}-{p.sum() + high:.0f}) | {ok} | "
                    f"{scores.calibration_error.value:.3f} | {scores.calibration_error_by_chance:.3f} | "
                    f"{scores.cover.value:.3f} | {auroc(p, truth):.3f} |"
                )
    return lines


@cache
def weights_without(data: Path, name: str) -> Weights:
    """Weights fitted to what does not resemble a cell: neither itself nor its rows, where they are others.

    Their level is that of the base of the fit, known to no more than bases lie apart.
    """
    cells = [c for c in fitting.FITTED if c not in (*HELD, name)]
    if grid.CELLS[name].rows != "english":
        cells = [c for c in cells if grid.CELLS[c].rows == "english"]
    hazard = hazard_of(data, tuple(cells))
    priors = replace(load_weights().priors, offset=fitting.PRIORS.offset, offset_sd=fitting.PRIORS.offset_sd)
    return Weights(hazard, priors, False, {})


@cache
def hazard_of(data: Path, cells: tuple[str, ...]) -> Hazard:
    """The hazard fitted to some cells."""
    start = FITTED_BEFORE[-1] if FITTED_BEFORE else None
    hazard, _ = fitting.fit(fitting.load(data, cells), lambda t: t.length > 0, start)
    FITTED_BEFORE.append(hazard)
    return hazard


def _shift(found: level.Level, sign: float) -> list[float]:
    if found.fitted == "offset":
        return [found.offset + sign * found.offset_sd]
    return [found.offset + sign * found.step[0], np.log(found.dose_factor) + sign * found.step[1]]


def bases(data: Path) -> list[str]:
    """What the level of the other bases says of each base, without any rehearsal of it."""
    weights = load_weights()
    levels = fitting.levels_of_bases(data, weights)
    lines = [
        "| base | parameters | pre-trained on | loss there | untuned: loss of a word, chance of it | worth of a visit "
        "| as the others have it (log: sd) | epoch | predicted (90 % interval) / true rows | within a factor of 2 |",
        "|---" * 10 + "|",
    ]
    for name, own in levels.items():
        base = grid.CELLS[name].base
        facts = json.loads((grid.HERE / f"bases-{base}.json").read_text())
        there = fitting.at_level_of_others(weights, name, levels)
        ((table, observed),) = fitting.load(data, [name], SIMULATED).values()
        rows = table.member & (table.length >= EXTRACTED)
        for o in (o for o in observed if o.epoch in TESTED_EPOCHS):
            low, mid, high = (fitting.predict(table, o, w).extract[rows] for w in intervals.levels(there))
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
    tested = fitting.load(data, [f"{k}-{s}" for k in KINDS for s in FOLDS[0][1]], SIMULATED)
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
    parser.add_argument("--only", choices=("ranking", "calibration", "bases", "ablation"), help="one part alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("# What `tables.py` printed\n")
    if args.only in (None, "ranking"):
        predicted = left_out(args.data)
        print("## N_pre >= 16: AUROC ± half the range over seeds / average precision\n")
        print("\n".join(ranking(args.data, predicted, whole=False)))
        print("## Whole answer reproduced, of rows whose answer was not cut\n")
        print("\n".join(ranking(args.data, predicted, whole=True)), flush=True)
    if args.only in (None, "calibration"):
        print("## Level after one short rehearsal\n")
        print(
            "Tested are plans that the weights did not see: fitted to the cells of FITTED (fit.py) but the tested one, "
            "random-3, random-4, grouped-3 and grouped-4; for other rows, to cells of the English rows alone.\n"
        )
        print("\n".join(calibration(args.data, REHEARSED, lambda name: weights_without(args.data, name))), flush=True)
    if args.only in (None, "bases"):
        print("\n## Bases without a rehearsal\n")
        print("The shipped weights, their level as the other bases have it; only `english` was in the fit.\n")
        print("\n".join(bases(args.data)), flush=True)
    if args.only in (None, "ablation"):
        print("\n## What each feature adds\n")
        print("\n".join(ablation(args.data)))


if __name__ == "__main__":
    main()
