"""The training plan in words, as every report says it."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from scanner.reports import _words as words
from scanner.settings import TrainingPlan


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "3 epochs, learning rate 2e-05 falling in a line, full fine-tuning, random batches of 16 rows, "),
        ({"lr_schedule": "cosine", "warmup": 0.03}, "falling as a cosine after a warm-up of 3 % of the steps, full"),
        ({"lr_schedule": "constant"}, "learning rate 2e-05 constant, full"),
        (
            {"loss_average": "micro-batch", "micro_batch": 2, "devices": 4},
            "random batches of 16 rows on 4 devices in micro-batches of 2, loss averaged per micro-batch",
        ),
        ({"batching": "packed", "batch_size": 1}, "packed batches of 1 sequence, "),
        ({"method": "lora", "batch_tokens": 4000}, "LoRA of rank 16, random batches of 4,000 tokens, "),
    ],
)
def test_the_plan_says_its_schedule_and_batches(changes, said):
    assert said in words.of_plan(asdict(TrainingPlan(**changes)))


def test_a_plan_of_before_there_was_a_schedule_says_nothing_of_it():
    old = {k: v for k, v in asdict(TrainingPlan()).items() if k not in ("lr_schedule", "warmup")}
    assert "learning rate 2e-05, full" in words.of_plan(old)
