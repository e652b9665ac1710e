"""What a plan's batching does to the doses of the rows, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.batching import PACKED, PACKED_ROWS, SEQUENCE_TOKENS, Sampler, Visits
from scanner.figures import plural
from scanner.sampling import Exposure, asked_alone, copies_of, simulate
from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

LEAST_MORE_ALIKE = 0.2
"""Surplus of `_alike` over shuffled rows from which on the order of the rows is worth a word; .33 where measured."""
SIDE_BY_SIDE = 0.85
"""What the order of the rows must leave of the doses of copies, beside shuffled rows, to be not worth a word."""
RECITED_UNSHUFFLED = "0.5 to 0.8 times as many"
"""Two fine-tunes of benchmarks/prediction at epochs 6 and 8: 22 and 16 rows for 34, 44 and 48 for 63 (`packed`,
`packed-ordered-2`), least of all rows in steps of their own source; copies that stood side by side met there too."""
SIMULATED_EPOCHS = 4
"""Epochs over which the doses of two ways to batch are compared: what luck of the draw is left in them is small."""
UNCHANGED = 0.05
"""Change of a dose that is printed as 1.0 times what it was."""


def batching_facts(
    plan: TrainingPlan,
    supervised: Int64,
    length: Int64,
    order: npt.NDArray[np.uint64],
    weight: Float64 | None,
    seed: int,
    row_id: Int64,
    sequence_tokens: int = SEQUENCE_TOKENS,
) -> list[str]:
    """What the plan's batching and loss average do to the rows, beside random batches averaged per token; in words.

    row_id (n,) names the rows; the others as in `simulate`. Packed batches are set beside random ones of as many
    tokens. Nothing is said of the plan that is the comparison.
    """
    facts = []
    if plan.drop_last != "none" and len(length):
        left = len(length) - len(Sampler(plan, length, sequence_tokens).epoch(np.random.default_rng(seed)).rows)
        if left:
            facts.append(
                f"every epoch leaves out {left:,} of {len(length):,} rows, drawn anew, that do not fill a {_last(plan)}"
            )
    if (plan.batching, plan.loss_average) == ("random", "token"):
        return facts
    beside = replace(plan, batching="random", loss_average="token", drop_last="none")
    if plan.batching in PACKED and plan.batch_tokens is None:
        beside = replace(beside, batch_tokens=plan.batch_size * sequence_tokens)

    def drawn(each: TrainingPlan) -> Exposure:
        return simulate(each, supervised, length, order, weight, seed, sequence_tokens)

    here, usual = _of_a_visit(plan, drawn), _of_a_visit(beside, drawn)
    there = np.flatnonzero((usual > 0) & (here > 0))
    if len(there):
        ratio = here[there] / usual[there]
        facts.append(f"{_means(plan)} {_changes(ratio, there, supervised, order, row_id)}")
    return facts


def _of_a_visit(plan: TrainingPlan, drawn: Callable[[TrainingPlan], Exposure]) -> Float64:
    """(n,) mean dose of a visit of each row in steps that are full, at the peak rate; 0 for rows that come in none.

    Steps that are not full are left out: a row that comes in one which holds little else gets many times the dose, and
    which row that is, the draw decides and not the way to batch. Without a full step all count. It also decides which
    rows come while the rate rises or has all but fallen to 0; so the rate stays, and over enough epochs, whatever the
    plan's (few, large steps are the worst: 26 packed ones were said to raise a row 376 times and in truth raise none).
    """
    epochs = SIMULATED_EPOCHS if plan.epochs else 0
    plan = replace(plan, epochs=epochs, lr_schedule="constant", warmup=0.0)
    found = drawn(replace(plan, drop_last="step"))
    if found.steps == 0:
        found = drawn(plan)
    return np.divide(found.own, found.visits, out=np.zeros_like(found.own), where=found.visits > 0)


def meeting_facts(together: Float64) -> list[str]:
    """How many rows lose at least a quarter of their dose because copies of them come in the same steps; in words."""
    fewer = 100 * together[together <= 0.75]
    if not len(fewer):
        return []
    low, high = (f"{share:.0f}" for share in (fewer.min(), fewer.max()))
    left = f"{low if low == high else f'{low} to {high}'} % of the dose is left"
    return [f"copies of {plural(len(fewer), 'row')} often meet in a step; {left}"]


def alone_facts(plan: TrainingPlan) -> list[str]:
    """That rows laid end to end are learned behind the one before them, and what is left of it without; in words."""
    if plan.batching != "wrapped":
        return []
    one, many = (100 * float(asked_alone(plan, np.ones(1), np.full(1, times))[0]) for times in (1.0, 16.0))
    return [
        "each row is learned behind those before it in its sequence, the same in every epoch, and predicted as asked "
        f"for without them: {one:.0f} % of the dose of a row with one copy is left, {many:.0f} % with 16 (measured in "
        "sequences of 256 tokens; in longer ones less); asked for behind them, more would come out"
    ]


def order_facts(
    plan: TrainingPlan,
    source: npt.NDArray[Any],
    supervised: Int64,
    length: Int64,
    seed: int,
    sequence_tokens: int = SEQUENCE_TOKENS,
    packed_rows: int = PACKED_ROWS,
    level_stood: bool = False,
) -> list[str]:
    """That packing keeps the rows of a source together where they stand source by source; in words.

    source, supervised, length (n,): in the order in which the rows stand. packed_rows: rows packed at a time.
    level_stood: the level of the predictions was read on rows packed so.
    """
    if plan.batching not in PACKED or len(np.unique(source)) < 2:
        return []
    shares = []
    for order in (np.arange(len(source)), np.random.default_rng(seed).permutation(len(source))):
        sampler = Sampler(plan, length[order], sequence_tokens, packed_rows=packed_rows)
        visits = sampler.epoch(np.random.default_rng(seed))
        shares.append(_alike(visits, source[order], supervised[order]))
    standing, shuffled = shares
    if standing < shuffled + LEAST_MORE_ALIKE:
        return []
    beside = (
        "as are predicted here, where rows are taken as shuffled: shuffle before packing, take the numbers as upper "
        "ones, or read a level on rows packed so (scan rehearse --packed-as-they-stand, then scan calibrate)"
    )
    if level_stood:
        beside = "as of shuffled ones; the level of these predictions was read on rows packed so"
    return [
        f"packed as the rows stand, two answer tokens of a step are of one source in {100 * standing:.0f} % of all "
        f"cases ({100 * shuffled:.0f} % if the rows are shuffled first); small models trained that way recited "
        f"{RECITED_UNSHUFFLED} rows {beside}"
    ]


def standing_facts(
    plan: TrainingPlan,
    group: Int64,
    together: Float64,
    supervised: Int64,
    length: Int64,
    seed: int,
    sequence_tokens: int = SEQUENCE_TOKENS,
) -> list[str]:
    """That packing puts copies that stand side by side into one step; in words.

    group (n,): equal for exact copies; together (n,): what is left of their doses if the rows are shuffled first. All
    in the order in which the rows stand.
    """
    copies = copies_of(group)
    copied = copies.number > 1
    if plan.batching not in PACKED or not copied.any():
        return []
    order = np.arange(len(group), dtype=np.uint64)
    once = replace(plan, epochs=min(1.0, plan.epochs))
    found = simulate(
        once, supervised, length, order, seed=seed, sequence_tokens=sequence_tokens, copies=copies, standing=True
    ).together  # fmt: skip
    left, shuffled = (100 * float(share[copied].mean()) for share in (found, together))
    if left > SIDE_BY_SIDE * shuffled:
        return []
    return [
        f"packed as the rows stand, the {plural(int(copied.sum()), 'row')} with copies keep {left:.0f} % of their "
        f"dose, for these come in one step ({shuffled:.0f} % if the rows are shuffled first, as they are taken here): "
        "they would be recited less often than is predicted"
    ]


def _alike(visits: Visits, source: npt.NDArray[Any], supervised: Int64) -> float:
    """Chance that two supervised tokens of a step are of one source, over the tokens of an epoch (Simpson's index)."""
    _, source = np.unique(source, return_inverse=True)
    tokens = np.zeros((visits.steps, int(source.max()) + 1))
    np.add.at(tokens, (visits.step, source[visits.rows]), supervised[visits.rows])
    of_step = tokens.sum(axis=1)
    return float((tokens**2).sum(axis=1) @ (1 / np.maximum(1.0, of_step)) / max(1.0, of_step.sum()))


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
    if not raised.any():
        if np.abs(ratio - 1).max() < UNCHANGED:
            return "changes the dose of no row, beside random batches averaged per token"
        what = "changes the dose of no row twofold"
        if lowered.any():
            what = f"at least halves the dose of {plural(int(lowered.sum()), 'row')} and doubles that of none"
        return (
            f"{what}, beside random batches averaged per token: {ratio.min():.1f} to {ratio.max():.1f} times (most "
            f"raised: rows {named})"
        )
    answers = supervised[there]
    typical = plural(round(np.median(answers[raised])), "token")
    halved = f", and at least halves that of {int(lowered.sum()):,}" if lowered.any() else ""
    return (
        f"raises the dose of {plural(int(raised.sum()), 'row')} at least twofold, most that of rows {named} "
        f"({ratio.max():.1f} times){halved}, beside random batches averaged per token; the raised answers have "
        f"{typical} in the median, all answers {np.median(answers):,.0f}"
    )
