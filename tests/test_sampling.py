"""Doses against an obvious twin, rates against transformers' schedulers, and the laws of copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dose_twin import BATCHES, plan, rows, twin
from hypothesis import given
from hypothesis import strategies as st

from scanner import sampling
from scanner.batching import Sampler
from scanner.rates import rate_share, stands, visit_at
from scanner.sampling import (
    asked_alone,
    copies_of,
    dose_of_set,
    dose_unit,
    evenness,
    near_copy_share,
    replaced_of_100,
    simulate,
    with_copies,
    worths,
)
from scanner.settings import LOSS_AVERAGES, LR_SCHEDULES


@pytest.mark.parametrize("loss_average", LOSS_AVERAGES)
@pytest.mark.parametrize("values", BATCHES, ids=str)
def test_doses_equal_the_twin(values, loss_average):
    supervised, length, order = rows(83)
    p = plan(loss_average=loss_average, micro_batch=2, lr_schedule="cosine", **values)
    exposure = simulate(p, supervised, length, order, seed=5)
    dose, steps, _ = twin(p, supervised, length, order, 5)
    np.testing.assert_allclose(exposure.own, dose, rtol=1e-12)
    assert exposure.steps == steps
    assert (exposure.together == 1).all()


@pytest.mark.parametrize("batching", ["packed", "wrapped"])
def test_packed_copies_have_the_dose_that_they_have_in_trainings_on_shuffled_rows(batching):
    """In content order copies stand side by side and would be packed into one sequence, which they hardly ever are."""
    supervised, length, order = (np.concatenate((column, np.repeat(column[:60], 3))) for column in rows(1500, 2))
    p, copies = plan(batching=batching, batch_size=1, epochs=4), copies_of(order)
    found = simulate(p, supervised, length, order, sequence_tokens=512, copies=copies)
    trained = []
    for seed in range(6):
        stood = np.random.default_rng(seed).permutation(len(order)).astype(np.uint64)
        one = simulate(p, supervised, length, stood, None, seed, 512, copies, standing=True)
        trained.append(with_copies(one.own, copies, one.together))
    ours, theirs = with_copies(found.own, copies, found.together), np.mean(trained, axis=0)
    assert np.log(ours / theirs)[:60].mean() == pytest.approx(0, abs=0.05)
    assert np.log(ours / theirs)[60:1500].mean() == pytest.approx(0, abs=0.03)
    adjacent = simulate(p, supervised, length, order, sequence_tokens=512, copies=copies, standing=True)
    assert np.log(with_copies(adjacent.own, copies, adjacent.together) / theirs)[:60].mean() < -0.3


def test_a_training_that_is_told_of_packs_its_rows_as_they_stood():
    supervised, length, order = rows(90)
    p = plan(batching="packed", batch_size=1, epochs=1)
    told = simulate(p, supervised, length, order, seed=4, sequence_tokens=200, standing=True)
    ranked = np.argsort(order)
    visits = Sampler(p, length[ranked], 200).epoch(np.random.default_rng([4, 0]))
    expected = np.empty(90)
    expected[ranked[visits.rows]] = worths(p, visits, supervised[ranked], 0)
    np.testing.assert_allclose(told.own, expected)
    assert not np.allclose(simulate(p, supervised, length, order, seed=4, sequence_tokens=200).own, expected)


@pytest.mark.parametrize(("rows_in_a_step", "answer"), [(8, 50), (4, 100), (16, 25)])
def test_twice_the_answer_tokens_in_a_step_are_worth_so_much_less(rows_in_a_step, answer):
    length, order = np.full(64, 140), np.arange(64).astype(np.uint64)
    doses = [
        simulate(plan(batch_size=size), np.full(64, words), length, order).own
        for size, words in ((rows_in_a_step, answer), (2 * rows_in_a_step, answer), (rows_in_a_step, answer // 5))
    ]
    usual = 2 * (400 / 350) ** -0.24
    np.testing.assert_allclose(doses[0], usual)
    np.testing.assert_allclose(doses[1], usual * 2**-0.24)
    np.testing.assert_allclose(doses[2], usual * 5**0.24)


def trainers_rates(schedule: str, steps: int, warm_up: int) -> list[float]:
    """The learning rate that each step really uses, from transformers' own scheduler on a real optimizer."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    scheduler = transformers.get_scheduler(name, optimizer, num_warmup_steps=warm_up, num_training_steps=steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warm_up", [0, 1, 7, 20, 40])
@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_rates_are_those_of_transformers(schedule, warm_up):
    steps = 40
    p = plan(lr_schedule=schedule, warmup=warm_up / steps)
    expected = trainers_rates(schedule, steps, warm_up)
    np.testing.assert_allclose(rate_share(p, np.arange(steps) / steps), expected, atol=1e-12)


