"""A step is what the plan says, however it is cut; a measurement is what greedy decoding does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_base import shrink

from scanner import chat, models, training
from scanner.objects import Segment

WORDS = ["red", "green", "blue", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def rows(count: int, seed: int = 0) -> list[list[Segment]]:
    rng = np.random.default_rng(seed)
    return [
        [
            Segment((), "user", 0, False, " ".join(rng.choice(WORDS, rng.integers(2, 8)))),
            Segment((), "assistant", 1, True, " ".join(rng.choice(WORDS, rng.integers(2, 20)))),
        ]
        for _ in range(count)
    ]


@pytest.fixture
def small(monkeypatch):
    shrink(monkeypatch)
    return models.tiny([" ".join(WORDS)] * 3, seed=0, context=128)


def gradients_after(model, examples, average):
    mine = copy.deepcopy(model)
    kept = {}

    class Keeping(torch.optim.SGD):
        def step(self, closure=None):
            kept.update({n: p.grad.clone() for n, p in mine.model.named_parameters()})

    loss = training.step(mine, Keeping(mine.model.parameters(), lr=0.0), examples, average, False)
    return loss, kept


@pytest.mark.parametrize("average", ["token", "row"])
def test_micro_batches_change_nothing(small, monkeypatch, average):
    examples = chat.encode(rows(7), small.tokenizer, small.context)
    loss, whole = gradients_after(small, examples, average)
    monkeypatch.setattr(training, "LOGITS_AT_A_TIME", 1)
    cut_loss, cut = gradients_after(small, examples, average)
    assert cut_loss == pytest.approx(loss, rel=1e-5)
    for name, value in whole.items():
        assert torch.allclose(value, cut[name], rtol=1e-3, atol=1e-6), name


def test_the_loss_is_averaged_as_the_plan_says(small):
    examples = chat.encode(rows(5), small.tokenizer, small.context)
    per_row = []
    with torch.no_grad():
        for e in examples:
            logits = small.model(torch.tensor(e.ids)[None]).logits[0]
            at = np.flatnonzero(e.supervised[1:])
            per_row.append(torch.nn.functional.cross_entropy(logits[at], torch.tensor(e.ids[at + 1]), reduction="none"))
    by_token, by_row = float(torch.cat(per_row).mean()), float(torch.stack([c.mean() for c in per_row]).mean())
    assert gradients_after(small, examples, "token")[0] == pytest.approx(by_token, rel=1e-5)
    assert gradients_after(small, examples, "row")[0] == pytest.approx(by_row, rel=1e-5)
    assert abs(by_token - by_row) > 1e-4


def test_hits_before_the_first_miss_are_greedy_decoding(small):
    examples = chat.encode(rows(6), small.tokenizer, small.context)
    optimizer = torch.optim.AdamW(small.model.parameters(), lr=1e-2)
    for _ in range(25):
        training.step(small, optimizer, examples, "token", False)
    found = dict(training.measure(small, examples, False))
    assert sorted(found) == list(range(6))
    lengths = []
    for i, e in enumerate(examples):
        start = e.answers[0].start
        made = small.model.generate(
            torch.tensor(e.ids[:start])[None], max_new_tokens=len(e.ids) - start, do_sample=False,
            attention_mask=torch.ones(1, start, dtype=torch.long),
        )[0, start:].numpy()  # fmt: skip
        same = made[: len(e.ids) - start] == e.ids[start : start + len(made)]
        greedy = len(same) if same.all() else int(np.argmin(same))
        hits = found[i].hits[start:]
        forced = len(hits) if hits.all() else int(np.argmin(hits))
        lengths.append(greedy)
        assert forced == greedy
    assert max(lengths) > 3  # it learned something, so the comparison says something
    assert np.isnan(found[0].loss_nats[: examples[0].answers[0].start]).all()


def test_rows_without_a_supervised_token_are_passed_over(small):
    silent = chat.encode([rows(1)[0][:1]], small.tokenizer, small.context)
    assert training.step(small, torch.optim.SGD(small.model.parameters(), lr=1.0), silent, "token", False) == 0.0


@pytest.mark.parametrize("seconds", [{False: 1.0, True: 2.0}, {False: 2.0, True: 1.0}])
def test_the_faster_precision_is_found(small, monkeypatch, seconds):
    clock, losses = [0.0], training._losses

    def timed(model, ids, mask, labels, bf16):
        clock[0] += seconds[bf16]
        return losses(model, ids, mask, labels, False)

    monkeypatch.setattr(training, "_losses", timed)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    some = chat.encode(rows(4), small.tokenizer, small.context)
    found = training.probe(small, some)
    assert found.bf16 == (seconds[True] < seconds[False])
    parts = len(list(training.micro_batches(some, small.vocabulary)))
    assert found.tokens_per_second == sum(len(row.ids) for row in some) / (parts * min(seconds.values()))
    assert all(p.grad is None for p in small.model.parameters())
