"""Trainings in words: base, plan, epochs, and the order in which rows were packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scanner.batching import PACKED
from scanner.figures import amount, listed, plural, plural_g
from scanner.prediction.validated import SHUFFLED, Validated
from scanner.settings import TrainingPlan


def described(base: Mapping[str, Any]) -> str:
    """tiny (4.5 M parameters, full fine-tuning)."""
    kind = "full fine-tuning" if base["method"] == "full" else f"LoRA of rank {base['lora_rank']}"
    return f"{base['name']} ({amount(base['parameters'])} parameters, {kind})"


def plan_in_words(plan: TrainingPlan) -> str:
    """4 epochs at 0.001, random batches of 8 rows; further what of the plan is not as usual."""
    held = "sequence" if plan.batching in PACKED else "row"
    size = plural(plan.batch_size, held) if plan.batch_tokens is None else f"{plan.batch_tokens:,} tokens"
    average = {"token": "", "row": ", loss averaged per row"}.get(
        plan.loss_average, f", loss averaged per micro-batch of {plural(plan.micro_batch or 1, held)}"
    )
    schedule = f", {plan.lr_schedule}" if plan.lr_schedule != "linear" else ""
    more = [
        f", {100 * plan.warmup:.2g} % of the steps to warm up" if plan.warmup else "",
        f", LoRA of rank {plan.lora_rank}" if plan.method == "lora" else "",
        f", goldfish loss of k = {plan.goldfish_k}" if plan.goldfish_k else "",
        *(f", {name} weighed {weight:g}" for name, weight in plan.source_weight),
    ]
    visits = f"{plural_g(plan.epochs, 'epoch')} at {plan.learning_rate:g}{schedule}"
    return f"{visits}, {plan.batching} batches of {size}{average}{''.join(more)}"


def packed_in_words(runs: Validated) -> str:
    """ ", packed as they stand, source by source", or what each of several was; empty where all were shuffled."""
    if not {*runs.packings} - {SHUFFLED}:
        return ""
    some = "some " if len(runs.packings) > 1 else ""
    return "".join(f", {some}packed {order}" for order in runs.packings)


def epochs_in_words(epochs: Sequence[float]) -> str:
    """epoch 4; epochs 1, 2 and 4."""
    return f"epoch{'' if len(epochs) == 1 else 's'} {listed([f'{e:g}' for e in epochs])}"
