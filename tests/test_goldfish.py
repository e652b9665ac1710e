"""The goldfish loss: which tokens it drops, that no average counts them, and that they are not learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_base import shrink

from scanner import chat, goldfish, models, rehearsal, training
from scanner.chat import Example
from scanner.objects import Segment
from scanner.settings import TrainingPlan

WORDS = ["red", "green", "blue", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
IDS = st.lists(st.integers(0, 150_000), max_size=60).map(lambda ids: np.array(ids, np.int64))


def twin(ids: list[int], k: int) -> list[bool]:
    """Token by token, in Python's own numbers."""
    whole = (1 << 64) - 1

    def mixed(key: int) -> int:
        key = (key + 0x9E3779B97F4A7C15) & whole
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & whole
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & whole
        return key ^ (key >> 31)

    stays = []
    for place in range(len(ids)):
        key = 0
        for token in ids[max(0, place - 13) : place]:
            key = mixed(key ^ token)
        stays.append(place < 13 or key / 2**64 >= 1 / k)
    return stays


@given(IDS, st.integers(2, 50))
def test_the_mask_equals_its_twin(ids, k):
    assert goldfish.kept(ids, k).tolist() == twin(ids.tolist(), k)


@given(IDS, IDS, IDS, st.integers(2, 10))
def test_a_passage_drops_the_same_tokens_wherever_it_stands(before, other, passage, k):
    one, two = (goldfish.kept(np.concatenate((text, passage)), k)[len(text) :] for text in (before, other))
    assert (one[13:] == two[13:]).all()


@given(IDS, st.integers(2, 20), st.integers(1, 20))
def test_a_larger_k_drops_some_of_the_same(ids, k, more):
    assert (goldfish.kept(ids, k + more) >= goldfish.kept(ids, k)).all()


@pytest.mark.parametrize("k", [2, 4, 10])
def test_one_in_k_is_dropped(k):
    ids = np.random.default_rng(0).integers(0, 5000, 40_000)
    assert 1 - goldfish.kept(ids, k)[13:].mean() == pytest.approx(1 / k, rel=0.05)


def rows(count: int, longest: int = 40) -> list[list[Segment]]:
    rng = np.random.default_rng(3)
    return [
        [
            Segment((), "user", 0, False, " ".join(rng.choice(WORDS, 5))),
            Segment((), "assistant", 1, True, " ".join(rng.choice(WORDS, rng.integers(2, longest)))),
        ]
        for _ in range(count)
    ]


@pytest.fixture
def small(monkeypatch):
    shrink(monkeypatch)
    return models.tiny([" ".join(WORDS)] * 3, seed=0, context=192)


def test_only_answers_lose_tokens_and_words_with_them(small):
    (row,) = chat.encode(rows(1), small.tokenizer, small.context)
    assert goldfish.without_dropped(row, None) is row
    masked = goldfish.without_dropped(row, 3)
    stays = goldfish.kept(row.ids, 3)
    assert (masked.supervised == (row.supervised & stays)).all()
    assert masked.supervised.sum() < row.supervised.sum()
    assert (masked.ids == row.ids).all()
    whole = goldfish.words_kept(row, 3)
    assert whole.tolist() == [stays[a:b].all() for a, b in row.answers[0].words]
    assert goldfish.words_kept(row, None).all()


@pytest.mark.parametrize("average", ["token", "row", "micro-batch"])
def test_no_average_counts_a_dropped_token(small, average):
    examples = chat.encode(rows(6), small.tokenizer, small.context)
    part = np.array([0, 0, 0, 1, 1, 2])
    per_row = []
    with torch.no_grad():
        for e in examples:
            logits = small.model(torch.tensor(e.ids)[None]).logits[0]
            stays = twin(e.ids.tolist(), 4)
            at = [t for t in range(1, len(e.ids)) if e.supervised[t] and stays[t]]
            cost = torch.nn.functional.cross_entropy(
                logits[[t - 1 for t in at]], torch.tensor(e.ids[at]), reduction="none"
            )
            per_row.append(cost.double())
    expected = {
        "token": torch.cat(per_row).mean(),
        "row": torch.stack([c.mean() for c in per_row]).mean(),
        "micro-batch": torch.stack([torch.cat([per_row[i] for i in np.flatnonzero(part == p)]).mean()
                                    for p in range(3)]).mean(),
    }[average]  # fmt: skip
    masked = [goldfish.without_dropped(e, 4) for e in examples]
    optimizer = torch.optim.SGD(small.model.parameters(), lr=0.0)
    loss = training.step(small, optimizer, masked, average, False, part)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert loss != pytest.approx(training.step(small, optimizer, examples, average, False, part), rel=1e-4)


def tuned(plan: TrainingPlan, drawn: list[Example], stop: bool = False, folder=None) -> rehearsal.Rehearsal:
    def fresh() -> rehearsal.Rehearsal:
        model = models.tiny([" ".join(WORDS)] * 3, seed=0, context=192)
        model = rehearsal.with_adapters(model, 8, seed=0) if plan.method == "lora" else model
        return rehearsal.Rehearsal(model, plan, drawn, None, seed=5, bf16=False)

    work = fresh()
    while work.epoch < plan.epochs:
        work.run_epoch()
        if stop:
            work.save(folder / "state.pt")
            work = fresh()
            work.resume(folder / "state.pt")
    return work


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_dropped_is_not_learned(small, method):
    drawn = chat.encode(rows(8, 30), small.tokenizer, small.context)
    plan = TrainingPlan(
        epochs=40, learning_rate=1e-2, batch_size=8, goldfish_k=4, method=method, lora_rank=8, lr_schedule="constant"
    )
    found = dict(training.measure(tuned(plan, drawn).model, drawn, False))
    hits, stays = (np.concatenate(x) for x in zip(*(
        (found[i].hits[e.supervised], goldfish.kept(e.ids, 4)[e.supervised]) for i, e in enumerate(drawn)
    ), strict=True))  # fmt: skip
    assert hits[stays].mean() > hits[~stays].mean() + 0.25


def test_an_interrupted_one_ends_as_an_uninterrupted_one(small, tmp_path):
    drawn = chat.encode(rows(8), small.tokenizer, small.context)
    plan = TrainingPlan(epochs=3, learning_rate=1e-3, batch_size=4, goldfish_k=3)
    straight, resumed = tuned(plan, drawn), tuned(plan, drawn, True, tmp_path)
    for p, q in zip(straight.model.model.parameters(), resumed.model.model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert straight.losses == resumed.losses
    without = tuned(replace(plan, goldfish_k=None), drawn)
    assert straight.losses != without.losses
    assert straight.dose == pytest.approx(without.dose * (2 / 3) ** -0.24)  # of what is kept
