"""How crowded a row's surroundings are in embedding space: near neighbours, and in how many directions they lie.

Low local dimension goes with memorization (arXiv 2411.00113, 2506.09591). Rows that the encoder could not represent
are NaN; `unmeasured` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanner.neighbourhoods import REASONS, chord_distances, density, local_intrinsic_dimension
from scanner.objects import Float32, Neighbours


@dataclass(frozen=True)
class Density:
    """(n,) over rows."""

    nearest_cosine: Float32  # to the nearest row
    mean_cosine: Float32  # to the k nearest rows
    local_dimension: Float32  # maximum-likelihood estimate from the k nearest; 0 next to an equal vector
    unmeasured: npt.NDArray[np.object_]  # why local_dimension is NaN; "" where it is measured

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """As columns of rows.parquet."""
        return {f"density.{name}": value for name, value in vars(self).items()}


def summarise(neighbours: Neighbours) -> Density:
    """Read off the neighbours of each row."""
    dimension = local_intrinsic_dimension(chord_distances(neighbours.cosine))
    why = np.array(REASONS, dtype=object)[dimension.reason]
    why[~neighbours.measured] = "not represented by the encoder"
    return Density(
        nearest_cosine=neighbours.cosine[:, 0].astype(np.float32),
        mean_cosine=density(neighbours).astype(np.float32),
        local_dimension=dimension.value.astype(np.float32),
        unmeasured=why,
    )
