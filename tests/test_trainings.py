"""Trainings in words."""

from __future__ import annotations

from dataclasses import replace

from scanner.prediction import trainings
from scanner.settings import TrainingPlan


def test_words():
    assert trainings.epochs_in_words([4]) == "epoch 4"
    plan = TrainingPlan(epochs=2, learning_rate=1e-4, batch_tokens=4096, batching="packed", loss_average="row")
    assert trainings.plan_in_words(replace(plan, lr_schedule="cosine")) == (
        "2 epochs at 0.0001, cosine, packed batches of 4,096 tokens, loss averaged per row"
    )
    averaged = TrainingPlan(epochs=2, learning_rate=1e-4, loss_average="micro-batch", micro_batch=4)
    assert trainings.plan_in_words(averaged).endswith("16 rows, loss averaged per micro-batch of 4 rows")
    rarer = TrainingPlan(
        epochs=1, learning_rate=1e-4, warmup=0.03, method="lora", lora_rank=8, goldfish_k=4, batching="packed",
        batch_size=1, source_weight=(("a.jsonl", 2.0),),
    )  # fmt: skip
    assert trainings.plan_in_words(rarer) == (
        "1 epoch at 0.0001, packed batches of 1 sequence, 3 % of the steps to warm up, LoRA of rank 8, goldfish loss "
        "of k = 4, a.jsonl weighed 2"
    )
    assert trainings.described({"name": "b", "parameters": 1e9, "method": "lora", "lora_rank": 8}) == (
        "b (1 B parameters, LoRA of rank 8)"
    )
