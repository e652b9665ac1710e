"""The level is found again where it is known, doubts as much as it should, and stays put where nothing was seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from scanner.kernels.contexts import context_features
from scanner.prediction import Answers, Weights
from scanner.prediction import level as levels
from scanner.prediction.freeing import USUAL
from scanner.prediction.hazard import load_weights
from scanner.prediction.level import Observed
from scanner.rates import of_rate
from scanner.settings import TrainingPlan

SHIPPED = load_weights()
PLAN = TrainingPlan(model_params=SHIPPED.priors.fitted_parameters)
LENGTH = 40


def rows(count: int, seed: int) -> tuple:
    """Features and answers of random rows with common stretches."""
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 2**63, 300).astype(np.uint64)
    common = rng.integers(0, 300, 50)
    parts = []
    for _ in range(count):
        row = rng.integers(0, 300, LENGTH + 5)
        row[:12] = common[(at := rng.integers(0, 30)) : at + 12]
        parts.append(words[row])
    offsets = np.arange(count + 1, dtype=np.int64) * (LENGTH + 5)
    return context_features(np.concatenate(parts), offsets, np.arange(count)), offsets


def drawn(weights: Weights, count: int, seed: int, epochs: tuple[int, ...] = (2, 4)) -> list[Observed]:
    """States of a fine-tune drawn from the hazard model itself; the row effect of a row is the same at every epoch."""
    rng = np.random.default_rng(seed)
    features, offsets = rows(count, seed)
    answers = Answers(np.arange(count), offsets[:-1] + 5, offsets[1:])
    own = rng.uniform(1, 9, count)
    luck = rng.random(count)  # the same at all epochs: rows that are easy stay easy
    found = []
    for epoch in epochs:
        blank = Observed(
            features, answers, np.full(count, LENGTH), own * epoch, float(own.mean() * epoch), 150 * epoch, PLAN,
            np.arange(count), epoch, USUAL,
        )  # fmt: skip
        curve = np.zeros(len(features.log_probability))
        levels._tails(blank, answers, weights, curve)
        survival = np.stack([curve[answers.start + k] for k in range(LENGTH)], axis=1)
        found.append(replace(blank, n_pre=(survival > luck[:, None]).sum(axis=1)))
    return found


def at(offset: float, factor: float = 1.0) -> Weights:
    return levels.at(SHIPPED, (offset, math.log(factor)))


def test_the_likelihood_is_a_distribution():
    one = drawn(SHIPPED, 6, 0, (4,))[0]
    total = sum(np.exp(levels.likelihood(replace(one, n_pre=np.full(6, n)), SHIPPED)) for n in range(LENGTH + 1))
    assert total == pytest.approx(np.ones(6), abs=1e-6)


def test_a_known_offset_is_found_within_two_deviations():
    inside = 0
    for seed in range(20):
        truth = (-0.8, 0.6)[seed % 2]
        found = levels.fit(drawn(at(truth), 80, seed, (3,)), SHIPPED, with_factor=False)
        inside += abs(found.offset - truth) <= 2 * found.offset_sd
    assert inside >= 18


def test_a_known_dose_factor_is_found_and_chosen(monkeypatch):
    observed = drawn(at(-0.5, 0.3), 120, 3, (6, 24))
    assert levels.factor_pays(observed, SHIPPED)
    held = levels.fit(observed, SHIPPED)
    assert 0.3 < held.dose_factor < 1, "it is held to what bases of one size do"
    monkeypatch.setattr(levels, "FACTOR_SD", 1.0)
    found = levels.fit(observed, SHIPPED)
    assert found.dose_factor < held.dose_factor
    assert found.fitted == "offset and dose factor"
    assert abs(math.log(found.dose_factor / 0.3)) <= 2.5 * found.log_factor_sd
    assert abs(found.offset + 0.5) <= 2.5 * found.offset_sd
    assert found.step[0] >= 0
    assert found.nats > found.nats_before
    assert not levels.factor_pays(drawn(at(-0.5), 120, 3, (6, 24)), SHIPPED)  # there it is 1


def test_the_level_was_read_up_to_the_furthest_training():
    """The mean dose of its rows after four epochs; under LoRA as much less as a visit is worth, and adapters hold."""
    states = drawn(SHIPPED, 30, 3)
    own = np.random.default_rng(3).uniform(1, 9, 30).mean()
    assert levels.fit(states, SHIPPED, with_factor=False).read_at == pytest.approx(4 * own)
    assert levels.fitted_weights(states, SHIPPED, True).read_at == pytest.approx(4 * own)
    lora = [replace(o, plan=replace(PLAN, method="lora", lr_schedule="constant")) for o in states]
    holds = SHIPPED.priors.lora_holds
    written = min(4 * own, of_rate(PLAN.learning_rate) * states[-1].steps / SHIPPED.priors.lora_steps)
    full = SHIPPED.priors.lora_dose * written / holds
    kept = SHIPPED.priors.lora_dose * 4 * own * -math.expm1(-full) / full
    assert levels.furthest(lora, SHIPPED) == pytest.approx(kept)
    assert levels.furthest([], SHIPPED) == 0


@pytest.mark.parametrize("plan", [
    PLAN, replace(PLAN, method="lora"), replace(PLAN, lr_schedule="cosine", learning_rate=1e-3, model_params=4e7),
])  # fmt: skip
def test_a_training_no_further_than_what_was_measured_does_not_drift(plan: TrainingPlan):
    """Whatever tuning and size are worth, and whatever the dose factor that was found: and twice of it does."""
    states = [replace(o, plan=replace(plan, epochs=4)) for o in drawn(SHIPPED, 30, 3, (1, 4))]
    there = replace(at(-0.3, 0.7), read_at=levels.furthest(states, SHIPPED))
    last = there.under(states[-1].plan, states[-1].regime)[1]
    assert there.drifts(last)[0].tolist() == [1]
    assert len(there.drifts(last.under(2))[0]) > 1
    assert there.read_at == levels.furthest(states, at(-0.3, 0.7))


def test_a_level_is_taken_as_it_was_found():
    ends = ((-1.0, -0.6), (0.0, 0.1))
    level = replace(levels.fit([], SHIPPED), offset=-0.5, dose_factor=0.8, step=(0.3, -0.1), ends=ends, read_at=3.0)
    there = levels.found(SHIPPED, level)
    assert (there.priors.offset, there.offset_step, there.log_factor_step) == (-0.5, 0.3, -0.1)
    assert there.dose_factor == pytest.approx(0.8)
    assert (there.read_at, there.ends) == (3.0, ends)


def test_more_hits_mean_a_larger_offset():
    observed = drawn(SHIPPED, 60, 1)
    raised = [replace(o, n_pre=np.minimum(o.n_pre + 3, LENGTH)) for o in observed]
    fits = [levels.fit(o, SHIPPED, with_factor=False).offset for o in (observed, raised)]
    assert fits[1] > fits[0]


def test_nothing_seen_leaves_the_prior_and_no_hit_leaves_its_width():
    found = levels.fit([], SHIPPED)
    assert (found.offset, found.offset_sd) == pytest.approx((SHIPPED.priors.offset, SHIPPED.priors.offset_sd))
    empty = [replace(o, n_pre=np.zeros_like(o.n_pre)) for o in drawn(SHIPPED, 60, 1)]
    missed = levels.fit(empty, SHIPPED)
    assert missed.offset < 0
    assert missed.offset_sd >= SHIPPED.priors.offset_sd


def test_the_order_of_rows_does_not_matter():
    observed = drawn(at(0.4), 50, 2)
    rng = np.random.default_rng(0)
    shuffled = []
    for o in observed[::-1]:
        p = rng.permutation(len(o.n_pre))
        a = o.answers
        shuffled.append(replace(o, answers=Answers(a.row[p], a.start[p], a.end[p]), n_pre=o.n_pre[p], unit=o.unit[p]))
    straight, mixed = (levels.fit(o, SHIPPED) for o in (observed, shuffled))
    assert mixed.offset == pytest.approx(straight.offset, abs=1e-6)
    assert mixed.offset_sd == pytest.approx(straight.offset_sd, abs=1e-6)


def test_rows_told_twice_count_once():
    observed = drawn(at(0.4), 80, 5)
    once, twice = (levels.fit(o, SHIPPED, with_factor=False) for o in (observed, observed * 2))
    assert twice.offset_sd == pytest.approx(once.offset_sd, rel=0.1)
    assert twice.tempering < 0.75 * once.tempering


def test_drift_is_what_their_own_doubt_leaves_over():
    assert levels.drift([0.2], [1.0]) == 0
    assert levels.drift([0.2, 0.2], [1.0, 1.1]) == 0
    assert levels.drift([0.01, 0.01], [0.0, 1.0]) == pytest.approx(0.5, abs=0.01)
