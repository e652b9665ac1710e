"""The training plan in words: what every prediction of a report is conditional on."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from scanner.figures import amount, number, percent, plural, plural_g
from scanner.settings import TrainingPlan

USUAL = "These are the defaults; --epochs, --learning-rate, --batch-size, --method and --model-params tell yours."


def premise(scan: dict[str, Any], brief: bool = False) -> str:
    """The plan that everything is judged for, and how to tell another where it is the usual one.

    brief: without the schedule and the loss average where these are what trainers do unasked.
    """
    plan = (scan.get("settings") or {}).get("plan") or {}
    usual = asdict(TrainingPlan())
    is_usual = json.dumps(usual | plan) == json.dumps(usual)  # a tuple is a list in scan.json
    return f"{of_plan(plan, brief)}.{f' {USUAL}' if is_usual else ''}"


def of_plan(plan: dict[str, Any], brief: bool = False) -> str:
    """The training plan in one phrase; brief as in `premise`."""
    method = plan.get("method", "full")
    tuning = f"LoRA of rank {plan.get('lora_rank')}" if method == "lora" else "full fine-tuning"
    if plan.get("model_params"):
        tuning += f" of a model of {amount(plan['model_params'])} parameters"
    budget = plan.get("batch_tokens")
    packed = plan.get("batching") in ("packed", "wrapped")
    batch = plural(budget, "token") if budget else plural(plan.get("batch_size", 0), "sequence" if packed else "row")
    if (plan.get("devices") or 1) > 1:
        batch += f" on {plural(plan['devices'], 'device')}"
    if plan.get("micro_batch"):
        batch += f" in micro-batches of {number(plan['micro_batch'])}"
    parts = [
        plural_g(plan.get("epochs", 0), "epoch"),
        _rate(plan, brief),
        tuning,
        f"{plan.get('batching', 'random')} batches of {batch}",
    ]
    average = plan.get("loss_average", "token")
    if not brief or average != "token":
        parts.append(f"loss averaged per {average}")
    if plan.get("goldfish_k"):
        parts.append(f"goldfish loss of k = {plan['goldfish_k']} (one token in {plan['goldfish_k']} is left out)")
    return ", ".join(parts)


def _rate(plan: dict[str, Any], brief: bool) -> str:
    """The learning rate and how it moves; runs of before there was a schedule say nothing of it."""
    falls = {"linear": "falling in a line", "cosine": "falling as a cosine", "constant": "constant"}
    parts = [f"learning rate {plan.get('learning_rate', 0):g}"]
    if plan.get("lr_schedule") in falls and not (brief and plan["lr_schedule"] == "linear"):
        parts.append(falls[plan["lr_schedule"]])
    if plan.get("warmup"):
        parts.append(f"after a warm-up of {percent(plan['warmup'])} of the steps")
    return " ".join(parts)
