"""One measured cell of the grid by epoch, with the conflicts that were planted.

Used by `tokens.py` and `counterfactual.py`, which look at more than N_pre.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import corpus
import grid
import numpy as np
from measured import Observation, Table, assemble, observe

from scanner.prediction import Conflicts


@dataclass(frozen=True)
class Planted:
    """A cell: its rows with their features, and what was recalled after each epoch."""

    table: Table
    epochs: dict[int, Observation]
    conflicts: Conflicts


def read(data: Path, name: str) -> Planted:
    """One cell from the measurements that lie in `grid.HERE`."""
    table = assemble(data, name)
    epochs = {o.epoch: o for o in observe(table, name) if o.epoch}
    return Planted(table, epochs, Conflicts(table.conflict_place, table.conflict_share))


def planted_once(members: list[corpus.Row]) -> np.ndarray:
    """(members,) bool: the whole planted set holds the row once, without near copies or conflicts."""
    return np.isin(np.arange(len(members)), grid.alone(corpus.plant(members, grid.SEED), len(members)))
