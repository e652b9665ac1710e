"""The kernel of the token hazard against its twin, written out token by token."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from random_rows import LENGTHS, PLAN, SHIPPED, Rows

from scanner import objects
from scanner.kernels import hazard as kernels
from scanner.kernels.contexts import RARITY_STEP, context_features
from scanner.prediction import Hazard, Regime, doses, turn_tails
from scanner.prediction.hazard import EXTRACTED, RARITY_UNIT, SURPRISE_UNIT


def blurred(given: float, learned: float, h: Hazard, visit: float) -> float:
    """The logit after noise, written out: what lies beyond the centre, or beyond what was given, comes nearer."""
    most = 2 * h.dose_power / (1 - h.dose_power) if h.dose_power < 1 else math.inf
    wide = math.sqrt(1 + min(h.noise * visit * learned, most))
    if given + learned < h.centre:
        return h.centre - (h.centre - given - learned) / wide
    if given > h.centre:
        return given + learned / wide
    return h.centre + (given + learned - h.centre) / wide


def test_the_kernel_stops_at_the_tokens_that_everything_else_counts_to():
    """Kernels import nothing but kernels, so the number stands there a second time."""
    assert kernels.EXTRACTED == objects.EXTRACTED


@pytest.mark.parametrize(("visit", "doublings"), [(0.0, 0), (2.0, 0), (2.0, 3)])
def test_the_kernel_equals_its_twin(visit, doublings):
    """doublings: of the training beyond that at which the level was read, where it drifts."""
    tokens, offsets, answers, group, order = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    features = context_features(tokens, offsets, group)
    rng = np.random.default_rng(5)
    features = replace(
        features,
        width=rng.integers(1, 20, len(tokens)).astype(np.uint8),
        background=rng.uniform(-14, 0, len(tokens)).astype(np.float32),
        log_probability=features.log_probability * rng.choice(np.float32([1, 1e-2, 1e-5, 0]), len(tokens)),
        opening=np.repeat(rng.integers(0, 200, len(offsets) - 1), np.diff(offsets)).astype(np.uint8),
    )
    amounts = doses(PLAN, np.diff(offsets), answers, group, order)
    regime = Regime(amounts.set_dose, amounts.steps, visit)
    less = amounts.total * 0.3
    weights = replace(SHIPPED, hazard=replace(SHIPPED.hazard, noise=0.4, centre=1.5))
    if doublings:
        weights = replace(weights, read_at=regime.set_dose / 2**doublings, dose_factor=1.0)
    # a normal log of what a visit is worth, its standard deviation .1 for a doubling
    drifts = [(1.0, 2 / 3), *((math.exp(side * 0.1 * math.sqrt(3) * doublings), 1 / 6) for side in (-1, 1))]
    found = turn_tails(features, answers, amounts.total, less, regime, weights)
    h = weights.hazard
    nodes, share = np.polynomial.hermite_e.hermegauss(7)
    softplus = lambda x: math.log1p(math.exp(x))  # noqa: E731
    for i in range(len(LENGTHS)):

        def recalled_at(dose: float, worth: float, i: int = i) -> np.ndarray:
            at_least, dose, set_dose = [], dose * worth, regime.set_dose * worth
            survived = share / share.sum()
            for t in range(answers.start[i], answers.end[i]):
                surprise = -features.log_probability[t] / SURPRISE_UNIT
                rare = features.rarity[t] * RARITY_STEP / RARITY_UNIT
                wide = math.log2(features.width[t]) / 3
                strange, held = -features.background[t] / 8, features.known[t] / 12
                z = h.bias + h.rarity * rare + h.width * wide + h.background * strange
                context = h.context_bias + h.context_surprise * surprise + h.context_known * held
                doubt = max(-math.expm1(float(features.log_probability[t])), 1e-7)
                context += h.context_certain * max(0, -math.log(doubt) - 4) / 4
                context += h.context_opening * int(features.opening[t]) / 16 / 4
                z += math.log2(1 + set_dose) * softplus(context)
                slope = h.dose_bias + h.dose_rarity * rare
                slope += h.dose_known * held + h.dose_width * wide + h.dose_background * strange
                slope += h.dose_progress * math.log2(1 + regime.steps / 100)
                slope += h.dose_epochs * math.log2(1 + set_dose)
                learned = ((1 + dose) ** h.dose_power - 1) / (h.dose_power * math.log(2)) * softplus(slope)
                z = blurred(z, learned, h, visit * worth)
                z = z / math.hypot(1, z / h.ceiling) if z > 0 else z
                survived = survived / (1 + np.exp(-(z + h.spread * nodes)))
                at_least.append(float(survived.sum()))
            return np.array(at_least)

        def recalled(dose: float) -> np.ndarray:
            return sum(likely * recalled_at(dose, worth) for worth, likely in drifts)

        tail, lower = recalled(amounts.total[i]), recalled(less[i])
        assert found.whole[i] == pytest.approx(tail[-1], rel=1e-6, abs=1e-9)
        assert found.mean[i] == pytest.approx(sum(tail), rel=1e-6)
        assert found.q50[i] == sum(p > 0.5 for p in tail)
        assert found.q95[i] == sum(p > 0.05 for p in tail)
        if len(tail) >= EXTRACTED:
            assert found.extract[i] == pytest.approx(tail[EXTRACTED - 1], rel=1e-6)
            assert found.extract_without[i] == pytest.approx(lower[EXTRACTED - 1], rel=1e-6)
        else:
            assert np.isnan(found.extract[i])
    alone = turn_tails(features, answers, amounts.total, None, regime, weights)
    for name, of_both in vars(found).items():
        np.testing.assert_array_equal(getattr(alone, name), of_both * (np.nan if name == "extract_without" else 1))
