"""The skew by epoch: the same numbers as the what-if curve, falling with tokens, growing with epochs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_rows import LENGTHS, PLAN, SHIPPED, Rows, run, survival

from scanner.contextual import with_openings
from scanner.kernels.contexts import context_features
from scanner.prediction import Answers, Doses, doses, predict_rows, with_known
from scanner.prediction.skew import KNOWN_OF_SAMPLE, Skew, epochs_shown, skew, sparse, stratified


def known_by(plan, features, offsets, answers: Answers, group, rank) -> Doses:
    return with_known(
        features, answers, doses(plan, np.diff(offsets), answers, group, rank), rank, plan, SHIPPED, None, 1
    )


def drawn(order: list[int] | None = None, plan=PLAN, answers: Answers | None = None) -> Skew:
    tokens, offsets, own, group, rank = Rows(LENGTHS).arrays(order or list(range(len(LENGTHS))))
    answers = answers or own
    known = context_features(tokens, offsets, group)
    features = with_openings(known, tokens, tuple(vars(answers).values()), group, 1)
    amounts = known_by(plan, features, offsets, answers, group, rank)
    p = predict_rows(features, answers, amounts, plan, SHIPPED).p_extract
    return skew(features, answers, amounts, rank, plan, SHIPPED, p)


def test_at_16_tokens_it_is_the_expected_number_of_rows():
    found, prediction = drawn(), run()
    at = found.expected_rows[found.epochs.index(PLAN.epochs), found.tokens.index(16)]
    assert at == pytest.approx(np.nansum(prediction.p_extract))
    assert found.rows == found.sampled == sum(length >= 16 for length in LENGTHS)


def test_every_point_is_the_sum_of_the_rows_survival():
    """The slow twin: the survival of every token, one row after the other."""
    tokens, offsets, answers, group, rank = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    known = context_features(tokens, offsets, group)
    features = with_openings(known, tokens, tuple(vars(answers).values()), group, 1)
    amounts = known_by(PLAN, features, offsets, answers, group, rank)
    curve = survival(features, answers, amounts, PLAN)
    found = drawn()
    for j, n in enumerate(found.tokens):
        rows = [curve[start + n - 1] if end - start >= n else 0.0
                for start, end in zip(answers.start, answers.end, strict=True) if end - start >= 16]  # fmt: skip
        assert found.expected_rows[found.epochs.index(PLAN.epochs), j] == pytest.approx(sum(rows))


def test_it_falls_with_tokens_grows_with_epochs_and_does_not_mind_the_order():
    found = drawn()
    assert found.tokens == (1, 2, 4, 8, 16, 24, 32, 48)
    assert found.epochs == (1, 2, 4, 8)
    assert (np.diff(found.expected_rows, axis=1) <= 1e-12).all()
    assert (np.diff(found.expected_rows, axis=0) >= -1e-12).all()
    mixed = drawn([5, 0, 11, 3, 7, 1, 9, 2, 10, 4, 8, 6])
    assert mixed.expected_rows == pytest.approx(found.expected_rows)


def test_of_a_row_with_two_answers_the_likelier_counts():
    tokens, offsets, whole, group, rank = Rows(LENGTHS).arrays(list(range(len(LENGTHS))))
    middle = (whole.start + whole.end) // 2
    row = np.repeat(whole.row, 2)
    both = Answers(row, np.stack((whole.start, middle), 1).ravel(), np.stack((middle, whole.end), 1).ravel())
    known = context_features(tokens, offsets, group)
    features = with_openings(known, tokens, tuple(vars(both).values()), group, 1)
    amounts = known_by(PLAN, features, offsets, both, group, rank)
    p = predict_rows(features, both, amounts, PLAN, SHIPPED).p_extract
    found = skew(features, both, amounts, rank, PLAN, SHIPPED, p)
    at = found.expected_rows[found.epochs.index(PLAN.epochs), found.tokens.index(16)]
    assert at == pytest.approx(np.nansum(p))


def test_no_rows_and_no_epochs():
    none = Answers(*(np.zeros(0, np.int64),) * 3)
    empty = drawn(answers=none)
    assert not empty.expected_rows.any()
    assert empty.rows == 0
    assert len(empty.frame()) == len(empty.epochs) * len(empty.tokens)
    idle = drawn(plan=replace(PLAN, epochs=0))
    assert idle.epochs == (0,)


@given(st.floats(0.01, 5000))
def test_the_plan_is_among_at_most_five_numbers_of_epochs(planned):
    shown = epochs_shown(planned)
    assert planned in shown
    assert 2 * planned in shown
    assert list(shown) == sorted(set(shown))
    assert 2 <= len(shown) <= 5


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=60), st.integers(4, 40), st.randoms())
def test_the_sample_stands_for_all_rows_and_keeps_the_likeliest(values, most, random):
    value = np.array([np.nan if v is None else v for v in values])
    order = np.arange(len(value), dtype=np.uint64)
    chosen, stands_for = stratified(value, order, most)
    measured = int((~np.isnan(value)).sum())
    assert len(set(chosen.tolist())) == len(chosen) <= most
    assert not np.isnan(value[chosen]).any()
    if measured:
        assert np.nanmax(value) in value[chosen]
    if measured <= most:
        assert len(chosen) == measured
    if len(chosen) > most // 4 or measured <= most // 4:
        assert stands_for.sum() == pytest.approx(measured)
    places = list(range(len(value)))
    random.shuffle(places)
    mixed = np.array(places, np.int64)
    again, _ = stratified(value[mixed], order[mixed], most)
    assert set(mixed[again].tolist()) == set(chosen.tolist())


@given(st.integers(0, 10_000), st.sampled_from([1, 4, 16]), st.sampled_from([2000, 4000]))
def test_a_few_of_a_sample_tell_its_mean_under_another_plan(seed, skewness, most):
    rng = np.random.default_rng(seed)
    p = rng.random(20_000) ** skewness
    chosen, stands_for = stratified(p, rng.permutation(len(p)).astype(np.uint64), most)
    few = sparse(np.arange(len(chosen)), len(chosen))
    assert KNOWN_OF_SAMPLE <= few.sum() < 2 * KNOWN_OF_SAMPLE
    other = np.clip(p[chosen] * rng.uniform(0.5, 1.5, len(chosen)), 0, 1)
    assert np.average(other[few], weights=stands_for[few]) == pytest.approx(
        np.average(other, weights=stands_for), abs=0.02
    )


def test_of_a_small_sample_all_rows_tell_it():
    assert sparse(np.arange(KNOWN_OF_SAMPLE * 2 - 1), KNOWN_OF_SAMPLE * 2 - 1).all()
