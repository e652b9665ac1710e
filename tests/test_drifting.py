"""Beyond the training at which a level was read it drifts: how far, and that more training still only adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_rows import LENGTHS, SHIPPED, Rows

from scanner.kernels.contexts import context_features
from scanner.prediction import Regime, turn_tails


def test_more_training_than_the_level_was_read_at_raises_extraction_too():
    """Rows from hardly known to sure, over 24 trainings up to eight times as long: no step takes anything away."""
    tokens, offsets, answers, group, _ = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    features = context_features(tokens, offsets, group)
    weights, dose = replace(SHIPPED, read_at=3.0), np.linspace(0.2, 40, len(LENGTHS))
    found = []
    for times in np.geomspace(1, 8, 24):
        regime = Regime(3.0 * times, 400 * times, 1.0)
        found.append(turn_tails(features, answers, dose * times, dose * 0, regime, weights).extract)
    assert np.nanmin(np.diff(found, axis=0)) >= 0
    assert np.nanmax(found[-1]) > 0.9
    assert np.nanmin(found[0]) < 0.1


def test_beyond_where_the_level_was_read_it_drifts():
    """Two doublings beyond it: exp(+-.2 root 3), a sixth of the weight at either."""
    weights = replace(SHIPPED, read_at=2.0)
    for factor, set_dose in ((1.0, 8.0), (2.0, 16.0)):  # the level's own factor is no training
        worth, likely = replace(weights, dose_factor=factor).drifts(Regime(set_dose, 100))
        assert worth == pytest.approx([0.70722, 1.0, 1.41398], abs=1e-5)
        assert likely == pytest.approx([1 / 6, 2 / 3, 1 / 6])
    for there, set_dose in ((weights, 2.0), (weights, 1.0), (SHIPPED, 8.0), (replace(SHIPPED, read_at=0.0), 8.0)):
        assert [x.tolist() for x in there.drifts(Regime(set_dose, 100))] == [[1.0], [1.0]]
