"""How often a row's text stands in the data set."""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.features import copies
from scanner.signals import exact, group_by


def test_copies_are_counted_byte_for_byte_and_up_to_case(segments_of):
    corpus = segments_of([("q", "a"), ("Q", "a"), ("q", "a"), ("q", "b")])
    prints = corpus.prints()
    normal = group_by(prints.normal)
    frame = copies.features(exact.same_text(normal, corpus.reader(), 2), normal, np.array([0.5, 0, np.nan, 2]))
    assert frame.columns == ["copies.text", "copies.normalised", "copies.near_mass"]
    assert frame["copies.text"].to_list() == [2, 1, 2, 1]
    assert frame["copies.normalised"].to_list() == [3, 3, 3, 1]
    assert frame["copies.near_mass"].dtype == pl.Float32
    assert np.array_equal(
        frame["copies.near_mass"].to_numpy(), np.array([0.5, 0, np.nan, 2], np.float32), equal_nan=True
    )