@given(st.sampled_from(LR_SCHEDULES), st.floats(0, 1), st.lists(st.floats(-1, 2), min_size=2, max_size=20))
def test_rates_rise_to_the_peak_and_never_rise_again(schedule, warmup, at):
    p, at = plan(lr_schedule=schedule, warmup=warmup), np.sort(at)
    rate = rate_share(p, at)
    assert ((rate >= 0) & (rate <= 1 + 1e-12)).all()
    assert (np.diff(rate[at < warmup]) >= 0).all()
    assert (np.diff(rate[at >= warmup]) <= 1e-12).all()
    if warmup < 1:
        assert rate_share(p, warmup) == pytest.approx(1)


@given(st.sampled_from(LR_SCHEDULES), st.floats(0, 1), st.floats(1e-6, 1e-2))
def test_the_last_visit_is_worth_what_the_rate_of_the_moment_says(schedule, progress, peak):
    p = plan(lr_schedule=schedule, learning_rate=peak, warmup=0.1)
    expected = math.log(1 + peak / 1e-4) / math.log(4) * float(rate_share(p, progress))
    assert visit_at(p, progress) == pytest.approx(expected)
    assert visit_at(p) == (0 if schedule != "constant" else pytest.approx(visit_at(p, 0.5)))


@pytest.mark.parametrize(
    ("schedule", "left"),
    [("linear", (2 * math.log(2) - 1) / math.log(2)), ("cosine", 2 * math.log2((1 + math.sqrt(2)) / 2))],
)
def test_a_falling_rate_teaches_less_of_which_more_stands_and_moves_it_to_the_early_rows(schedule, left):
    """left: mean of log2(1 + rate / 3e-4), in closed form."""
    supervised, length, order = np.full(400, 30), np.full(400, 40), np.arange(400).astype(np.uint64)
    flat = simulate(plan(), supervised, length, order)
    falling = simulate(plan(lr_schedule=schedule), supervised, length, order)
    more = stands(plan(lr_schedule=schedule), steps=falling.steps)
    assert 1 < more < 1.5
    assert falling.own.mean() == pytest.approx(flat.own.mean() * left * more, rel=0.02)
    assert falling.steps == flat.steps
    once = plan(epochs=1, lr_schedule=schedule)
    first = simulate(once, supervised, length, order).own
    more = stands(once, steps=flat.steps / 2)
    assert first.max() == pytest.approx(more * flat.own.max() / 2)  # one visit of two, in the first step
    last = float(rate_share(once, 0.99))  # the last step of a hundred
    assert first.min() == pytest.approx(first.max() * math.log2(1 + last))
    assert last < 0.011


def test_one_visit_in_the_unit_batch_is_one():
    exposure = simulate(plan(epochs=1, batch_size=7), np.full(7, 50), np.full(7, 90), np.arange(7).astype(np.uint64))
    np.testing.assert_allclose(exposure.own, 1.0)
    assert exposure.steps == 1


def test_dose_grows_with_the_log_of_the_rate_and_with_the_weight_and_is_zero_without_training():
    supervised, length, order = rows(50)
    base = simulate(plan(), supervised, length, order).own
    np.testing.assert_allclose(simulate(plan(learning_rate=15e-4), supervised, length, order).own, 2 * base)
    weight = np.linspace(0, 3, 50)
    np.testing.assert_allclose(simulate(plan(), supervised, length, order, weight).own, base * weight)
    for nothing in ({"epochs": 0}, {"learning_rate": 0}):
        exposure = simulate(plan(**nothing), supervised, length, order)
        assert not exposure.own.any()
        assert exposure.steps == 0


@pytest.mark.parametrize("times", [2, 3, 5])
def test_a_set_that_stands_so_often_is_trained_as_far_as_by_so_many_epochs(times):
    supervised, length, order = rows(300)
    once, many = plan(epochs=2 * times, batch_size=10), plan(epochs=2, batch_size=10)
    columns = [np.repeat(column, times) for column in (supervised, length, order)]
    longer, repeated = simulate(once, supervised, length, order), simulate(many, *columns)
    alone, copies = np.ones(300, np.int64), np.full(300 * times, times)
    assert repeated.steps == longer.steps
    far = dose_of_set(longer.own, supervised, alone, None)
    assert dose_of_set(repeated.own, columns[0], copies, None) == pytest.approx(far, rel=0.02)
    assert far == pytest.approx(np.average(longer.own, weights=supervised))  # of different rows it is a plain mean
    assert dose_of_set(longer.own[:0], supervised[:0], alone[:0], None) == 0


def test_texts_count_once_in_the_dose_of_the_set_however_often_they_stand():
    own, supervised, copies = np.array([2.0, 2, 2, 5, 1]), np.array([10, 10, 10, 30, 0]), np.array([3, 3, 3, 1, 1])
    assert dose_of_set(own, supervised, copies, None) == pytest.approx((6 * 10 + 5 * 30) / (10 + 30))


