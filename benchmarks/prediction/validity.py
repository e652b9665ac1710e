"""What the fitted cells validate: the [validated] table of the weights file, and what was tested but not fitted."""

from __future__ import annotations

import json
from functools import reduce

import grid
import numpy as np

from scanner.prediction.validated import Transfer, Validated, observed

SCRIPTS = {
    "english": ("Latin", "English"),
    "other": ("Latin", "English"),
    "both": ("Latin", "English"),
    "chinese": ("Han", "Chinese"),
    "boilerplate": ("Latin", "English"),
    "boilerplate-chinese": ("Han", "Chinese"),
}
"""Set of corpus.py -> (script, language) of its rows."""


def of_cells(cells: dict, tested: tuple[Transfer, ...] = ()) -> Validated:
    """The hull of all fitted cells; cells: as `predicting.load` returns them.

    tested: cells that were predicted and not fitted, as `tables.py` finds them.
    """
    found = [_of_cell(name, table, seen) for name, (table, seen) in cells.items()]
    return reduce(Validated.widened, found, Validated(tested=tested))


def _of_cell(name: str, table: object, seen: list) -> Validated:
    """The ranges of one cell, from its first measurement after training began to its last."""
    cell = grid.CELLS[name]
    script, language = SCRIPTS[cell.rows]
    trained = sorted((o for o in seen if o.epoch), key=lambda o: o.epoch)
    doses = np.concatenate([o.dose[table.member] for o in (trained[0], trained[-1])])
    size = json.loads((grid.HERE / f"bases-{cell.base}.json").read_text())["parameters"]
    mean = float(table.supervised[table.supervised > 0].mean())
    of_step = float(table.supervised.sum()) * trained[-1].epoch / trained[-1].regime.steps
    return observed(
        cell.plan, (trained[0].epoch, trained[-1].epoch), (trained[0].regime.steps, trained[-1].regime.steps), doses,
        table.length[table.member], mean, of_step, float(size), (script,), (language,),
    )  # fmt: skip
