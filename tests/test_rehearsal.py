"""A rehearsal draws whole groups, trains as planned, and its measurements are those of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_base import PLAIN_WORDS, shrink

from scanner import batching, chat, models, rehearsal, sampling
from scanner.errors import ModelError
from scanner.objects import Segment
from scanner.rates import stands
from scanner.settings import TrainingPlan


@given(st.lists(st.integers(0, 12), min_size=5, max_size=60), st.integers(1, 30), st.integers(1, 10), st.integers(0, 5))
def test_groups_are_never_torn(labels, rows, controls, seed):
    group = np.array([labels.index(x) for x in labels])
    source = np.zeros(len(labels), np.int64)
    parts = rehearsal.split(group, source, np.arange(len(labels)), rows, controls, seed)
    trained, rest = set(parts.trained.tolist()), set(parts.rest.tolist())
    assert len(trained) <= rows
    assert not {group[i] for i in trained} & {group[i] for i in (*rest, *parts.controls.tolist())}
    assert len({group[i] for i in parts.controls}) == len(parts.controls)
    for i in trained:
        assert {j for j in range(len(labels)) if group[j] == group[i]} <= trained


def test_the_draw_follows_the_content_not_the_place():
    n, rng = 200, np.random.default_rng(0)
    shuffled = rng.permutation(n)
    straight = rehearsal.split(np.arange(n), np.zeros(n, np.int64), np.arange(n), 50, 20, 3)
    mixed = rehearsal.split(np.arange(n), np.zeros(n, np.int64), shuffled, 50, 20, 3)
    assert set(shuffled[mixed.trained].tolist()) == set(straight.trained.tolist())
    assert set(shuffled[mixed.controls].tolist()) == set(straight.controls.tolist())
    assert len(straight.trained) == 50
    assert len(straight.controls) == 20


@pytest.fixture
def small(monkeypatch):
    shrink(monkeypatch)


def examples(model, count=12, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        [
            Segment((), "user", 0, False, " ".join(rng.choice(PLAIN_WORDS, 5))),
            Segment((), "assistant", 1, True, " ".join(rng.choice(PLAIN_WORDS, 12))),
        ]
        for _ in range(count)
    ]
    return chat.encode(rows, model.tokenizer, model.context)


def tuned(plan, stops_at=None, folder=None):
    model = models.tiny([" ".join(PLAIN_WORDS)] * 3, seed=0, context=96)
    rows = examples(model)
    if plan.method == "lora":
        model = rehearsal.with_adapters(model, 4, seed=0)
    work = rehearsal.Rehearsal(model, plan, rows, None, seed=5, bf16=False)
    while work.epoch < plan.epochs:
        if stops_at == work.epoch:
            work.save(folder / "state.pt")
            again = rehearsal.Rehearsal(
                models.tiny([" ".join(PLAIN_WORDS)] * 3, seed=0, context=96), plan, rows, None, seed=5, bf16=False
            )
            again.resume(folder / "state.pt")
            work, stops_at = again, None
        work.run_epoch()
    return work, rows


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_memorizes_and_the_table_says_so(small, method):
    work, rows = tuned(TrainingPlan(epochs=60, learning_rate=1e-2, batch_size=6, method=method, lora_rank=4))
    table = rehearsal.recalled(work.model, rows, np.arange(12) * 10, False)
    assert table["row_id"].to_list() == [i * 10 for i in range(12)]
    assert (table["tokens"] == 12).all()
    assert table["n_pre"].mean() > (6 if method == "full" else 0.5)
    assert (table.filter("whole")["n_pre"] == 12).all()
    assert work.steps == 60 * 2
    assert work.losses[-1] < work.losses[0]
    hits = np.unpackbits(np.frombuffer(b"".join(table["hits"]), np.uint8).reshape(12, -1), axis=1)[:, :12].astype(bool)
    first = [len(h) if h.all() else int(np.argmin(h)) for h in hits]
    assert first == table["n_pre"].to_list()


def test_an_interrupted_rehearsal_ends_as_an_uninterrupted_one(small, tmp_path):
    import torch

    plan = TrainingPlan(epochs=3, learning_rate=1e-3, batch_size=4)
    straight, _ = tuned(plan)
    resumed, _ = tuned(plan, 2, tmp_path)
    for p, q in zip(straight.model.model.parameters(), resumed.model.model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert resumed.dose == pytest.approx(straight.dose)
    assert resumed.losses == straight.losses


def test_the_dose_is_that_of_the_batches_that_were_made(small):
    plan = TrainingPlan(epochs=2, learning_rate=3e-4, lr_schedule="constant", batch_size=12)
    work, _ = tuned(plan)
    crowd = sum(len(answer.words) for row in work.trained for answer in row.answers) / 350  # one step of all an epoch
    assert work.dose == pytest.approx(np.full(12, 2 * crowd**-0.24))
    falls = replace(plan, lr_schedule="linear")
    falling, _ = tuned(falls)
    assert falling.dose == pytest.approx(np.full(12, stands(falls, steps=2) * (1 + np.log2(1.5)) * crowd**-0.24))


@pytest.mark.parametrize(
    "values",
    [
        {"lr_schedule": "cosine", "epochs": 2.5}, {"batching": "length-grouped", "loss_average": "row"},
        {"batching": "packed", "batch_tokens": 90}, {"batching": "wrapped", "goldfish_k": 4},
        {"micro_batch": 2, "loss_average": "micro-batch", "warmup": 0.2},
    ],
    ids=str,
)  # fmt: skip
def test_the_simulated_doses_are_those_of_the_rehearsal_with_the_same_seed(small, values):
    plan = TrainingPlan(**{"epochs": 2, "learning_rate": 1e-3, "batch_size": 4, **values})
    model = models.tiny([" ".join(PLAIN_WORDS)] * 3, seed=0, context=96)
    drawn = examples(model, 14)
    for n, row in enumerate(drawn):  # as long, and as much of it supervised, as the batches are to tell apart
        kept = len(row.ids) - n % 5
        answer = replace(row.answers[0], words=row.answers[0].words[: 12 - n % 9])
        drawn[n] = replace(row, ids=row.ids[:kept], supervised=row.supervised[:kept], answers=(answer,))
    work = rehearsal.Rehearsal(model, plan, drawn, None, seed=5, bf16=False)
    words = np.array([len(row.answers[0].words) for row in drawn])
    length = np.array([len(row.ids) for row in drawn])
    while work.epoch < plan.epochs:
        work.run_epoch()
        until = min(work.epoch, plan.epochs)
        found = sampling.simulate(
            plan, words, length, np.arange(14, dtype=np.uint64), seed=5, until=until,
            sequence_tokens=batching.sequence_length(plan, model.context, None), standing=True,
        )  # fmt: skip
        np.testing.assert_allclose(work.dose, found.own, rtol=1e-12)
        assert work.steps == found.steps
    assert work.planned_steps() == work.steps


def test_a_rehearsal_interrupted_within_an_epoch_goes_on_with_its_next_step(small, tmp_path):
    import torch

    plan = TrainingPlan(epochs=2, learning_rate=1e-3, batch_size=4)
    straight, rows = tuned(plan)
    model = models.tiny([" ".join(PLAIN_WORDS)] * 3, seed=0, context=96)
    broken = rehearsal.Rehearsal(model, plan, rows, None, 5, False)
    steps: list[int] = []

    def stop_after_second() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run_epoch(after_step=stop_after_second)
    assert broken.is_whole
    assert (broken.epoch, broken.begun, broken.steps) == (0, 2, 0)
    broken.save(tmp_path / "state.pt")
    again = rehearsal.Rehearsal(
        models.tiny([" ".join(PLAIN_WORDS)] * 3, seed=0, context=96), plan, rows, None, 5, False
    )
    again.resume(tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.save({**state, "dose_unit": "visits of old"}, tmp_path / "old.pt")
    with pytest.raises(ModelError, match=r"begun by another version.*another --name"):
        broken.resume(tmp_path / "old.pt")
    shuffled = rehearsal.Rehearsal(model, replace(plan, batching="packed"), rows, None, 5, False, shuffled=True)
    with pytest.raises(ModelError, match="begun by another version"):  # which packed its rows otherwise
        shuffled.resume(tmp_path / "state.pt")
    seen: list[int] = []
    again.run_epoch(seen.append)
    assert seen == [8, 4]  # what was done before is told at once
    again.run_epoch()
    for p, q in zip(straight.model.model.parameters(), again.model.model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert again.losses == straight.losses
    assert again.tokens == straight.tokens == 2 * sum(len(row.ids) for row in rows)
    assert again.seconds > broken.seconds > 0
