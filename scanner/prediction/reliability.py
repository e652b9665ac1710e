"""Calibration of predicted probabilities: in bins of what was predicted, the share that came true."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Bins of predicted probability, finer where most rows are; a bin holds its lower edge, the last one both."""
WIDTH = 1.645
"""Standard deviations on each side of a 90 % interval."""


@dataclass(frozen=True)
class Bin:
    """Rows of about the same predicted probability."""

    predicted: float  # mean of the predictions
    observed: float  # share that came true
    rows: int
    low: float  # 90 % interval of the share, Wilson
    high: float

    def as_dict(self) -> dict[str, Any]:
        """As it stands in JSON and TOML."""
        return asdict(self)


def bins(predicted: npt.ArrayLike, came_true: npt.ArrayLike) -> list[Bin]:
    """Bins that hold any row, by probability; predicted (n,) in [0, 1] without NaN, came_true (n,) of bool."""
    p, truth = np.asarray(predicted, np.float64), np.asarray(came_true, np.bool_)
    at = np.clip(np.searchsorted(EDGES, p, side="right") - 1, 0, len(EDGES) - 2)
    found = []
    for i in np.unique(at).tolist():
        inside = at == i
        rows, hits = int(inside.sum()), int(truth[inside].sum())
        found.append(Bin(float(p[inside].mean()), hits / rows, rows, *share_interval(hits, rows)))
    return found


def share_interval(hits: float, rows: float) -> tuple[float, float]:
    """The 90 % interval of a share of independent rows: Wilson's, which is never empty at 0 or 1.

    rows: as many as they are worth, where they are not independent.
    """
    z, share = WIDTH**2, hits / rows
    middle = (share + z / (2 * rows)) / (1 + z / rows)
    half = WIDTH * math.sqrt(share * (1 - share) / rows + z / (4 * rows * rows)) / (1 + z / rows)
    return max(0.0, middle - half), min(1.0, middle + half)
