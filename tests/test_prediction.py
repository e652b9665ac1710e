"""The identities of SCIENCE 7 and the laws of the hazard model, on the real kernels."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_rows import LENGTHS, PLAN, SHIPPED, Predicted, Rows, run, survival

from scanner.errors import RuleError
from scanner.kernels.contexts import context_features
from scanner.prediction import (
    Answers,
    Conflicts,
    Doses,
    NearCopies,
    Prediction,
    Regime,
    doses,
    load_weights,
    predict,
    predict_rows,
    turn_tails,
    with_known,
)
from scanner.prediction.hazard import EXTRACTED, WEIGHTS, quadrature
from scanner.sampling import near_copy_share

VALUES = ("p_extract", "p_whole", "p_counterfactual", "expected_tokens", "tokens_q50", "tokens_q95", "exposures")


def given_doses(own: np.ndarray, total: np.ndarray, set_dose: float = 1.0, steps: float = 500) -> Prediction:
    """Prediction of the twelve rows under doses chosen by hand."""
    tokens, offsets, answers, group, _ = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    features = context_features(tokens, offsets, group)
    copies = np.maximum(1, np.round(total / np.maximum(own, 1e-9))).astype(np.int64)
    amounts = Doses(own, total, np.ones(len(own)), copies, set_dose, steps)
    return predict_rows(features, answers, amounts, PLAN, SHIPPED)


def test_1_zero_epochs_give_the_base_value_and_no_counterfactual():
    none, tiny = run(plan=replace(PLAN, epochs=0)), run(plan=replace(PLAN, learning_rate=0))
    tokens, offsets, answers, group, _ = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    features = context_features(tokens, offsets, group)
    background = features.log_probability  # what stands in for the table
    features = replace(features, log_probability=background * 0 - 3, agreed=features.agreed * 0, background=background)
    zero = np.zeros(len(LENGTHS))
    base = turn_tails(features, answers, zero, zero, Regime(0, 0), SHIPPED)  # whatever the contexts say
    np.testing.assert_array_equal(none.p_extract, base.extract)
    np.testing.assert_array_equal(none.p_whole, base.whole)
    assert np.nanmax(none.p_counterfactual) == 0
    np.testing.assert_array_equal(tiny.p_extract, none.p_extract)


def test_2_copies_equal_a_sampling_weight_at_equal_progress():
    own = np.full(len(LENGTHS), 0.7)
    copied, weighted = own.copy(), own.copy()
    total = own.copy()
    total[3] = weighted[3] = 4 * 0.7
    as_copies, as_weight = given_doses(copied, total), given_doses(weighted, total)
    assert as_copies.p_extract[3] == as_weight.p_extract[3]
    assert as_copies.expected_tokens[3] == as_weight.expected_tokens[3]

    # and through the whole way, where every row has as many tokens, so that every batch has, and no copies meet
    rows, four = Rows([30] * 12, seed=4), replace(PLAN, batch_size=1, lr_schedule="constant")
    copies = predict(*rows.arrays([0, 0, 0, *range(12)]), four, SHIPPED)
    weight = np.ones(12)
    weight[0] = 4
    plain = predict(*rows.arrays(list(range(12))), four, SHIPPED, sampling_weight=weight)
    assert copies.exposures[0] == pytest.approx(plain.exposures[0])
    three = replace(four, batch_size=15)  # all copies are in the only step of an epoch
    together, apart = (predict(*rows.arrays(order), three, SHIPPED) for order in ([0, 0, 0, *range(12)], range(15 - 3)))
    alone = apart.exposures[0] * (12 / 15) ** 0.24  # fifteen rows come in a step where twelve did
    assert together.exposures[0] == pytest.approx(alone * 4**0.3)
    assert together.p_extract[0] < copies.p_extract[0]


def test_every_row_twice_is_the_rows_for_twice_as_many_epochs():
    """By the doses; what other rows have in common is counted once more with every copy, which hardly matters."""
    plan, twice = replace(PLAN, epochs=8, batch_size=1, lr_schedule="constant"), np.repeat(np.arange(len(LENGTHS)), 2)
    once = Predicted(LENGTHS, plan=plan)
    _, offsets, answers, group, order = Rows(LENGTHS).arrays(twice.tolist())
    amounts = doses(replace(plan, epochs=4), np.diff(offsets), answers, group, order)
    of_rows = {name: getattr(amounts, name)[::2] for name in ("own", "total", "together", "copies")} | {"alone": 1.0}
    amounts = with_known(once.features, once.answers, replace(amounts, **of_rows), once.order, plan, SHIPPED)
    repeated = predict_rows(once.features, once.answers, amounts, plan, SHIPPED)
    assert 0.05 < np.nanmean(once.result.p_extract) < 0.95
    np.testing.assert_allclose(repeated.p_extract, once.result.p_extract, rtol=0.01)
    np.testing.assert_allclose(repeated.expected_tokens, once.result.expected_tokens, rtol=0.01)
    assert np.nanmax(repeated.p_counterfactual) < np.nanmax(
        once.result.p_counterfactual
    )  # the other copy is still there


def test_3_two_answers_to_one_prompt_share_it():
    place = np.full(len(LENGTHS), -1)
    place[[3, 5]] = 2
    share = np.full(len(LENGTHS), 0.5)
    strong = replace(PLAN, epochs=2000)
    free, capped = run(plan=strong), run(plan=strong, conflicts=Conflicts(place, share))
    assert free.p_whole[3] > 0.6
    assert free.p_whole[5] > 0.6
    assert capped.p_whole[3] <= 0.5
    assert capped.p_whole[5] <= 0.5
    assert capped.p_extract[3] <= 0.5
    others = np.setdiff1d(np.arange(len(LENGTHS)), [3, 5])
    np.testing.assert_allclose(capped.p_whole[others], free.p_whole[others], rtol=1e-6)  # fewer rows are known
    assert "this one holds 50 % of them" in capped.reasons[3]
    assert "other answers" not in capped.reasons[4]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 8), st.floats(1, 4), st.sampled_from(["epochs", "learning_rate", "copies"]))
def test_4_extraction_is_monotone(dose, factor, lever):
    own = np.full(len(LENGTHS), dose)
    less = given_doses(own, own, dose, 100 * dose)
    more = {
        "epochs": lambda: given_doses(own * factor, own * factor, dose * factor, 100 * dose * factor),
        "learning_rate": lambda: given_doses(own * factor, own * factor, dose * factor, 100 * dose),
        "copies": lambda: given_doses(own, own * factor, dose, 100 * dose),
    }[lever]()
    for name in ("p_extract", "p_whole", "expected_tokens", "tokens_q50", "tokens_q95"):
        a, b = getattr(less, name), getattr(more, name)
        assert (np.nan_to_num(b) >= np.nan_to_num(a) - 1e-12).all(), name


def test_4_epochs_and_learning_rate_through_the_whole_way():
    curve = [run(plan=replace(PLAN, epochs=e)).p_extract for e in (0, 1, 2, 4, 8, 16)]
    assert (np.diff(np.nan_to_num(np.array(curve)), axis=0) >= 0).all()
    curve = [run(plan=replace(PLAN, learning_rate=r)).p_extract for r in (1e-5, 1e-4, 1e-3)]
    assert (np.diff(np.nan_to_num(np.array(curve)), axis=0) >= 0).all()


def test_4_the_counterfactual_is_an_inverted_u_in_copies():
    own = np.full(len(LENGTHS), 1.0)
    copies = (1, 2, 4, 8, 16, 64, 1000, 100_000)
    values = np.array([given_doses(own, own * n, 0.05, 50).p_counterfactual[0] for n in copies])
    top = int(values.argmax())
    assert 0 < top < len(values) - 2
    assert values[top] > values[0]
    assert (np.diff(values[top:]) < 0).all()
    assert values[-1] < 0.002


def test_5_near_copies_count_by_what_they_share():
    def exposures(jaccard: float, **values: int) -> np.ndarray:
        near = NearCopies(np.array([3]), np.array([5]), np.array([jaccard]), 3)
        return run(near=near, plan=replace(PLAN, **values)).exposures

    alone = run().exposures
    np.testing.assert_array_equal(exposures(0.0), alone)
    q = 0.9**3
    ten = exposures(q / (2 - q))
    share = float(near_copy_share(10)) ** 1.75
    whole = alone[3] + share * alone[5]  # and what is left of it where both come in one step
    assert alone[3] < ten[3] <= whole
    assert exposures(q / (2 - q), batch_size=1)[3] == pytest.approx(
        run(plan=replace(PLAN, batch_size=1)).exposures[[3, 5]] @ [1, share]
    )
    assert float(near_copy_share(10)) == pytest.approx(0.62, abs=0.02)
    near = NearCopies(np.array([3]), np.array([5]), np.array([q / (2 - q)]), 3)
    assert run(near=near).p_extract[3] > run().p_extract[3]


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(len(LENGTHS))), st.sampled_from(["random", "length-grouped", "packed"]))
def test_6_order_of_rows_changes_nothing(order, batching):
    plan = replace(PLAN, batching=batching)
    plain, moved = run(plan=plan), run(order=list(order), plan=plan)
    for name in VALUES:
        np.testing.assert_array_equal(getattr(moved, name), getattr(plain, name)[list(order)])
    assert moved.reasons.to_list() == [plain.reasons[i] for i in order]


def test_6_threads_change_nothing():
    one, three = run(threads=1), run(threads=3)
    for name in VALUES:
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


def test_7_rows_outside_the_training_set_have_no_counterfactual():
    own = np.full(len(LENGTHS), 1.0)
    own[4] = 0
    outside = given_doses(own, own)
    assert outside.p_counterfactual[4] == 0
    assert outside.p_counterfactual[3] > 0
    weight = np.ones(len(LENGTHS))
    weight[4] = 0
    assert run(sampling_weight=weight).p_counterfactual[4] == 0


def test_8_the_distribution_sums_to_one():
    tokens, offsets, answers, group, order = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    features = context_features(tokens, offsets, group)
    amounts = doses(PLAN, np.diff(offsets), answers, group, order)
    heat = survival(features, answers, amounts, PLAN)
    prediction = predict_rows(features, answers, amounts, PLAN, SHIPPED)
    for i, length in enumerate(LENGTHS):
        tail = heat[answers.start[i] : answers.end[i]]
        assert len(tail) == length
        exactly = np.append(-np.diff(np.append(1.0, tail)), tail[-1])  # P(N = 0 .. length - 1), P(all)
        assert (exactly >= 0).all()
        assert exactly.sum() == pytest.approx(1, abs=1e-12)
        assert (exactly * np.arange(length + 1)).sum() == pytest.approx(prediction.expected_tokens[i], rel=1e-9)
        assert prediction.p_whole[i] == pytest.approx(tail[-1], abs=1e-12)
    assert not heat[: answers.start[0]].any()


def test_the_row_effect_widens_the_tail():
    """Quadrature against a plain average over 200,000 drawn row effects."""
    node, share = quadrature(1.0)
    drawn = np.random.default_rng(0).normal(size=200_000)
    p = 1 / (1 + np.exp(-1.5) * node)
    for n in (1, 4, 16):
        assert (share * p**n).sum() == pytest.approx((1 / (1 + np.exp(-1.5 - drawn)) ** n).mean(), abs=0.01)


def test_short_and_missing_answers_are_not_measured_and_say_so():
    prediction = run()
    for i, length in enumerate(LENGTHS):
        measured = length >= EXTRACTED
        assert np.isnan(prediction.p_extract[i]) != measured
        assert np.isnan(prediction.p_counterfactual[i]) != measured
        assert ("answer shorter than 16 tokens: not measured" in prediction.reasons[i]) != measured
        assert prediction.expected_tokens[i] <= length
    tokens, offsets, _, group, order = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    nothing = Answers(*(np.zeros(0, np.int64) for _ in range(3)))
    silent = predict(tokens, offsets, nothing, group, order, PLAN, SHIPPED)
    for name in VALUES[:-1]:
        assert np.isnan(getattr(silent, name)).all(), name
    assert set(silent.reasons) == {"no supervised answer: not measured"}


def test_several_turns_count_by_their_best():
    tokens, offsets, _, group, order = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    two = Answers(np.array([5, 5]), offsets[5] + np.array([5, 30]), offsets[5] + np.array([25, 65]))
    features = context_features(tokens, offsets, group)
    amounts = doses(PLAN, np.diff(offsets), two, group, order)
    prediction = predict_rows(features, two, amounts, PLAN, SHIPPED)
    strength = SHIPPED.strength(PLAN)
    found = turn_tails(
        features, two, amounts.total * strength, amounts.total * 0,
        Regime(amounts.set_dose * strength, amounts.steps), SHIPPED,
    )  # fmt: skip
    assert prediction.p_extract[5] == found.extract.max()
    assert prediction.p_whole[5] == found.whole[1]  # the longest turn
    assert np.isnan(prediction.p_extract[4])


def test_taxon_and_reasons_in_words():
    rng = np.random.default_rng(2)
    words = rng.integers(1, 2**63, 400).astype(np.uint64)
    plain, other, counting = (
        words[:40],
        words[40:80],
        words[np.array([100, *(v for i in range(30) for v in (101, 120 + i))])],
    )
    repeating = np.tile(words[200:204], 10)
    parts = [*[plain] * 6, other, counting, repeating]
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    group = np.array([0] * 6 + [1, 2, 3])
    answers = Answers(np.arange(9), offsets[:-1] + 2, offsets[1:])
    prediction = predict(np.concatenate(parts), offsets, answers, group, group.astype(np.uint64), PLAN, SHIPPED)
    assert prediction.taxon.to_list() == ["recite"] * 6 + ["recollect", "reconstruct", "reconstruct"]
    assert prediction.reasons[0].startswith(
        "6 exact copies; 34 % less, for copies come in the same steps; dose 12 visits"
    )
    apart = predict(
        np.concatenate(parts), offsets, answers, group, group.astype(np.uint64), replace(PLAN, batch_size=1), SHIPPED
    )
    assert apart.reasons[0].startswith("6 exact copies; dose ")
    assert "copies" not in prediction.reasons[6]
    assert "% of its answer repeats the row itself" in prediction.reasons[8]
    assert prediction.frame().columns == [*VALUES, "taxon", "reasons", "calibrated"]


def test_a_low_entropy_of_the_prompt_makes_no_template_of_the_answer():
    """Tool schemas say the same words over and over; what answers them need not."""
    rng = np.random.default_rng(3)
    words = rng.integers(1, 2**63, 400).astype(np.uint64)
    schema = np.tile(words[:6], 40)
    refusal, repeating = words[10:40], np.tile(words[50:60], 3)
    parts = [np.concatenate((schema, refusal)), np.concatenate((schema, repeating))]
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    answers = Answers(np.arange(2), offsets[:-1] + len(schema), offsets[1:])
    prediction = predict(
        np.concatenate(parts), offsets, answers, np.arange(2), np.arange(2, dtype=np.uint64), PLAN, SHIPPED
    )
    assert (prediction.summary.entropy < 0.6).all()
    assert prediction.taxon.to_list() == ["recollect", "reconstruct"]


def test_copies_of_a_real_set_leave_nothing_to_the_single_row():
    """The inverted U from tokens to score: with ever more real copies of it, a row could be left out unnoticed."""
    rows = Rows(LENGTHS)
    left = []
    for copies in (1, 2, 4, 600):
        order = [*range(len(LENGTHS)), *[3] * (copies - 1)]
        left.append(predict(*rows.arrays(order), replace(PLAN, epochs=2), SHIPPED).p_counterfactual[3])
    assert left[3] < 0.1 * max(left)


def test_lora_and_a_smaller_model_memorize_less():
    full = run().p_extract
    lora = run(plan=replace(PLAN, method="lora")).p_extract
    larger = run(plan=replace(PLAN, model_params=7e9)).p_extract
    assert (np.nan_to_num(lora) <= np.nan_to_num(full)).all()
    assert (np.nan_to_num(larger) >= np.nan_to_num(full)).all()


def test_shipped_weights_are_whole_and_honest():
    assert not SHIPPED.calibrated
    assert not run().calibrated
    assert SHIPPED.hazard.dose_progress >= 0
    assert SHIPPED.hazard.spread >= 0
    assert {"script", "date", "cells", "epochs", "seed", "sha256"} <= set(SHIPPED.provenance)


def test_broken_weights_are_refused(tmp_path):
    text = WEIGHTS.read_text("utf-8")
    lacking = tmp_path / "lacking.toml"
    lacking.write_text("\n".join(line for line in text.splitlines() if not line.startswith("spread")))
    with pytest.raises(RuleError, match=r"lacks \['spread'\].*fit.py"):
        load_weights(lacking)
    wrong = tmp_path / "wrong.toml"
    progress = asdict(SHIPPED.hazard)["dose_progress"]
    wrong.write_text(text.replace(f"dose_progress = {progress}", "dose_progress = -1.0"))
    with pytest.raises(RuleError, match="more training never unlearns"):
        load_weights(wrong)
