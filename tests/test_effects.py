"""What is said of a plan's batching: which doses it changes, whose copies meet, whether lengths are the trainer's."""

from __future__ import annotations

import re

import numpy as np
import pytest
from dose_twin import plan, rows

from scanner.batching import Sampler
from scanner.effects import (
    _alike,
    _changes,
    alone_facts,
    batching_facts,
    length_facts,
    meeting_facts,
    order_facts,
    standing_facts,
)
from scanner.sampling import copies_of, simulate
from scanner.settings import TrainingPlan


def told(supervised, length, order, seed=0, **values) -> list[str]:
    p = plan(batch_size=16, **values)
    return batching_facts(p, supervised, length, order, None, seed, np.arange(len(length)) + 100)


def test_the_plan_that_is_the_comparison_says_nothing():
    assert told(*rows(100)) == []


def test_grouping_by_length_names_the_rows_that_it_raises():
    supervised, length, order = rows(2000)
    (said,) = told(supervised, length, order, batching="length-grouped")
    found = re.fullmatch(
        r"grouping by length raises the dose of ([\d,]+) rows at least twofold, most that of rows (\d+), (\d+), "
        r"(\d+) \(([\d.]+) times\)(?:, and at least halves that of ([\d,]+))?, beside random batches averaged per "
        r"token; the raised answers have (\d+) tokens in the median, all answers (\d+)",
        said,
    )
    assert found
    assert float(found[5]) > 2
    assert int(found[7]) < int(found[8]) / 2
    assert all(supervised[int(found[i]) - 100] <= 10 for i in (2, 3, 4))


def test_what_grouping_does_is_told_alike_whatever_rows_are_left_over_for_a_last_step():
    """One row alone in the last step of an epoch, of few tokens: by the draw it has many times the dose."""
    supervised, length, order = rows(801)
    heard = [told(supervised, length, order, seed, batching="length-grouped", epochs=6)[0] for seed in range(6)]
    numbers = [re.findall(r"[\d.]+", said) for said in heard]
    raised, most = (np.array([float(of[i]) for of in numbers]) for i in (0, 4))
    halved = [int(found[1]) for said in heard if (found := re.search(r"halves that of (\d+)", said))]
    assert raised.max() < 1.3 * raised.min()
    assert max(halved, default=0) <= 5
    assert most.max() < 1.3 * most.min()


def test_rows_that_come_while_the_rate_is_next_to_nothing_are_not_told_as_what_packing_does():
    """Some come first in the warm-up and then at the end, in one of the two draws that are compared."""
    p = plan(batch_size=16, batching="packed", lr_schedule="cosine", warmup=0.03)
    supervised, length, order = rows(2000)
    (said,) = batching_facts(p, supervised, length, order, None, 0, np.arange(2000), sequence_tokens=512)
    assert said == (
        "packing whole rows into sequences changes the dose of no row, beside random batches averaged per token"
    )


def test_where_no_dose_doubles_none_is_said_to_be_raised():
    there, supervised, order = np.arange(4), np.full(4, 20), np.arange(4, dtype=np.uint64)
    ratio = np.array([0.4, 1.0, 1.97, 0.9])
    assert _changes(ratio, there, supervised, order, there + 10) == (
        "at least halves the dose of 1 row and doubles that of none, beside random batches averaged per token: 0.4 to "
        "2.0 times (most raised: rows 12, 11, 13)"
    )
    assert _changes(np.array([0.96, 1.04, 1.0, 1.0]), there, supervised, order, there) == (
        "changes the dose of no row, beside random batches averaged per token"
    )
    raised = _changes(np.array([1.0, 3.0, 1.0, 1.0]), there, supervised, order, there)
    assert raised.startswith(
        "raises the dose of 1 row at least twofold, most that of rows 1, 0, 2 (3.0 times), beside "
    )


def test_averages_packing_and_left_over_rows_are_told():
    some = rows(500)
    assert told(*some, loss_average="row")[0].startswith("averaging the loss per row raises the dose of ")
    (micro,) = told(*some, loss_average="micro-batch", micro_batch=2, batching="length-grouped")
    assert micro.startswith("grouping by length and averaging the loss per micro-batch of 2 raises the dose of ")
    (packed,) = told(*some, batching="packed")
    assert packed.startswith("packing whole rows into sequences changes the dose of no row, beside random batches")
    assert told(*some, drop_last="step") == [
        "every epoch leaves out 4 of 500 rows, drawn anew, that do not fill a step"
    ]
    assert told(*some, drop_last="micro-batch", micro_batch=8) == [
        "every epoch leaves out 4 of 500 rows, drawn anew, that do not fill a micro-batch on every device"
    ]
    assert told(*some, drop_last="micro-batch", micro_batch=4) == [], "none is left out"


