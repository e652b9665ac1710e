"""What a row's surroundings look like, from neighbours given by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from scanner.features import density
from scanner.objects import Neighbours

NAN = float("nan")


def summarise(position, cosine, measured):
    return density.summarise(Neighbours(np.array(position, np.int32), np.array(cosine, np.float32), np.array(measured)))


def test_columns_and_reasons():
    found = summarise(
        [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, -1, -1], [-1, -1, -1]],
        [[0.92, 0.68, -0.28], [1.0, 0.5, 0.2], [0.5, 0.5, 0.5], [0.1, NAN, NAN], [NAN, NAN, NAN]],
        [True, True, True, True, False],
    )
    # chords .4, .8, 1.6: ln(1/4) + ln(1/2) + 0 = -3 ln 2
    assert found.local_dimension[0] == pytest.approx(1 / np.log(2), rel=1e-5)
    assert found.local_dimension[1] == 0  # an equal vector next to it
    assert np.isnan(found.local_dimension[2:]).all()
    assert found.mean_cosine[:4] == pytest.approx([0.44, 1.7 / 3, 0.5, 0.1], abs=1e-6)
    assert np.isnan(found.mean_cosine[4])
    assert found.nearest_cosine[:4] == pytest.approx([0.92, 1, 0.5, 0.1])
    assert found.unmeasured.tolist() == [
        "", "", "all distances equal", "fewer than 2 neighbours", "not represented by the encoder",
    ]  # fmt: skip


def test_columns_fit_a_table():
    frame = pl.DataFrame(summarise([[1], [0]], [[0.5], [0.5]], [True, True]).columns())
    assert frame.columns == [
        "density.nearest_cosine", "density.mean_cosine", "density.local_dimension", "density.unmeasured",
    ]  # fmt: skip
    assert frame["density.unmeasured"].dtype == pl.String


def test_no_rows():
    assert len(summarise(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, bool)).mean_cosine) == 0
