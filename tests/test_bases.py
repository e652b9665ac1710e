"""Bases of several architectures, saved as people save them: loaded, trained, and measured as greedy decoding would.

Each is a real model of a few thousand weights, written by transformers in bf16 and in shards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from scanner import chat, models, rehearsal, training
from scanner.objects import Segment
from scanner.settings import TrainingPlan

WORDS = ["red", "green", "blue", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
ALTERNATING = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>{% endfor %}"
)
SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 96,
}  # fmt: skip


def config(kind: str, vocabulary: int) -> Any:
    t = transformers
    tied = {"tie_word_embeddings": True}
    made = {
        "llama": lambda: t.LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=False, **SHAPE),
        "qwen2": lambda: t.Qwen2Config(vocab_size=vocabulary + 40, num_key_value_heads=1, **tied, **SHAPE),
        "mistral": lambda: t.MistralConfig(vocab_size=vocabulary, num_key_value_heads=1, sliding_window=8, **SHAPE),
        "gpt2": lambda: t.GPT2Config(
            vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=2, n_positions=96, bos_token_id=1, eos_token_id=1
        ),
    }
    return made[kind]()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return models.tiny([" ".join(WORDS)] * 3, seed=0, context=96, width=32, layers=1).tokenizer


def saved(folder: Path, kind: str, tokenizer: Any) -> Path:
    """The model in bf16, in shards, with a tokenizer as this kind often has it."""
    import copy

    mine = copy.deepcopy(tokenizer)
    if kind == "gpt2":  # no template, no pad token
        mine.chat_template = None
        mine.pad_token = None
    if kind == "mistral":  # begins with BOS, refuses system turns, pads on the left
        mine.add_special_tokens({"bos_token": "<|system|>"})
        mine.chat_template = ALTERNATING
        mine.padding_side = "left"
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config(kind, len(tokenizer)))
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    mine.save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def rows() -> list[list[Segment]]:
    rng = np.random.default_rng(0)
    return [
        [
            Segment((), "system", 0, False, "be brief"),
            Segment((), "user", 1, False, " ".join(rng.choice(WORDS, rng.integers(1, 6)))),
            Segment((), "assistant", 2, True, " ".join(rng.choice(WORDS, rng.integers(3, 12)))),
        ]
        for _ in range(5)
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral", "gpt2"])
def test_n_pre_is_that_of_greedy_generation(tmp_path, tokenizer, kind):
    base = models.load(saved(tmp_path / "m", kind, tokenizer))
    assert base.context == 96
    assert next(base.model.parameters()).dtype == torch.float32
    assert base.vocabulary == len(tokenizer) + 40 * (kind == "qwen2")
    examples = chat.encode(rows(), base.tokenizer, base.context)
    assert all(example.adapted == (kind == "mistral") for example in examples)
    plan = TrainingPlan(epochs=45, learning_rate=1e-2, batch_size=5, lr_schedule="constant")
    tune = rehearsal.Rehearsal(base, plan, examples, None, 0, False)
    for _ in range(45):
        tune.run_epoch()
    found = dict(training.measure(base, examples, False))
    base.model.eval()
    reached = []
    for i, example in enumerate(examples):
        start = example.answers[0].start
        wanted = example.ids[start:]
        with torch.no_grad():
            made = base.model.generate(
                torch.tensor(example.ids[:start])[None], max_new_tokens=len(wanted), do_sample=False, pad_token_id=0,
                attention_mask=torch.ones(1, start, dtype=torch.long), eos_token_id=None,
            )[0, start:].numpy()  # fmt: skip
        reached.append(int(np.argmin(np.append(made == wanted, False))))
        covered = np.append(found[i].hits[start:] | ~example.supervised[start:], False)
        supervised = int(example.supervised.sum())
        assert min(reached[-1], supervised) == min(int(np.argmin(covered)), supervised)
    assert max(reached) > 2  # it learned something, so the comparison says something


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral", "gpt2"])
def test_adapters_learn_and_nothing_else_does(tmp_path, tokenizer, kind):
    base = models.load(saved(tmp_path / "m", kind, tokenizer))
    examples = chat.encode(rows(), base.tokenizer, base.context)
    tuned = rehearsal.with_adapters(base, 4, 0)
    assert tuned.vocabulary == base.vocabulary
    assert training.takes_places(tuned)
    before = {n: p.detach().clone() for n, p in tuned.model.named_parameters() if not p.requires_grad}
    plan = TrainingPlan(epochs=3, learning_rate=1e-2, batch_size=5, method="lora", lr_schedule="constant")
    tune = rehearsal.Rehearsal(tuned, plan, examples, None, 0, False)
    for _ in range(3):
        tune.run_epoch()
    assert tune.losses[-1] < tune.losses[0]
    frozen = dict(tuned.model.named_parameters())
    assert before
    assert all(torch.equal(value, frozen[name]) for name, value in before.items())


def test_a_model_that_cannot_be_told_where_logits_are_wanted_gives_the_same_losses(tmp_path, tokenizer, monkeypatch):
    base = models.load(saved(tmp_path / "m", "llama", tokenizer))
    examples = chat.encode(rows(), base.tokenizer, base.context)
    told = dict(training.measure(base, examples, False))
    monkeypatch.setattr(training, "takes_places", lambda model: False)
    whole = dict(training.measure(base, examples, False))
    for i in told:
        np.testing.assert_allclose(told[i].loss_nats, whole[i].loss_nats, rtol=1e-5)
        assert (told[i].hits == whole[i].hits).all()
