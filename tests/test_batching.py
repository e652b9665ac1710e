"""Batches and the weights of tokens: against a slow twin, transformers' sampler, a real Trainer, and TRL's packing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import batching_twin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import batching, training
from scanner.batching import Sampler, length_grouped, token_shares
from scanner.chat import Example
from scanner.models import LanguageModel
from scanner.sampling import steps_taken
from scanner.settings import BATCHINGS, DROPS, LOSS_AVERAGES, TrainingPlan

PLANS = st.builds(
    lambda micro, devices, times, **rest: TrainingPlan(
        micro_batch=micro, devices=devices, batch_size=times * (micro or 1) * devices, **rest
    ),
    micro=st.sampled_from([None, 1, 2, 3]),
    devices=st.integers(1, 3),
    times=st.integers(1, 4),
    batching=st.sampled_from(BATCHINGS),
    drop_last=st.sampled_from(DROPS),
    batch_tokens=st.sampled_from([None, 40, 150]),
)


@given(PLANS, st.lists(st.integers(1, 60), min_size=1, max_size=50), st.integers(0, 3))
def test_an_epoch_equals_the_twin(plan, sizes, seed):
    visits = Sampler(plan, np.array(sizes), 100).epoch(np.random.default_rng(seed))
    expected = batching_twin.epoch(plan, sizes, np.random.default_rng(seed), 100)
    seen: list[list[list[int]]] = [[] for _ in range(visits.steps)]
    part = -1
    for row, step, of_part in zip(*(column.tolist() for column in visits[:3]), strict=True):
        if of_part != part:
            seen[step].append([])
            part = of_part
        seen[step][-1].append(row)
    assert seen == expected
    assert len(set(visits.rows.tolist())) == len(visits.rows)
    if plan.drop_last == "none":
        assert sorted(visits.rows.tolist()) == list(range(len(sizes)))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_weights_of_tokens_equal_the_twin_and_sum_to_one_a_step(visits):
    tokens = np.array([t for t, _, _ in visits])
    step = np.cumsum([s for _, s, _ in visits])
    part = np.cumsum([s | p for _, s, p in visits])
    for average in LOSS_AVERAGES:
        plan = TrainingPlan(loss_average=average, micro_batch=1)
        found = token_shares(average, tokens, step, part)
        for number in np.unique(step):
            inside = np.flatnonzero(step == number)
            micro = [inside[part[inside] == m].tolist() for m in np.unique(part[inside])]
            for one in micro:
                for row in one:
                    assert found[row] == pytest.approx(
                        batching_twin.token_weight(plan, micro, one, row, tokens.tolist()), rel=1e-12
                    )
            if (average != "micro-batch" and tokens[inside].any()) or all(tokens[one].any() for one in micro):
                assert (found * tokens)[inside].sum() == pytest.approx(1)


def test_no_rows_make_no_steps():
    for name in BATCHINGS:
        visits = Sampler(TrainingPlan(batching=name), np.zeros(0, np.int64)).epoch(np.random.default_rng(0))
        assert visits.steps == 0
    none = np.zeros(0, np.int64)
    assert len(token_shares("token", none, none, none)) == 0


@pytest.mark.parametrize("count", [5, 64, 333, 1000])
def test_length_grouped_is_the_trainers_own_order(count):
    trainer = pytest.importorskip("transformers.trainer_pt_utils")
    torch = pytest.importorskip("torch")
    length = np.random.default_rng(0).integers(1, 90, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1)).numpy()
    sampler = trainer.LengthGroupedSampler(4, lengths=length.tolist(), generator=torch.Generator().manual_seed(1))
    assert length_grouped(length, order, 4).tolist() == list(sampler)


@pytest.mark.parametrize("room", [64, 100, 1000])
def test_packing_is_that_of_trl(room):
    utils, datasets = pytest.importorskip("trl.data_utils"), pytest.importorskip("datasets")
    sizes = np.random.default_rng(3).integers(1, 90, 2300)
    rows = datasets.Dataset.from_dict({"input_ids": [[i] * size for i, size in enumerate(sizes.tolist())]})
    for name, strategy in (("packed", "bfd"), ("wrapped", "wrapped")):
        theirs = [list(dict.fromkeys(r)) for r in utils.pack_dataset(rows, room, strategy)["input_ids"]]
        sequence = Sampler(TrainingPlan(batching=name), sizes, room).sequence
        if name == "packed":  # which of two equally long rows goes first is not told
            ours = [sizes[np.flatnonzero(sequence == s)] for s in range(sequence.max() + 1)]
            assert sorted(sorted(sizes[r].tolist()) for r in theirs) == sorted(sorted(o.tolist()) for o in ours)
        else:
            begun: dict[int, int] = {}
            for number, inside in enumerate(theirs):
                for row in inside:
                    begun.setdefault(row, number)
            first = np.array([begun[i] for i in range(len(sizes))])
            assert (np.diff(first) > 0).tolist() == (np.diff(sequence) > 0).tolist()


VOCABULARY = 40


class Tokens:
    """As much of a tokenizer as a step asks for."""

    pad_token_id = 0

    def __len__(self) -> int:
        return VOCABULARY


def tiny(torch: Any, transformers: Any) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config)


def rows(count: int) -> list[Example]:
    """Rows of 4 to 40 tokens whose first token is never supervised, as after any prompt."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        size = int(rng.integers(4, 41))
        supervised = np.arange(size) >= rng.integers(1, size)
        made.append(Example(rng.integers(1, VOCABULARY, size), supervised, ()))
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("grouped", [False, True], ids=["random", "length-grouped"])
@pytest.mark.parametrize("average", ["token", "micro-batch"])
def test_batches_and_gradients_are_those_of_a_real_trainer(average, grouped, tmp_path, monkeypatch):
    """Every step of two epochs: the rows in each micro-batch, and the gradient that they add up to."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    plan = TrainingPlan(
        epochs=1.5, learning_rate=1e-3, batch_size=6, micro_batch=2, loss_average=average,
        batching="length-grouped" if grouped else "random",
    )  # fmt: skip
    examples = rows(31)
    model = tiny(torch, transformers)
    drawn: list[np.ndarray] = []
    draw = torch.randperm

    def recorded(*args: Any, **options: Any) -> Any:
        drawn.append(draw(*args, **options))
        return drawn[-1]

    monkeypatch.setattr(torch, "randperm", recorded)
    seen: list[list[int]] = []
    gradients: list[dict[str, Any]] = []

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        seen.append([item["row"] for item in batch])
        ids = torch.nn.utils.rnn.pad_sequence([item["input_ids"] for item in batch], True)
        labels = torch.nn.utils.rnn.pad_sequence([item["labels"] for item in batch], True, -100)
        return {"input_ids": ids, "labels": labels, "attention_mask": (ids > 0).long()}

    class Listening(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            gradients.append({n: p.grad.clone() for n, p in rest["model"].named_parameters()})

    data = [
        {"row": i, "input_ids": torch.tensor(e.ids), "labels": torch.tensor(np.where(e.supervised, e.ids, -100))}
        for i, e in enumerate(examples)
    ]
    by_length = {"train_sampling_strategy": "group_by_length"}
    if "train_sampling_strategy" not in transformers.TrainingArguments.__dataclass_fields__:
        by_length = {"group_by_length": True}
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=2, gradient_accumulation_steps=3,
            num_train_epochs=1.5, learning_rate=0.0, max_grad_norm=0, save_strategy="no", report_to=[], use_cpu=True,
            remove_unused_columns=False, disable_tqdm=True, logging_strategy="no", **(by_length if grouped else {}),
        ),
        data_collator=collate, train_dataset=data, callbacks=[Listening()],
    )  # fmt: skip
    if average == "micro-batch":
        trainer.model_accepts_loss_kwargs = False  # as for models whose loss knows nothing of the whole step
    trainer.train()

    sizes = np.array([len(e.ids) for e in examples])
    orders = [d.numpy() for d in drawn if len(d) == len(examples)]
    if not grouped:  # torch's RandomSampler draws once more at the end of an epoch, for a remainder that is empty
        orders = orders[::2]
    sampler = Sampler(plan, sizes)
    monkeypatch.setattr(training, "LARGEST_GRADIENT_NORM", 1e9)
    kept: dict[str, Any] = {}

    class Keeping(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            kept.update({n: p.grad.clone() for n, p in model.named_parameters()})

    ours = LanguageModel(model, Tokens(), "tiny", 0, 64, "cpu")
    optimizer, done, parts = Keeping(model.parameters(), lr=0.0), 0, iter(seen)
    for epoch in range(2):
        visits = sampler.epoch(SimpleNamespace(permutation=lambda count, epoch=epoch: orders[epoch]))
        for step in range(steps_taken(plan.epochs, epoch, visits.steps)):
            inside = visits.step == step
            part = visits.part[inside]
            for number in np.unique(part):
                assert visits.rows[inside][part == number].tolist() == next(parts)
            batch = [examples[i] for i in visits.rows[inside]]
            training.step(ours, optimizer, batch, average, False, part)
            for name, gradient in gradients[done].items():
                assert torch.allclose(kept[name], gradient, rtol=1e-4, atol=1e-6), (epoch, step, name)
            done += 1
    assert done == len(gradients) == trainer.state.max_steps == 9  # 6 steps, and half of 6


def test_constants_are_those_of_the_programs():
    assert (batching.MEGA_BATCHES, batching.PACKED_ROWS) == (50, 1000)


@pytest.mark.parametrize(
    ("way", "context", "max_length", "tokens"),
    [("packed", 256, None, 2048), ("packed", 256, 512, 512), ("wrapped", 256, 512, 256), ("wrapped", 8192, None, 2048)],
)
def test_packed_sequences_are_as_long_as_rows_may_be(way, context, max_length, tokens):
    plan = TrainingPlan(batching=way)
    assert batching.sequence_length(plan, context, max_length) == tokens
    assert Sampler(plan, np.full(40, 128), tokens).epoch(np.random.default_rng(0)).rows.size == 40
