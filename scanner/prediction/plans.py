"""How far the plan is one that the weights were fitted and tested on: size, method, trainer, rate, length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scanner.figures import amount, plural, plural_g
from scanner.prediction.hazard import Weights
from scanner.prediction.statements import (
    COUNT,
    INSIDE,
    NOTE,
    ORDER,
    Statement,
    beyond,
    by_factor,
    of_test,
    span,
    times,
    unrecorded,
)  # fmt: skip
from scanner.prediction.validated import STEPS, Validated
from scanner.settings import TrainingPlan

STEPS_FACTOR = 1.5
"""Times the most optimizer steps validated from which on the number of rows is a guess."""
SINGLE_LORA = (
    "That is the sum of nine trainings (ranks 8 to 64, rates 3e-4 to 3e-3, one of them falling), each foretold from "
    "the other eight; single ones were off by threefold and more (5 rows foretold for 14, and for none), and rank told "
    "nothing that held: the number of rows is a guess."
)
"""What a test on LoRA does not tell by itself (benchmarks/prediction)."""
MEASURE = "measure it on your base (scan rehearse RUN --base PATH), and calibrate on that (scan calibrate)"
LEAST_K = 4
"""Smallest k of a goldfish loss that was ever rehearsed; larger ones lie between it and none."""


def of_plan(plan: TrainingPlan, weights: Weights, optimizer_steps: float) -> Iterator[Statement]:
    """Topic by topic; no topic twice."""
    known = weights.validated
    yield from (*_size(plan, weights), *_method(plan, weights), *_trainer(plan, known), *_rate(plan, known))
    yield from _length_of_training(plan, optimizer_steps, weights)


def _size(plan: TrainingPlan, weights: Weights) -> Iterator[Statement]:
    known = weights.validated.parameters
    if known is None:
        yield unrecorded("model size")
        return
    size = plan.model_params or weights.priors.unknown_parameters
    tests = [t for t in weights.validated.tested if t.topic == "parameters"]
    seen = weights.validated.reaching("parameters", known) or known
    factor, side = beyond(size, seen)
    severity = by_factor(factor, "parameters")
    inside = by_factor(beyond(size, known)[0], "parameters") == INSIDE
    who = f"The plan's model has {amount(size)} parameters"
    if not plan.model_params:
        who = f"The plan names no model size (--model-params); {amount(size)} parameters are assumed"
    extent = "largest" if side == "above" else "smallest"
    beside = f"{times(factor)} the {extent} that was"
    if side == "below":
        beside = f"the {extent} has {times(factor)} as many of those that were"
    close = [t for t in tests if 0.5 <= float(t.value) / size <= 2]
    if not inside and close:
        yield of_test(close[0], "model size", f"{amount(size)} parameters", f"{who}; one of this size")
        return
    fitted = span(seen, amount)
    if severity == INSIDE:
        text = f"{who}; validated: {fitted}."
    else:
        checked = "" if severity == COUNT else "; the order of rows was never checked at this size"
        text = (
            f"{who}, {beside} trained and measured ({fitted}). Beyond these sizes the number of rows is carried over "
            f"by a rule of how fast models learn, and is a guess{checked}: {MEASURE}."
        )
    named = amount(size) if plan.model_params else "not named"
    yield Statement("model size", severity, f"model size ({named}; trained and measured were {fitted})", text)


def _method(plan: TrainingPlan, weights: Weights) -> Iterator[Statement]:
    name = {"lora": f"LoRA of rank {plan.lora_rank}", "full": "full fine-tuning"}[plan.method]
    test = weights.validated.test_of("method", plan.method)
    if plan.method in weights.validated.methods:
        yield Statement("method", INSIDE, name, f"The weights were fitted on {name.split(' of ')[0]}.")
    elif test:
        told = of_test(test, "method", name, name.split(" of ")[0])
        if plan.method == "lora":  # the sum may hold where no training does
            severity = COUNT if told.severity == NOTE else told.severity
            told = replace(told, severity=severity, text=f"{told.text} {SINGLE_LORA}")
        yield told
    else:
        worth = (
            f"that a first visit is worth {weights.priors.lora_dose:.2g} of one under full fine-tuning, and that "
            f"adapters hold {weights.priors.lora_holds:.2g} visits a text at most, comes from small rehearsals"
            if plan.method == "lora" else "what it does is not measured"
        )  # fmt: skip
        yield Statement(
            "method", ORDER, f"{name} (never rehearsed)",
            f"{name[:1].upper()}{name[1:]} was never rehearsed for these weights: {worth}; the number of rows is a "
            "guess and their order was never checked.",
        )  # fmt: skip


def _trainer(plan: TrainingPlan, known: Validated) -> Iterator[Statement]:
    """Batching, loss average, schedule, goldfish loss: their dose is simulated, what it does may not be measured."""
    for topic, value, fitted, what in (
        ("batching", plan.batching, known.batchings, f"{plan.batching} batches"),
        ("loss average", plan.loss_average, known.loss_averages, f"loss averaged per {plan.loss_average}"),
        ("schedule", plan.lr_schedule, known.lr_schedules, f"a {plan.lr_schedule} learning-rate schedule"),
        ("goldfish loss", *_goldfish(plan.goldfish_k)),
    ):
        test = known.test_of(topic, value)
        if value in fitted:
            if value:
                yield Statement(topic, INSIDE, what, f"The weights were fitted on {what}.")
        elif test:
            yield of_test(test, topic, what, what[:1].upper() + what[1:])
        else:
            mild = topic == "schedule"
            yield Statement(
                topic, NOTE if mild else COUNT, f"{what} (never rehearsed)",
                f"Never rehearsed for these weights: {what}. The dose follows from the simulated trainer; what it does "
                f"was not measured{'' if mild else ', so the number of rows is a guess'}.",
            )  # fmt: skip


def _goldfish(k: int | None) -> tuple[str, tuple[str, ...], str]:
    """What a test of it is called, what was fitted (none of it), and what it is in words."""
    if k is None:
        return "", ("",), ""
    if k < LEAST_K:
        return f"goldfish {k}", (), f"a goldfish loss of k = {k}"
    return "goldfish", (), "a goldfish loss"


def _rate(plan: TrainingPlan, known: Validated) -> Iterator[Statement]:
    if known.learning_rate is None:
        yield unrecorded("learning rate")
        return
    factor, side = beyond(plan.learning_rate, known.learning_rate)
    fitted = span(known.learning_rate, "{:g}".format)
    severity = INSIDE if plan.learning_rate == 0 else by_factor(factor, "learning_rate")
    if severity == INSIDE:
        text = f"The learning rate is {plan.learning_rate:g}; validated: {fitted}."
    else:
        checked = "" if severity == COUNT else " and their order was never checked"
        beside = f"{times(factor)} {'larger' if side == 'above' else 'smaller'} than validated ({fitted})"
        text = (
            f"The learning rate of {plan.learning_rate:g} is {beside}: how a dose grows with it was not measured this "
            f"far, so the number of rows is a guess{checked}."
        )
    yield Statement("learning rate", severity, f"learning rate {plan.learning_rate:g} (validated {fitted})", text)


def _length_of_training(plan: TrainingPlan, steps: float, weights: Weights) -> Iterator[Statement]:
    known = weights.validated
    if known.epochs is None or known.optimizer_steps is None:
        yield unrecorded("length of training")
        return
    most = known.epochs[1]
    severity = by_factor(max(1.0, plan.epochs / most), "epochs")
    text = f"The plan has {plural_g(plan.epochs, 'epoch')}; validated: up to {most:g}."
    if severity != INSIDE:
        checked = "" if severity == COUNT else "; the order of rows was never checked after so many"
        text = (
            f"{plan.epochs:g} epochs are {times(plan.epochs / most)} the longest training validated ({most:g}): the "
            f"number of rows is a guess{checked}."
        )
    yield Statement("epochs", severity, f"{plural_g(plan.epochs, 'epoch')} (validated up to {most:g})", text)
    _, top = known.reaching(STEPS, known.optimizer_steps) or known.optimizer_steps
    if steps <= STEPS_FACTOR * top:
        taken = plural(round(steps), "optimizer step")
        yield Statement(STEPS, INSIDE, taken, f"The plan takes {taken}; validated: up to {top:,.0f}.")
    else:
        yield Statement(
            STEPS, COUNT, f"{steps:,.0f} optimizer steps (validated up to {top:,.0f})",
            f"{steps:,.0f} optimizer steps are {times(steps / top)} the most validated ({top:,.0f}); how much faster a "
            "model learns the longer it trains, and how much wears away, was not measured this far, so the number of "
            "rows is a guess.",
        )  # fmt: skip