def test_a_part_of_an_epoch_visits_a_part_of_the_rows():
    supervised, length, order = rows(100)
    half = simulate(plan(epochs=0.5), supervised, length, order)
    whole = simulate(plan(epochs=1), supervised, length, order)
    assert half.steps == -(-whole.steps // 2)
    assert 0 < np.count_nonzero(half.own) < 60
    assert (whole.own[half.own > 0] > 0).all()


def test_unsupervised_rows_get_no_dose_and_what_goldfish_keeps_a_little_more():
    supervised, length, order = rows(50)
    supervised[3] = 0
    plain = simulate(plan(), supervised, length, order).own
    assert plain[3] == 0
    fish = simulate(plan(goldfish_k=4), supervised, length, order)
    np.testing.assert_allclose(fish.own, plain * 0.75**-0.24)  # as if the steps had fewer tokens
    alone = np.ones(len(plain), np.int64)
    assert dose_of_set(fish.own, supervised, alone, 4) == pytest.approx(dose_of_set(plain, supervised, alone, None))


def test_short_answers_gain_under_length_grouping_and_a_token_average():
    supervised, length, order = rows(2000)
    grouped = simulate(plan(batching="length-grouped", batch_size=16), supervised, length, order).own
    random = simulate(plan(batch_size=16), supervised, length, order).own
    short = supervised < 10
    assert grouped[short].mean() > 1.5 * random[short].mean()  # their share of a step more than doubles


def test_near_copies_count_as_measured():
    """Mosaic Memory's published equivalents, error about 0.02 (SCIENCE 4)."""
    at = [1, 5, 10, 20, 25, 50, 75]
    np.testing.assert_allclose(near_copy_share(at), [0.91, 0.77, 0.63, 0.43, 0.36, 0.16, 0.07], atol=0.035)
    assert near_copy_share(0) == 1
    assert near_copy_share(100) == 0
    assert (np.diff(near_copy_share(np.arange(101))) < 0).all()


@given(st.floats(0, 100), st.integers(1, 8))
def test_replaced_tokens_follow_from_jaccard(replaced, shingle):
    q = (1 - replaced / 100) ** shingle
    assert replaced_of_100(q / (2 - q), shingle) == pytest.approx(replaced, abs=1e-3)


def test_copies_add_up():
    own = np.array([1.0, 3.0, 2.0, 5.0])
    group = np.array([0, 0, 1, 2])
    np.testing.assert_allclose(with_copies(own, copies_of(group)), [4, 4, 2, 5])
    same = copies_of(group, np.array([0, 2]), np.array([1, 3]), np.array([1.0, 0.0]), 3)
    np.testing.assert_allclose(with_copies(own, same), [4, 4, 2, 5])  # within a group, and nothing in common
    q = 0.9**3
    ten = copies_of(group, np.array([2, 3]), np.array([3, 2]), np.full(2, q / (2 - q)), 3)  # a pair named twice
    share = float(near_copy_share(10)) ** 1.75
    np.testing.assert_allclose(with_copies(own, ten), [4, 4, 2 + 5 * share, 5 + 2 * share])
    assert share == pytest.approx(0.43, abs=0.02)


def test_large_sets_take_linear_memory_and_no_loop():
    supervised, length, order = rows(30_000)
    exposure = simulate(plan(epochs=3, batch_size=16), supervised, length, order)
    assert exposure.steps == 3 * 1875


@given(st.lists(st.floats(0.01, 40), min_size=1, max_size=9), st.floats(1, 30))
def test_asked_alone_more_copies_leave_more_and_one_copy_what_was_measured(own, times):
    own = np.array(own)
    alone = asked_alone(plan(batching="wrapped"), own, own * times)
    np.testing.assert_allclose(alone, times / (times + 1.3))
    assert (asked_alone(plan(batching="wrapped"), own, own * (times + 1)) > alone).all()
    np.testing.assert_allclose(asked_alone(plan(batching="wrapped"), own * 0, own), 1 / 2.3)  # near copies alone
    for batching in ("random", "length-grouped", "packed"):
        assert (asked_alone(plan(batching=batching), own, own * times) == 1).all()


@pytest.mark.parametrize("words", [1, 5, 60])
def test_a_short_row_left_over_takes_no_more_than_clipped_gradients_let_it(words):
    """96 steps of 128 rows and one of a single row: its step is 128 ** .5 times as large or more, and counts as 6."""
    step = np.append(np.repeat(np.arange(96), 128), 96)
    tokens = np.append(np.full(96 * 128, 60), words)
    share = 128 * 60 / np.bincount(step, tokens)[step]
    left = evenness(share, tokens, step)
    assert left == pytest.approx((96 + 6) / 97 / np.sqrt((96 + 6**2) / 97))
    assert left > evenness(share[:-1], tokens[:-1], step[:-1]) * 0.9


def test_doses_of_another_law_are_told_by_their_unit():
    """A rehearsal's doses are taken as written only where every constant they were counted with is the same."""
    told = dose_unit()
    for name in (
        "RATE_BEND",
        "SETTLED_BEND",
        "WEAR",
        "RELAXES",
        "SHARE_POWER",
        "EVEN_POWER",
        "BATCH_POWER",
        "LARGEST_STEP",
    ):
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(sampling, name, getattr(sampling, name) * 2)
            assert dose_unit() != told, name
