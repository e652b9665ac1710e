"""Levels from the first epochs alone, after which hardly a row was recited: does the interval hold the later ones?

    python earliest.py --data DATA

Per cell the level is fitted with the shipped weights on epoch 1, or epochs 1 and 2, of all members or of those planted
once; then the 90 % interval of the number of rows at epochs 4, 6, 8 and 12 is held against what came, and so is that
without any calibration. The shipped weights have seen most cells; their hits of other bases, LoRA and Chinese they have
not.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import predicting
import torch

from scanner.prediction import intervals, level
from scanner.prediction.hazard import EXTRACTED, load_weights

CELLS = (
    "random-1", "random-3", "grouped-3", "batch-32", "linear", "cosine", "gentle", "steep", "per-row", "packed-2",
    "few", "other-1", "other-2", "other-grouped", "lora", "short-1", "small-1", "small-2", "middle-1", "larger-1",
    "chinese-1",
)  # fmt: skip
LATER = (4, 6, 8, 12)
FIRST = (1, 2)
Interval = intervals.ExpectedRows


def tried(data: Path, name: str) -> Iterator[tuple[str, int, int, str, Interval, int]]:
    """Rows, last epoch of the fit, rows recited in it, later epoch, way, interval and number of rows recited."""
    weights = load_weights()
    for table, observed in predicting.load(data, [name], predicting.SIMULATED).values():
        long = np.flatnonzero(table.member & (table.length >= EXTRACTED))
        for rows, chosen in (("all", table.member), ("planted once", table.member & table.single)):
            at = np.flatnonzero(chosen & (table.length > 0))
            for last in FIRST:
                states = [predicting.observed_for_level(table, o, at) for o in observed if 1 <= o.epoch <= last]
                found = level.fit(states, weights)
                runs = predicting.runs_of(name, last)
                ways = {
                    "calibrated": replace(level.found(weights, found), rehearsed=runs),
                    "no calibration": weights.of_another_base(predicting.plan_of(name)),
                }
                for o in (o for o in observed if o.epoch in LATER):
                    state = predicting.observed_for_level(table, o, long)
                    true = int((state.n_pre >= EXTRACTED).sum())
                    for way, there in ways.items():
                        yield rows, last, level.hits(states), way, predicting.interval(there, state), true


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    kept: dict[tuple[str, str, str, str], list[tuple[bool, bool, float]]] = defaultdict(list)
    for name in CELLS:
        for rows, last, hits, way, told, true in tried(args.data, name):
            recited = "none" if hits == 0 else "1 to 9" if hits < level.ENOUGH_HITS else "10 and more"
            epochs = "epoch 1" if last == 1 else f"epochs 1 to {last}"
            kept[rows, epochs, recited, way].append((true < told.low, true > told.high, told.high - told.low))
    print("| rows | fitted on | of them recited | interval | tests | it held | too high | too low | mean width, rows |")
    print("|---" * 9 + "|")
    for key, found in sorted(kept.items()):
        above, below, width = np.mean(np.array(found, float), axis=0)
        print(
            f"| {' | '.join(key)} | {len(found)} | {1 - above - below:.0%} | {above:.0%} | {below:.0%} | {width:.0f} |"
        )


if __name__ == "__main__":
    main()
