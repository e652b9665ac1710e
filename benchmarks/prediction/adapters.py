"""Whether 90 % intervals under LoRA hold: each cell predicted with what adapters learn and hold as the others tell it.

    python adapters.py --data DATA

Without a calibration, and at the level of the cell's own first two or four epochs, as an audit takes it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import other_bases
import predicting
import rehearsed
import torch

from scanner.prediction import intervals, level
from scanner.prediction.hazard import EXTRACTED

REHEARSED = (0, 2, 4)  # epochs; 0: no calibration
IN_NO_FIT = ("lora-cosine-other", "lora-linear-2", "lora-cosine-further")
FIRST = 3  # epoch from which on numbers of rows are held against the interval


def tried(data: Path, name: str) -> Iterator[tuple[int, int, intervals.ExpectedRows, int]]:
    """Epochs rehearsed, later epoch, interval and number of rows that were recited."""
    weights = rehearsed.weights_without(data, name)
    ((table, observed),) = predicting.load(data, [name], predicting.SIMULATED).values()
    rows = np.flatnonzero(table.member & (table.length > 0))
    long = np.flatnonzero(table.member & (table.length >= EXTRACTED))
    for last in REHEARSED:
        seen = [predicting.observed_for_level(table, o, rows) for o in observed if 1 <= o.epoch <= last]
        there = (
            replace(level.found(weights, level.fit(seen, weights)), rehearsed=predicting.runs_of(name, last))
            if last
            else weights.of_another_base(predicting.plan_of(name))
        )
        for o in observed:
            if o.epoch >= FIRST and o.epoch > last:
                state = predicting.observed_for_level(table, o, long)
                true = int((state.n_pre >= EXTRACTED).sum())
                yield last, o.epoch, predicting.interval(there, state), true


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    torch.set_num_threads(1)
    told: dict[tuple[str, int], dict[int, tuple[intervals.ExpectedRows, int]]] = defaultdict(dict)
    for name in (*other_bases.LORA, *IN_NO_FIT):
        for last, epoch, interval, true in tried(data, name):
            told[name, epoch][last] = interval, true
    ways = ["no calibration", *(f"after epochs 1 to {last}" for last in REHEARSED[1:])]
    print(f"| cell | epoch | recited rows | {' | '.join(ways)} |")
    print("|---" * (3 + len(ways)) + "|")
    for (name, epoch), by_way in told.items():
        cells = [
            f"{by_way[last][0].expected:.0f} ({by_way[last][0].low:.0f}-{by_way[last][0].high:.0f})"
            if last in by_way else "-" for last in REHEARSED
        ]  # fmt: skip
        print(f"| {name} | {epoch} | {by_way[0][1]} | {' | '.join(cells)} |")
    print("\n| interval | tests | it held | mean width, rows | of the same tests without a calibration |")
    print("|---" * 5 + "|")
    for way, last in zip(ways, REHEARSED, strict=True):
        found = [by_way for by_way in told.values() if last in by_way]
        held = sum(one[last][0].low <= one[last][1] <= one[last][0].high for one in found)
        width, without = (np.mean([one[w][0].high - one[w][0].low for one in found]) for w in (last, 0))
        print(f"| {way} | {len(found)} | {held} | {width:.0f} | {without:.0f} |")


if __name__ == "__main__":
    main()
