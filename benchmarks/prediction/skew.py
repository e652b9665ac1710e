"""How skewed memorization is: the distribution of N_pre over rows, epoch by epoch, measured beside predicted.

    python skew.py --data DATA

The first table has what averages hide (mean, 99th percentile, largest, the share that the top 1 % of rows
carry), the second mean N_pre and the share of rows that reach 16 tokens by what was planted: exact copies, near
copies, conflicting answers. Weights are those of `rehearsed.weights_without`, which have seen neither these seeds nor,
for other rows, any cell of theirs; their level is that of the base, nothing is calibrated.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import corpus
import measured
import numpy as np
import predicting
import rehearsed
import torch

from scanner.prediction.hazard import EXTRACTED

CELLS = {
    "random": ("random-3", "random-4"),
    "length-grouped": ("grouped-3", "grouped-4"),
    "random, other rows": ("other-1", "other-2", "other-3"),
    "length-grouped, other rows": ("other-grouped", "other-grouped-2", "other-grouped-3"),
}
EPOCHS = (1, 2, 4, 6, 8)
TOP = 0.01


def reaching(table: measured.Table, o: measured.Observation, weights: predicting.Weights) -> np.ndarray:
    """(n, longest) predicted P(N_pre >= 1 ..) of every row's answer; 0 beyond its end."""
    curve = np.zeros(len(table.features.log_probability))
    predicting.predict(table, o, weights, curve)
    size = table.answers.end - table.answers.start
    found = np.zeros((len(table.member), int(size.max())))
    for row, start, length in zip(table.answers.row, table.answers.start, size, strict=True):
        found[row, :length] = curve[start : start + length]
    return found


def reached(o: measured.Observation, longest: int) -> np.ndarray:
    """(n, longest) 1.0 where a row's N_pre was so much or more."""
    return (o.n_pre[:, None] >= np.arange(1, longest + 1)).astype(float)


def skew(survival: np.ndarray, members: np.ndarray, controls: np.ndarray, long: np.ndarray) -> list[float]:
    """Mean of members and of controls, 99th percentile, median of the largest, tokens; rows of at least 16 tokens
    that reach 16; share of all tokens that the top 1 % of members carry."""
    of_all = survival[members].mean(axis=0)
    none_so_far = np.prod(1 - survival[members], axis=0)
    return [
        of_all.sum(), survival[controls].mean(axis=0).sum(), np.count_nonzero(of_all >= TOP),
        np.count_nonzero(none_so_far < 0.5), survival[members & long, EXTRACTED - 1].sum(),
        100 * np.minimum(of_all, TOP).sum() / of_all.sum(),
    ]  # fmt: skip


def planted(table: measured.Table) -> Iterator[tuple[str, np.ndarray]]:
    """What was planted, and the members it was planted for."""
    count = len(table.member)
    levels = [set() for _ in range(count)]
    conflicts = np.zeros(count, int)
    for one in table.trained:
        levels[one.member].add(one.replaced)
        conflicts[one.member] += one.replaced == corpus.CONFLICT
    for copies in sorted(set(table.copies[table.member])):
        plain = np.array([found <= {0} for found in levels])
        rows = table.member & plain & (table.copies == copies)
        yield f"{copies} exact copies" if copies > 1 else "once, nothing else", rows
    for level in corpus.NEAR_LEVELS:
        yield f"3 near copies, {level} of 100 tokens replaced", np.array([level in found for found in levels])
    for several in corpus.CONFLICT_LEVELS:
        yield f"{several} conflicting answers" if several > 1 else "a conflicting answer", conflicts == several


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| batches | epoch | mean N_pre, members | controls | 99th percentile | largest | rows with 16 and more "
        "| carried by the top 1 % |\n" + "|---" * 8 + "|"
    )
    kinds: dict[str, dict[str, list[tuple[np.ndarray, ...]]]] = {}
    for batches, names in CELLS.items():
        cells = predicting.load(args.data, names, predicting.SIMULATED)
        weights = {name: rehearsed.weights_without(args.data, name) for name in cells}
        for epoch in EPOCHS:
            truth, guess = [], []
            for name, (table, observed) in cells.items():
                (o,) = [o for o in observed if o.epoch == epoch]
                expected = reaching(table, o, weights[name])
                found = reached(o, expected.shape[1])
                groups = table.member, ~table.member, table.length >= EXTRACTED
                truth.append(skew(found, *groups))
                guess.append(skew(expected, *groups))
                if epoch == EPOCHS[-1]:
                    for kind, rows in planted(table):
                        of_kind = kinds.setdefault(kind, {}).setdefault(batches, [])
                        of_kind.append((found[rows], expected[rows], (table.length >= EXTRACTED)[rows]))
            cells_of = zip(np.mean(truth, axis=0), np.mean(guess, axis=0), ("", "", "", "", "", " %"), strict=True)
            told = [f"{a:.{1 if a < 20 else 0}f} / {b:.{1 if b < 20 else 0}f}{unit}" for a, b, unit in cells_of]
            print(f"| {batches} | {epoch} | {' | '.join(told)} |", flush=True)
    print(f"\nAfter {EPOCHS[-1]} epochs, mean N_pre (share with 16 tokens and more), measured / predicted:\n")
    print(f"| planted | rows | {' | '.join(CELLS)} |\n" + "|---" * (2 + len(CELLS)) + "|")
    for kind, found in kinds.items():
        rows = {len(one[0]) for of_kind in found.values() for one in of_kind}
        told = []
        for batches in CELLS:
            of_kind = found[batches]
            mean = [np.mean([one[i].sum(axis=1).mean() for one in of_kind]) for i in (0, 1)]
            share = [np.mean([one[i][one[2], EXTRACTED - 1].mean() for one in of_kind]) for i in (0, 1)]
            told.append(f"{mean[0]:.1f} / {mean[1]:.1f} ({100 * share[0]:.0f} / {100 * share[1]:.0f} %)")
        print(f"| {kind} | {' and '.join(map(str, sorted(rows)))} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
