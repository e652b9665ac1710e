"""Of rows that stand once, how many are recited by when each was last seen: in which fifth of the last epoch.

    python recency.py --data DATA [CELL ...]

No plan tells the order of the last epoch, so nothing is predicted from it: what the weights expect differs between the
fifths by chance alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import grid
import measured
import numpy as np
import predicting

from scanner.batching import Sampler
from scanner.prediction import scoring
from scanner.prediction.hazard import EXTRACTED, load_weights

CELLS = (
    "most", "many", "many-other", "once-most", "once-most-2", "once-many", "random-1", "random-2", "random-3",
    "random-4", "steep", "steep-2", "gentle", "batch-32", "many-linear", "many-other-linear", "many-cosine",
    "many-other-cosine", "linear-steep", "linear-steep-other", "linear", "linear-other", "linear-other-3",
)  # fmt: skip
PARTS = 5


def steps_since(name: str, table: measured.Table, epoch: int) -> tuple[np.ndarray, int]:
    """(members,) steps between a member's last visit and the end of an epoch, -1 where it was left out; steps of it.

    Of members with exact copies it is the visit of the member itself.
    """
    cell = grid.CELLS[name]
    _, tokens = measured.lengths(cell, table)
    sampler = Sampler(cell.plan, tokens, measured.sequence_of(cell))
    visits = sampler.epoch(np.random.default_rng([cell.seed, epoch - 1]))
    of_row = np.full(len(tokens), -1)
    of_row[visits.rows] = visits.steps - 1 - visits.step
    members, places = measured.first_places(table.trained)
    since = np.full(len(table.member), -1)
    since[members] = of_row[places]
    return since, visits.steps


def by_last_visit(data: Path, names: tuple[str, ...] = CELLS) -> list[str]:
    """A line per cell, at its last epoch."""
    lines = [
        "| cell | peak rate, schedule | steps of an epoch | epoch | recited of rows with one copy, by fifths of the "
        "epoch since they were seen, the latest first | expected | right words of the first 24 | AUROC of the place |",
        "|---" * 8 + "|",
    ]
    weights = load_weights()
    for name, (table, observed) in predicting.load(data, names).items():
        o, plan = observed[-1], grid.CELLS[name].plan
        since, steps = steps_since(name, table, int(o.epoch))
        rows = np.flatnonzero(table.member & (table.length >= EXTRACTED) & (table.copies == 1) & (since >= 0))
        chance = predicting.predict(table, o, weights).extract[rows]
        recited = o.n_pre[rows] >= EXTRACTED
        right = np.array([o.hits[row][:24].mean() for row in rows])
        part = since[rows] * PARTS // steps
        of_part = [part == number for number in range(PARTS)]
        place = scoring.auroc(-since[rows].astype(np.float64), recited)
        lines.append(
            f"| {name} | {plan.learning_rate:g} {plan.lr_schedule} | {steps} | {o.epoch} | "
            f"{', '.join(str(recited[there].sum()) for there in of_part)} | "
            f"{', '.join(f'{chance[there].sum():.0f}' for there in of_part)} | "
            f"{', '.join(f'{right[there].mean():.2f}' for there in of_part)} | {place or np.nan:.2f} |"
        )
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", choices=[[], *CELLS], help="cells of random batches; all of these without")
    parser.add_argument("--data", type=Path, required=True, help="the data folder (holds sft/)")
    args = parser.parse_args()
    print("\n".join(by_last_visit(args.data, tuple(args.cells) or CELLS)))


if __name__ == "__main__":
    main()
