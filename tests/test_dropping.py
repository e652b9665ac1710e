"""What a goldfish loss does to a prediction: an exact twin, and laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_rows import LENGTHS, PLAN, SHIPPED, Predicted, Rows, run

from scanner.kernels.contexts import context_features
from scanner.kernels.hazard import RUBS_OFF, SAME_BEFORE
from scanner.prediction import Doses, Goldfish, Regime, level, predict_rows, quadrature, stretches, turn_tails, whatif
from scanner.prediction.dropping import TOKEN_BYTES, goldfish

FISH = replace(PLAN, goldfish_k=4)


def some(seed: int = 5) -> tuple:
    tokens, offsets, answers, group, order = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    rng = np.random.default_rng(seed)
    features = replace(
        context_features(tokens, offsets, group),
        width=rng.integers(1, 20, len(tokens)).astype(np.uint8),
        background=rng.uniform(-14, 0, len(tokens)).astype(np.float32),
    )
    return features, answers, order


def test_a_run_is_the_product_of_mixtures():
    """The kernel, asked for each dose alone, gives the odds of one token; the run is put together by hand."""
    features, answers, _ = some()
    dose, regime = np.linspace(2, 60, len(LENGTHS)), Regime(4.0, 600.0)
    fish = Goldfish(3, np.linspace(0, 1, len(LENGTHS)))
    curve = np.zeros(len(features.rarity))
    found = turn_tails(features, answers, dose, dose * 0.4, regime, SHIPPED, None, 1, curve, fish)
    heated = replace(SHIPPED, heat=None)
    same = features.known >= SAME_BEFORE
    assert 0.05 < same.mean() < 0.95
    both, less = (
        stretches.heat(features, answers, np.arange(len(LENGTHS)), d, regime, heated) for d in (dose, dose * 0.4)
    )
    turns = zip(answers.start, answers.end, strict=True)
    rubs_off = np.concatenate([np.where(same, RUBS_OFF, 1)[a:b] for a, b in turns])
    lost = stretches._odds(
        features, answers.start, answers.end, np.repeat(dose * fish.share, LENGTHS) * rubs_off, regime, SHIPPED,
        SHIPPED.hazard, rubs_off,
    )  # fmt: skip
    node, share = quadrature(SHIPPED.hazard.spread)
    stays = (2 / 3) ** np.maximum(1, features.width / TOKEN_BYTES)
    for i, (a, b) in enumerate(zip(both.bounds[:-1], both.bounds[1:], strict=True)):
        turn = slice(answers.start[i], answers.end[i])
        kept, dropped_odds = stays[turn], lost[a:b]

        def survival(odds: np.ndarray, dropped: np.ndarray, kept: np.ndarray = kept) -> np.ndarray:
            each = kept / (1 + odds * node[:, None]) + (1 - kept) / (1 + dropped * node[:, None])
            return share @ np.cumprod(each, axis=1)

        alive = survival(both.odds[a:b], dropped_odds)
        np.testing.assert_allclose(curve[answers.start[i] : answers.end[i]], alive, rtol=1e-6, atol=1e-10)
        assert found.mean[i] == pytest.approx(alive.sum(), rel=1e-6)
        if b - a >= 16:
            without = survival(less.odds[a:b], np.maximum(dropped_odds, less.odds[a:b]))
            assert found.extract_without[i] == pytest.approx(min(without[15], alive[15]), rel=1e-6)


def test_the_heat_is_the_mixture_too_and_its_beginning_agrees_with_the_run():
    features, answers, _ = some()
    dose, regime, fish = np.full(len(LENGTHS), 300.0), Regime(4.0, 600.0), Goldfish(20, np.full(len(LENGTHS), 0.5))
    plain, found = (
        stretches.heat(features, answers, np.arange(len(LENGTHS)), dose, regime, SHIPPED, goldfish=g)
        for g in (None, fish)
    )
    assert len(plain.kept) == len(plain.lost) == 0
    assert (found.probability < plain.probability).all()
    assert (found.probability > found.kept * plain.probability).all()
    curve = np.zeros(len(features.rarity))
    turn_tails(features, answers, dose, dose, regime, SHIPPED, None, 1, curve, fish)
    beginnings = stretches.stretches(found, least=2, chance=0.4)
    assert beginnings.from_start.any()
    last = beginnings.end[beginnings.from_start] - 1
    # where near copies differ they teach nothing of a dropped token, which the run does not look at
    assert (beginnings.score[beginnings.from_start] <= curve[last] + 1e-9).all()
    assert (beginnings.score[beginnings.from_start] > 0.5 * curve[last]).all()


@settings(max_examples=20)
@given(st.integers(2, 60), st.integers(1, 60))
def test_a_larger_k_forgets_less(k, more):
    one, two, none = (run(plan=replace(PLAN, goldfish_k=g, epochs=20)) for g in (k, k + more, None))
    for name in ("p_extract", "p_whole", "expected_tokens"):
        lower, upper, top = (np.nan_to_num(getattr(p, name)) for p in (one, two, none))
        assert (lower <= upper * (1 + 1e-9)).all(), name
        assert (upper <= top * (1 + 1e-9)).all(), name


def test_a_k_without_end_is_no_goldfish_loss():
    far, none = (run(plan=replace(PLAN, goldfish_k=k)) for k in (10**9, None))
    for f in ("p_extract", "p_whole", "expected_tokens", "p_counterfactual", "exposures"):
        np.testing.assert_allclose(getattr(far, f), getattr(none, f), rtol=1e-5, err_msg=f)


def test_more_training_never_helps_a_token_that_is_dropped_past_what_the_language_gives():
    """However often a row is seen, a run ends at about the first dropped token."""
    features, answers, _ = some()
    dose = np.full(len(LENGTHS), 1e5)
    seen = Doses(dose, dose, dose / dose, np.ones(len(LENGTHS), np.int64), 20.0, 600.0)
    none, fish = (predict_rows(features, answers, seen, plan, SHIPPED) for plan in (PLAN, FISH))
    assert np.nanmin(none.p_extract) > 0.5
    assert np.nanmean(fish.p_extract) < 0.5 * np.nanmean(none.p_extract)
    assert (np.nan_to_num(fish.p_extract) <= np.nan_to_num(none.p_extract)).all()


def test_near_copies_alone_teach_what_is_dropped():
    own = np.full(len(LENGTHS), 8.0)
    features, answers, _ = some()
    regime = {"set_dose": 4.0, "steps": 600.0}
    ones = np.ones(len(LENGTHS))
    exact = Doses(own, own * 6, ones, ones.astype(np.int64) * 6, **regime)
    near = Doses(own, own * 6, ones, ones.astype(np.int64), **regime)
    assert exact.goldfish(FISH).share.max() == 0
    np.testing.assert_allclose(near.goldfish(FISH).share, 0.75 * 5 / 6)
    of_exact, of_near = (predict_rows(features, answers, d, FISH, SHIPPED) for d in (exact, near))
    assert (np.nan_to_num(of_near.p_extract) >= np.nan_to_num(of_exact.p_extract)).all()
    assert np.nansum(of_near.p_extract) > 1.2 * np.nansum(of_exact.p_extract)


def test_no_dose_no_share():
    zero = np.zeros(3)
    found = goldfish(4, zero, zero)
    assert found.share.tolist() == [0, 0, 0]
    assert goldfish(None, zero, zero) is None


def test_the_models_own_tokens_are_kept_or_dropped_whole():
    features, _, _ = some()
    fish = Goldfish(5, np.zeros(1))
    assert (fish.kept(replace(features, background=None)) == 0.8).all()
    ours = fish.kept(features)
    assert ours[1] == ours[3] == 0.8
    assert ours[7] == pytest.approx(0.8**2)
    assert (np.diff(ours) <= 0).all()


def test_what_if_asks_about_a_goldfish_loss_and_about_none():
    for plan, other in ((PLAN, FISH), (FISH, PLAN)):
        asked, there = Predicted(LENGTHS, plan=plan), Predicted(LENGTHS, plan=other)
        line = whatif.other_loss(asked.sample(), asked.amounts, plan, SHIPPED, 1).row(0, named=True)
        assert line["variant"] == ("goldfish loss, k = 4" if plan is PLAN else "no goldfish loss")
        assert line["expected_rows"] == pytest.approx(np.nansum(there.result.p_extract))
        assert line["low"] <= line["expected_rows"] <= line["high"]
        planned = asked.curve().row(by_predicate=whatif.pl.col("epochs") == plan.epochs, named=True)
        assert planned["expected_rows"] == pytest.approx(np.nansum(asked.result.p_extract))


def test_a_level_is_fitted_under_the_loss_that_was_used():
    features, answers, _ = some()
    dose = np.full(len(LENGTHS), 12.0)
    n_pre = np.minimum(answers.end - answers.start, 3)
    seen = level.Observed(
        features, answers, n_pre, dose, 4.0, 600, FISH, np.arange(len(LENGTHS)), 4, 0.0,
        goldfish=Goldfish(4, np.zeros(len(LENGTHS))),
    )  # fmt: skip
    plain = replace(seen, goldfish=None)
    assert level.extraction(seen, SHIPPED)[0] < level.extraction(plain, SHIPPED)[0]
    # that nothing is recited says less of the base where the loss hinders it
    assert level.fit([seen], SHIPPED).offset > level.fit([plain], SHIPPED).offset
    assert math.isfinite(level.fit([seen], SHIPPED).nats)
