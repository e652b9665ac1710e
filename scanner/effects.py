"""What a plan's batching does to the doses of the rows, in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from scanner.batching import PACKED, SEQUENCE_TOKENS, Sampler
from scanner.sampling import simulate
from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


def batching_facts(
    plan: TrainingPlan,
    own: Float64,
    supervised: Int64,
    length: Int64,
    order: npt.NDArray[np.uint64],
    weight: Float64 | None,
    seed: int,
    row_id: Int64,
    sequence_tokens: int = SEQUENCE_TOKENS,
) -> list[str]:
    """What the plan's batching and loss average do to the rows, beside random batches averaged per token; in words.

    own (n,): dose of each row's own visits under the plan; row_id (n,) names the rows; the others as in `simulate`.
    Packed batches are set beside random ones of as many tokens. Nothing is said of the plan that is the comparison.
    """
    facts = []
    if plan.drop_last != "none" and len(length):
        left = len(length) - len(Sampler(plan, length, sequence_tokens).epoch(np.random.default_rng(seed)).rows)
        facts.append(
            f"every epoch leaves out {left:,} of {len(length):,} rows, drawn anew, that do not fill a {_last(plan)}"
        )
    if (plan.batching, plan.loss_average) == ("random", "token"):
        return facts
    beside = replace(plan, batching="random", loss_average="token", drop_last="none")
    if plan.batching in PACKED and plan.batch_tokens is None:
        beside = replace(beside, batch_tokens=plan.batch_size * sequence_tokens)
    usual = simulate(beside, supervised, length, order, weight, seed)
    there = np.flatnonzero((usual.own > 0) & (own > 0))
    if len(there):
        ratio = own[there] / usual.own[there]
        facts.append(f"{_means(plan)} {_changes(ratio, there, supervised, order, row_id)}")
    return facts


def meeting_facts(together: Float64) -> list[str]:
    """How many rows lose at least a quarter of their dose because copies of them come in the same steps; in words."""
    fewer = 100 * together[together <= 0.75]
    if not len(fewer):
        return []
    low, high = (f"{share:.0f}" for share in (fewer.min(), fewer.max()))
    left = f"{low if low == high else f'{low} to {high}'} % of the dose is left"
    return [f"copies of {len(fewer):,} rows often meet in a step; {left}"]


def length_facts(plan: TrainingPlan) -> list[str]:
    """That batches made by length are only as good as the lengths, which are not in the trainer's tokens."""
    if plan.batching == "random" and plan.batch_tokens is None:
        return []
    return [
        "these batches are made by the rows' lengths, here in the scan's own tokens: the trainer's will be somewhat "
        "other batches; --base MODEL, and --max-length where rows are cut, give its lengths"
    ]


def _last(plan: TrainingPlan) -> str:
    return "step" if plan.drop_last == "step" or plan.micro_batch is None else "micro-batch on every device"


def _means(plan: TrainingPlan) -> str:
    """The plan's ways that differ from random batches averaged per token: "grouping by length"."""
    ways = {
        "length-grouped": "grouping by length",
        "packed": "packing whole rows into sequences",
        "wrapped": "packing rows end to end into sequences",
        "row": "averaging the loss per row",
        "micro-batch": f"averaging the loss per micro-batch of {plan.micro_batch}",
    }
    return " and ".join(ways[way] for way in (plan.batching, plan.loss_average) if way in ways)


def _changes(ratio: Float64, there: Int64, supervised: Int64, order: npt.NDArray[np.uint64], row_id: Int64) -> str:
    """Which doses rise and fall, and how far; ratio (m,) of the rows `there`."""
    raised, lowered = ratio >= 2, ratio <= 0.5
    top = np.lexsort((order[there], -ratio))[:3]
    named = ", ".join(map(str, row_id[there[top]].tolist()))
    if not raised.any() and not lowered.any():
        return (
            f"changes the dose of no row twofold, beside random batches averaged per token: {ratio.min():.1f} to "
            f"{ratio.max():.1f} times (most raised: rows {named})"
        )
    answers = supervised[there]
    who = ""
    if raised.any():
        who = (
            f"; the raised answers have {np.median(answers[raised]):,.0f} tokens in the median, all answers "
            f"{np.median(answers):,.0f}"
        )
    return (
        f"raises the dose of {int(raised.sum()):,} rows at least twofold, most that of rows {named} "
        f"({ratio.max():.1f} times), and at least halves that of {int(lowered.sum()):,}, beside random batches "
        f"averaged per token{who}"
    )
