"""What the exponents of the dose (sampling, rates, freeing) are worth: the fit again under other values of each.

    python exponents.py --data DATA [NAME ...]

For each value the doses of all fitted cells are counted again, all weights are fitted from the shipped ones on, and the
likelihood of what was recited is printed (nats per row and epoch, the lower the better), beside predicted and true rows
of the cells in which the exponent shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fit as fitting
import grid
import predicting
import torch

from scanner import rates, sampling
from scanner.prediction import Hazard, freeing
from scanner.prediction.hazard import EXTRACTED, load_weights

TRIED = {
    "RATE_BEND": ((5e-5, 1e-4, 2e-4), ("steep", "gentle")),
    "SHARE_POWER": ((0.5, 0.65, 0.8), ("grouped-1", "per-row")),
    "EVEN_POWER": ((0.0, 1.0, 1.7, 2.5), ("grouped-1", "per-row", "other-grouped")),
    "SETTLED_BEND": ((2e-4, 3e-4, 4e-4), ("linear", "cosine", "many-linear")),
    "WEAR": ((0.06, 0.1, 0.13, 0.2, 0.3), ("linear", "cosine", "many-cosine", "linear-steep", "linear-steep-other")),
    "RELAXES": ((15.0, 30.0, 45.0, 90.0, 400.0), ("linear-quick", "linear", "linear-steep-other-quick", "many-linear")),
    "BATCH_POWER": ((0.0, 0.24, 0.5), ("batch-32", "steep")),
    "MEETING_POWER": ((0.1, 0.3, 0.5, 1.0), ("packed", "grouped-1")),
    "NEAR_POWER": ((1.0, 1.75, 2.5), ("random-1", "grouped-1")),
    "FREED": ((0.0, 0.15, 0.25, 0.35), ("once-most", "twice-other", "linear-steep-2", "many-cosine", "many-linear")),
}
"""Exponent, rate at which the dose bends, or what known rows leave to the rest -> values, cells to show; the shipped
value is among them. Meetings at 1: every copy counts in full."""
SHOWN_EPOCHS = (4, 6, 8, 12)


def refitted(data: Path, start: Hazard) -> tuple[Hazard, float]:
    """The weights under the exponents that are set now, and their nats; `start` is near."""
    return fitting.fit(predicting.load(data, fitting.FITTED), lambda table: table.length > 0, start)


def told(data: Path, shown: tuple[str, ...], hazard: Hazard, nats: float) -> str:
    """Nats and counts under the exponents that are set now."""
    found = []
    for name, (table, observed) in predicting.load(data, shown).items():
        rows = table.member & (table.length >= EXTRACTED)
        counts = []
        for o in (o for o in observed if o.epoch in SHOWN_EPOCHS):
            p = predicting.predict(table, o, predicting.plain(hazard)).extract[rows].sum()
            counts.append(f"{p:.0f}/{(o.n_pre[rows] >= EXTRACTED).sum()}")
        found.append(f"{name} {', '.join(counts)}")
    return f"{nats:.4f} | {'; '.join(found)}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *TRIED], help="exponents; all without")
    parser.add_argument("--data", type=Path, required=True, help="the data folder (holds sft/)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"Cells: {', '.join(n for n in fitting.FITTED if (grid.HERE / f'{n}.parquet').exists())}\n")
    print(
        "| exponent | value | nats per row and epoch | predicted / true rows, epochs 4, 6, 8 (12) |\n|---|---|---|---|"
    )
    best = refitted(args.data, load_weights().hazard)
    for name in args.names or TRIED:
        values, shown = TRIED[name]
        home = next(module for module in (rates, sampling, freeing) if hasattr(module, name))
        shipped = getattr(home, name)
        for value in values:
            setattr(home, name, value)
            found = best if value == shipped else refitted(args.data, best[0])
            mark = " (shipped)" if value == shipped else ""
            print(f"| {name} | {value}{mark} | {told(args.data, shown, *found)} |", flush=True)
        setattr(home, name, shipped)


if __name__ == "__main__":
    main()
