"""How much of a row stands elsewhere too."""

from __future__ import annotations

import numpy as np

from scanner.features import spans


def test_shares_of_a_rows_tokens(segments_of):
    prints = segments_of([("one two three", "four"), ("", ""), "a b"]).prints()
    frame = spans.features(prints, np.array([3, 0, 0]), np.array([1, 0, 0]), np.array([3, 0, 0]))
    np.testing.assert_allclose(frame["spans.repeated_share"], [0.75, np.nan, 0])
    np.testing.assert_allclose(frame["spans.leaked_share"], [0.25, np.nan, 0])
    np.testing.assert_allclose(frame["spans.longest_tokens"], [3, np.nan, 0])
    nothing = spans.not_measured(3)
    assert nothing.schema == frame.schema
    assert all(column.is_nan().all() for column in nothing)
