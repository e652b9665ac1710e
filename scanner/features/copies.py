"""How often each row's text stands in the data set: as a record, as training text, up to case, and nearly.

copies.text        rows with the same training text, the row included (rows)
copies.normalised  rows with the same text up to case and spacing, the row included (rows)
copies.near_mass   what verified near copies add to the row's exposures, in copies (see sampling.kappa)
"""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.objects import Float64, Groups


def features(texts: Groups, normal: Groups, near_mass: Float64) -> pl.DataFrame:
    """One row per row read; columns as named above."""
    return pl.DataFrame(
        {
            "copies.text": texts.size,
            "copies.normalised": normal.size,
            "copies.near_mass": np.asarray(near_mass, np.float32),
        }
    )