def test_facts_say_how_many_rows_lose_dose_as_their_copies_meet():
    said = meeting_facts(np.array([1.0, 0.5, 0.9, 0.5, 0.25]))
    assert said == ["copies of 3 rows often meet in a step; 25 to 50 % of the dose is left"]
    assert meeting_facts(np.array([1.0, 0.5])) == ["copies of 1 row often meet in a step; 50 % of the dose is left"]
    assert meeting_facts(np.ones(5)) == []
    assert meeting_facts(np.array([0.731, 0.73]))[0].endswith("in a step; 73 % of the dose is left")


def test_what_is_left_of_rows_laid_end_to_end_is_told():
    (said,) = alone_facts(plan(batching="wrapped"))
    assert "43 % of the dose of a row with one copy is left, 92 % with 16" in said
    assert alone_facts(plan(batching="packed")) == []


def test_lengths_matter_where_batches_are_made_by_them():
    assert length_facts(plan()) == []
    for values in ({"batching": "length-grouped"}, {"batching": "packed"}, {"batch_tokens": 4096}):
        (said,) = length_facts(plan(**values))
        assert said.startswith("these batches are made by the rows' lengths, here in the scan's own tokens")


def test_sources_that_stand_one_after_the_other_are_told_where_rows_are_packed():
    supervised, length, _ = rows(2000)
    length = np.full_like(length, 100)  # best fit leaves equal rows where they stand
    standing = np.repeat(np.arange(4), 500)
    some = plan(batch_size=8, batching="packed", batch_tokens=1000)
    (said,) = order_facts(some, standing, supervised, length, 0)
    found = re.match(r"packed as the rows stand, .* in (\d+) % of all cases \((\d+) % if the rows are shuffled", said)
    assert found
    assert int(found[1]) >= 95
    assert 25 <= int(found[2]) <= 40  # one of four sources, and each token's own row
    assert order_facts(some, np.random.default_rng(0).permutation(standing), supervised, length, 0) == []
    assert order_facts(some, standing * 0, supervised, length, 0) == []
    assert order_facts(plan(batching="random"), standing, supervised, length, 0) == []


def test_copies_that_stand_side_by_side_are_told_where_rows_are_packed():
    supervised, length, _ = rows(1800)
    beside = np.repeat(np.arange(900), 2)
    supervised, length = supervised[beside], length[beside]
    some = plan(batch_size=1, batching="packed", epochs=3)

    def facts(p: TrainingPlan, group: np.ndarray, of: np.ndarray) -> list[str]:
        together = simulate(p, supervised[of], length[of], group.astype(np.uint64), copies=copies_of(group)).together
        return standing_facts(p, group, together, supervised[of], length[of], 0)

    (said,) = facts(some, beside, np.arange(1800))
    found = re.match(r"packed as the rows stand, the 1,800 rows with copies keep (\d+) % .* \((\d+) % if", said)
    assert found
    assert int(found[1]) <= 66  # 62 where all meet
    assert int(found[2]) >= 80
    mixed = np.random.default_rng(0).permutation(1800)
    assert facts(some, beside[mixed], mixed) == []
    assert facts(some, np.arange(1800), np.arange(1800)) == []
    assert facts(plan(batching="random"), beside, np.arange(1800)) == []
    none = np.zeros(0, np.int64)
    assert standing_facts(some, none, np.zeros(0), none, none, 0) == []


def test_likeness_of_a_step_is_the_chance_that_two_tokens_are_of_one_source():
    rng = np.random.default_rng(1)
    supervised, source = rng.integers(0, 9, 40), rng.integers(0, 3, 40)
    visits = Sampler(plan(batch_size=7), supervised + 1).epoch(rng)
    cases = []
    for step in range(visits.steps):
        there = visits.rows[visits.step == step]
        of = np.repeat(source[there], supervised[there])
        cases += [float((of == one).mean()) for one in of]
    assert _alike(visits, source, supervised) == pytest.approx(np.mean(cases))
