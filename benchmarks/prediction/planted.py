"""One measured cell of the grid with what `measured.py` leaves out: each row's own dose, apart from its copies'.

Used by `tokens.py` and `counterfactual.py`, which look at more than N_pre.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import corpus
import grid
import numpy as np
import polars as pl
from measured import Observation, Table, assemble, observe

from scanner.prediction import Conflicts


@dataclass(frozen=True)
class Planted:
    """A cell: its rows with their features, what was recalled after each epoch, and each row's own dose."""

    table: Table
    epochs: dict[int, Observation]
    own: dict[int, np.ndarray]  # epoch -> (n,) dose of the row's own visits; 0 for rows that were not trained
    conflicts: Conflicts


def read(data: Path, name: str) -> Planted:
    """One cell from the measurements that lie in `grid.HERE`."""
    table = assemble(data, name)
    doses = pl.read_parquet(grid.HERE / f"{name}-doses.parquet")
    own_place = np.full(len(table.member), -1)
    for place, trained in reversed(list(enumerate(table.trained))):
        if trained.replaced == 0:
            own_place[trained.member] = place
    own = {}
    for (epoch,), given in doses.group_by("epoch"):
        visits = given.sort("trained")["visits"].to_numpy().astype(float)
        own[int(epoch)] = np.where(own_place >= 0, visits[own_place], 0.0)
    epochs = {o.epoch: o for o in observe(table, name) if o.epoch}
    return Planted(table, epochs, own, Conflicts(table.conflict_place, table.conflict_share))


def planted_once(members: list[corpus.Row]) -> np.ndarray:
    """(members,) bool: the whole planted set holds the row once, without near copies or conflicts."""
    return np.isin(np.arange(len(members)), grid.alone(corpus.plant(members, grid.SEED), len(members)))
