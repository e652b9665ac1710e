"""The mode of a log-posterior, where it can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from scanner.prediction.climbing import Prior, derivatives, mode

SEEN = np.array([[1.0, 2.0], [2.0, 0.0], [4.0, 1.0]])
"""(units, 2): what each unit says of the two parameters."""
SHARPNESS = np.array([[2.0, 0.5], [0.5, 1.0]])


def of_units(place: Sequence[float]) -> np.ndarray:
    """Normal log-likelihoods with a common precision; a constant left out."""
    away = SEEN[:, : len(place)] - np.array(place)
    sharp = SHARPNESS[: len(place), : len(place)]
    return -0.5 * np.einsum("ui,ij,uj->u", away, sharp, away)


@pytest.mark.parametrize("size", [1, 2])
def test_derivatives_of_a_quadratic_are_exact(size: int) -> None:
    place = [0.5, -0.3][:size]
    sharp = SHARPNESS[:size, :size]
    found = derivatives(of_units, place)
    scores = (SEEN[:, :size] - place) @ sharp
    assert found.slope == pytest.approx(scores.sum(axis=0))
    assert found.curvature == pytest.approx(3 * sharp, abs=1e-6)
    assert found.spread == pytest.approx(scores.T @ scores * 3 / 2)


def test_a_curvature_is_never_negative_and_nothing_bends_without_units() -> None:
    upward = derivatives(lambda place: np.array([place[0] ** 2 - place[1] ** 2]), [0.0, 0.0])
    assert upward.curvature == pytest.approx(np.diag([0.0, 2.0]), abs=1e-6)
    nothing = derivatives(lambda place: np.zeros(0), [0.0, 0.0])
    assert not any(part.any() for part in nothing)


@pytest.mark.parametrize("tempering", [1.0, 0.25])
def test_the_mode_weighs_the_data_and_the_prior_by_their_precision(tempering: float) -> None:
    prior = Prior(np.array([0.0, 5.0]), np.array([1.0, 0.1]))
    place, curvature = mode(
        lambda at: float(of_units(at.tolist()).sum()),
        lambda at: derivatives(of_units, at.tolist()),
        prior,
        tempering,
        [np.array([-9.0, 9.0]), np.array([9.0, 9.0])],
    )
    sharp = 3 * tempering * SHARPNESS
    expected = np.linalg.solve(
        sharp + np.diag(prior.precision), sharp @ SEEN.mean(axis=0) + prior.precision * prior.mean
    )
    assert place == pytest.approx(expected, abs=1e-4)
    assert curvature == pytest.approx(3 * SHARPNESS, abs=1e-6)
