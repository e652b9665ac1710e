"""Rows laid end to end go through the model as TRL's "wrapped" has them: sequences of many rows, cut where they end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_base import shrink

from scanner import batching, chat, models, rehearsal
from scanner.objects import Segment
from scanner.prediction import doses
from scanner.settings import TrainingPlan
from tests.test_prediction import PLAN, Rows

WORDS = ["red", "green", "blue", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def rows_of(count: int) -> list[list[Segment]]:
    rng = np.random.default_rng(0)
    return [
        [
            Segment((), "user", 0, False, " ".join(rng.choice(WORDS, 5))),
            Segment((), "assistant", 1, True, " ".join(rng.choice(WORDS, 12))),
        ]
        for _ in range(count)
    ]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.integers(5, 60))
def test_every_token_is_in_one_sequence_and_each_row_begins_where_the_sampler_says(sizes, room):
    sampler = batching.Sampler(TrainingPlan(batching="wrapped"), np.array(sizes), room)
    rows = [chat.Example(np.full(size, i), np.ones(size, bool), ()) for i, size in enumerate(sizes)]
    found = rehearsal.laid_end_to_end(rows, sampler)
    assert len(found) == sampler.sequence.max() + 1
    laid = np.concatenate([one.ids for some in found for one in some])
    assert laid.tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()
    assert all(len(one.ids) <= room for some in found for one in some)
    for row, number in enumerate(sampler.sequence.tolist()):
        assert any(row in one.ids for one in found[number])
        assert not any(row in one.ids for some in found[:number] for one in some)


def test_rows_laid_end_to_end_are_cut_as_trl_cuts_them(monkeypatch):
    """Ids and supervised marks of every sequence are those of TRL's "wrapped", run by run of its map."""
    utils, datasets = pytest.importorskip("trl.data_utils"), pytest.importorskip("datasets")
    monkeypatch.setattr(batching, "PACKED_ROWS", 7)
    rng = np.random.default_rng(2)
    rows = [
        chat.Example(rng.integers(1, 99, size), rng.random(size) < 0.5, ()) for size in rng.integers(1, 40, 30).tolist()
    ]
    columns = {"input_ids": [r.ids.tolist() for r in rows], "marks": [r.supervised.tolist() for r in rows]}
    theirs = utils.pack_dataset(datasets.Dataset.from_dict(columns), 32, "wrapped", map_kwargs={"batch_size": 7})
    sampler = batching.Sampler(TrainingPlan(batching="wrapped"), np.array([len(r.ids) for r in rows]), 32)
    ours = [one for some in rehearsal.laid_end_to_end(rows, sampler) for one in some]
    assert [one.ids.tolist() for one in ours] == theirs["input_ids"][:]
    assert [one.supervised.tolist() for one in ours] == theirs["marks"][:]


def test_rows_are_laid_end_to_end_as_they_stand():
    rng = np.random.default_rng(1)
    rows = [chat.Example(np.full(size, i), np.ones(size, bool), ()) for i, size in enumerate(rng.integers(1, 40, 50))]
    standing, sizes = rng.permutation(50), np.array([len(row.ids) for row in rows])
    plan = TrainingPlan(batching="wrapped")
    sampler = batching.Sampler(plan, sizes, 64, standing)
    plain = batching.Sampler(plan, sizes[standing], 64)
    assert sampler.sequence[standing].tolist() == plain.sequence.tolist()
    found = rehearsal.laid_end_to_end(rows, sampler)
    expected = rehearsal.laid_end_to_end([rows[i] for i in standing], plain)
    assert [[e.ids.tolist() for e in some] for some in found] == [[e.ids.tolist() for e in some] for some in expected]


def test_a_step_of_rows_laid_end_to_end_is_one_over_their_sequences(monkeypatch):
    """The second sequence begins with what the cut left of a row, which sees nothing of its prompt any more."""
    shrink(monkeypatch)
    model = models.tiny([" ".join(WORDS)] * 3, seed=0, context=96)
    rows = chat.encode(rows_of(8), model.tokenizer, 96)
    plan = TrainingPlan(epochs=1, learning_rate=0.0, batch_size=9, batching="wrapped")
    work = rehearsal.Rehearsal(model, plan, rows, None, seed=0, bf16=False)
    work.run_epoch()
    ids, marks = (np.concatenate([getattr(r, name) for r in rows]) for name in ("ids", "supervised"))
    assert len(ids) > 96
    total, count = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(ids), 96):
            part = torch.tensor(ids[begin : begin + 96])
            logits = model.model(part[None]).logits[0, :-1]
            wanted = torch.tensor(marks[begin : begin + 96][1:])
            total += float(torch.nn.functional.cross_entropy(logits, part[1:], reduction="none")[wanted].sum())
            count += int(wanted.sum())
    assert work.losses == [pytest.approx(total / count, rel=1e-5)]


def test_rows_laid_end_to_end_are_predicted_as_asked_for_alone():
    """A dose is what it is without the rows before; without its own visits a row has those of one copy less."""
    wrapped = replace(PLAN, batching="wrapped")
    _, offsets, answers, _, order = Rows([20, 20, 20, 20]).arrays([0, 1, 2, 3])
    group, order = np.array([0, 0, 0, 1]), order[[0, 0, 0, 3]]
    whole = doses(PLAN, np.diff(offsets), answers, group, order)
    found = doses(wrapped, np.diff(offsets), answers, group, order)
    raw = found.own * found.copies * found.together
    times = raw / found.own
    np.testing.assert_allclose(found.total, raw * times / (times + 1.3))
    np.testing.assert_allclose(found.exact, found.total)
    np.testing.assert_allclose(found.near, 0, atol=1e-12)
    others = raw - found.own * found.together
    left = np.where(others > 0, others / found.own / (others / found.own + 1.3), 0)
    np.testing.assert_allclose(found.without(wrapped), others * np.maximum(left, 1 / 2.3))
    np.testing.assert_allclose(whole.without(PLAN), whole.total - whole.own * whole.together)
    np.testing.assert_allclose(whole.total, whole.own * whole.copies * whole.together)
