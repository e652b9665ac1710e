"""How often, and how strongly, a training plan shows each row to the model: the trainer's sampler, simulated.

    plan + lengths -> batches -> dose of each row's own visits -> dose with all its exact and near copies

The dose of a row is counted in visits at learning rate 3e-4 in an average step of 350 answer tokens:
`E_i = sum over steps of (sum over visits j in the step of (kappa_ij * w_j * d_j) ** (1 / c)) ** c`, where `d_j =
q * stands * taught(rate) * (mean N_sup / N_sup(step)) ** a * (mean N_sup / 350) ** -b * evenness ** e`.
N_sup(step) is the number of supervised tokens over which the trainer averages the loss of one optimizer step, so
1 / N_sup is a token's share of that step. Adam divides each step by the root mean square of earlier steps, so
what counts is mainly the size of a step relative to the others. A visit has a smaller dose where all steps hold more
supervised tokens, where a few large steps dominate that mean (`evenness`), and where copies of the row fall into the
same step. The exponents were fitted on a grid of trainings (benchmarks/prediction/README.md). `q` is the row's sampling
weight; `stands` and `taught` are in scanner/rates.py.

Nothing here depends on the order of rows: they are first put into the order of `order` (content hashes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.batching import PACKED, PACKED_ROWS, SEQUENCE_TOKENS, Sampler, Visits, token_shares
from scanner.kernels.meetings import meet
from scanner.rates import RATE_BEND, RELAXES, SETTLED_BEND, UNIT_LEARNING_RATE, WEAR, rate_share, stands, taught
from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

UNIT_TOKENS = 350
"""One unit of dose is a visit at UNIT_LEARNING_RATE in an average step, and that has so many supervised tokens: eight
rows with the mean answer of the rows that the weights were fitted on."""
SHARE_POWER = 0.65
"""Exponent of the share in the dose."""
EVEN_POWER = 1.7
"""Exponent of the evenness of the steps: batches grouped by length are uneven, and after them fewer rows were
recited."""
LARGEST_STEP = 6.0
"""A step counts as at most this many times the median step. Trainers clip gradients, and no training that the
exponents were fitted on had larger steps (benchmarks/prediction/LAWS.md, 18). Without the bound one short row, left
over at the end of an epoch of large batches, could take half of every dose."""
BATCH_POWER = 0.24
"""Exponent by which the dose of a visit falls with the supervised tokens of a step. Fitted on steps of 32 rows beside
steps of 8, and checked twice: with answers cut to half their length a visit was worth 1.20 times as much (1.18 by
this), and under a goldfish loss, which leaves fewer tokens, the kept tokens were learned as predicted (k = 4: .82 of
the words of rows with one copy after 8 epochs, .78 without it)."""
MEETING_POWER = 0.3
"""c: m copies in the same step count for m ** c visits, in separate steps for m."""
NEIGHBOURS = 1.3
"""For rows laid end to end ("wrapped"): of a text with k copies, each behind a different row, k / (k + this) of the
dose counts when the model is prompted with the row alone. What was learned behind one particular row depends on that
row as context: .43 of the dose is left for a row with one copy, .92 with 16 copies. Fitted on one training in sequences
of 256 tokens, confirmed by another on other rows; in sequences of 512, with more context before a row, 3 fits best."""
PACKINGS = 4
"""Random packings that are simulated, epoch by epoch in turn, where the order of the rows is not known. A trainer packs
once; by chance, one packing moves the log of a row's dose by .13 (standard deviation), the mean of four by half
that."""
NEAR_POWER = 1.75
"""kappa = rho ** this. rho alone, fitted to numbers of exact copies, gave near copies too much on our grid."""


@dataclass(frozen=True)
class Exposure:
    """What the plan does to each row; (n,) over rows."""

    own: Float64  # dose of the row's own visits, without copies, after all epochs; goldfish loss: of a kept token
    steps: int  # optimizer steps of the whole training
    together: Float64  # share of the summed doses of a row's copies that counts, less than 1 where some share a step
    visits: Float64  # how often the row is visited; the mean over its exact copies


@dataclass(frozen=True)
class Copies:
    """Which rows are copies of one another."""

    text: Int64  # (n,) number of each row's text, 0 ... m - 1: exact copies have one
    a: Int64  # (p,) pairs of near copies, texts, each pair once and both ways
    b: Int64
    kappa: Float64  # (p,) dose that a visit of b gives to a, relative to a visit of a itself

    @property
    def number(self) -> Int64:
        """(n,) exact copies of each row, itself included."""
        return np.bincount(self.text)[self.text]


def simulate(
    plan: TrainingPlan,
    supervised: Int64,
    length: Int64,
    order: npt.NDArray[np.uint64],
    weight: Float64 | None = None,
    seed: int = 0,
    sequence_tokens: int = SEQUENCE_TOKENS,
    copies: Copies | None = None,
    until: float | None = None,
    standing: bool = False,
    packed_rows: int = PACKED_ROWS,
) -> Exposure:
    """Draw the plan's batches and add up the dose of each row.

    supervised, length: (n,) supervised tokens and all tokens of each row. order: (n,) content hashes; rows with equal
    hashes are exact copies, share what they were given equally, and so may stand in any order. weight: (n,) sampling
    weights, 1 where not given. copies: what `together` is about. until: epochs after which to stop. A part of an epoch
    is that part of its steps. standing: `order` is that in which the rows stood in a training of which this is told;
    else nobody knows which rows are packed beside which, and they are shuffled and packed anew again and again.
    packed_rows: rows packed at a time.
    """
    count = len(supervised)
    if count == 0 or plan.epochs == 0 or plan.learning_rate == 0:
        return Exposure(np.zeros(count), 0, np.ones(count), np.zeros(count))
    ranked = _ranked(order, supervised, length, weight)
    tokens, sizes = supervised[ranked].astype(np.int64), length[ranked].astype(np.int64)
    dose, times = np.zeros(count), np.zeros(count)
    steps = 0
    sampler = Sampler(plan, sizes, sequence_tokens, packed_rows=packed_rows)
    meetings = None if copies is None else Meetings(_by_content(copies, ranked))
    end = plan.epochs if until is None else min(until, plan.epochs)
    packings = [sampler]
    if plan.batching in PACKED and not standing:
        packings = [_shuffled(sampler, seed, number) for number in range(min(PACKINGS, math.ceil(end)))]
    for epoch in range(math.ceil(end)):
        visits = packings[epoch % len(packings)].epoch(np.random.default_rng([seed, epoch]))
        taken = visits.step < steps_taken(end, epoch, visits.steps)
        rows, step, worth = visits.rows[taken], visits.step[taken], worths(plan, visits, tokens, epoch)[taken]
        dose += np.bincount(rows, worth, minlength=count)
        times += np.bincount(rows, minlength=count)
        if meetings is not None:
            meetings.add(rows, step, worth if weight is None else worth * weight[ranked[rows]])
        steps += steps_taken(end, epoch, visits.steps)
    own, visits_of, together = np.empty(count), np.empty(count), np.ones(count)
    own[ranked], visits_of[ranked] = dose, times
    if meetings is not None:
        together[ranked] = meetings.together()
    if weight is not None:
        own = own * weight
    own = own * stands(plan, end / plan.epochs, steps=steps)
    twins = _twins(order)
    return Exposure(_equal_within(own, order, twins), steps, together, _equal_within(visits_of, order, twins))


def _shuffled(sampler: Sampler, seed: int, number: int) -> Sampler:
    """The sampler with rows shuffled before they are packed: as content orders them, copies would stand side by side.

    Equally long, they would then lie in one sequence; of a real set hardly two of them lie in one run of PACKED_ROWS.
    """
    return replace(sampler, standing=np.random.default_rng([seed, number, 1]).permutation(len(sampler.sizes)))


def dose_of_set(own: Float64, supervised: npt.NDArray[Any], copies: npt.NDArray[Any], goldfish_k: int | None) -> float:
    """Mean over the supervised tokens of different texts of what all visits of a text and its copies are worth.

    own, supervised, copies: (n,) dose of each row's own visits, its supervised tokens, and how many rows stand as it
    does, itself included. Without any tokens it is 0. So a set of which every row stands twice is trained as far by so
    many epochs as the rows themselves by twice as many, which it is: these are nearly the same trainings. Not over
    texts: batches grouped by length show short rows more strongly, and most tokens are of long ones. A goldfish loss
    teaches the set as much as another, by as many steps of the same size, though it is by fewer tokens.
    """
    fewer = 1.0 if goldfish_k is None else (1 - 1 / goldfish_k) ** BATCH_POWER
    different = math.fsum(supervised / np.maximum(copies, 1))  # exact sums: row order cannot matter
    return fewer * math.fsum(own * supervised) / different if different else 0.0


def worths(plan: TrainingPlan, visits: Visits, tokens: Int64, epoch: int) -> Float64:
    """(v,) what each visit of epoch `epoch` (from 0) teaches, 0 in steps that are not taken; tokens (n,): of answers.

    Of their sum `stands` is a dose.

    Mean sizes are those of the steps of this epoch that are taken.
    """
    worth = np.zeros(len(visits.rows))
    planned = steps_taken(plan.epochs, epoch, visits.steps)
    taken = visits.step < planned
    rows, step, part = (column[taken] for column in visits[:3])
    if len(rows):
        learned = tokens[rows]
        share = token_shares(plan.loss_average, learned, step, part) * learned.sum() / planned
        rate = rate_share(plan, (epoch + step / visits.steps) / plan.epochs)
        crowd = (max(1, learned.sum()) * plan.share_in_loss / planned / UNIT_TOKENS) ** -BATCH_POWER
        usual = crowd * evenness(share, learned, step) ** EVEN_POWER
        worth[taken] = usual * share**SHARE_POWER * taught(plan.learning_rate * rate) * (learned > 0)
    return worth


def evenness(share: Float64, tokens: Int64, step: Int64) -> float:
    """Mean size of a step beside the root of its mean square; 1 where all are as large.

    Its size is that of a sum of so many unrelated gradients, the root of the sum of their squared shares, but at most
    LARGEST_STEP times the median. (v,) over visits: share of each of its tokens, up to a common factor; tokens; step.
    """
    sizes = np.sqrt(np.bincount(step, share**2 * tokens))
    sizes = sizes[sizes > 0]
    if not len(sizes):
        return 1.0
    bounded = np.minimum(sizes, LARGEST_STEP * np.median(sizes))
    return float(bounded.mean() / math.sqrt((bounded**2).mean()))


def dose_unit() -> str:
    """What the doses of single rows are counted in; doses written down under another one mean something else."""
    return (
        f"visits at {UNIT_LEARNING_RATE:g} in steps of {UNIT_TOKENS} answer tokens: bend {RATE_BEND:g}, "
        f"share {SHARE_POWER:g}, even {EVEN_POWER:g}, settled {SETTLED_BEND:g}, worn {WEAR:g}, relaxes {RELAXES:g}, "
        f"batch {BATCH_POWER:g}, largest step {LARGEST_STEP:g}"
    )


class Meetings:
    """Adds up what the visits of each text and its copies are worth, once as a sum and once step by step.

    Everything is added in the order of rows and texts, so both have to be numbered by content (see `_by_content`).
    """

    def __init__(self, copies: Copies) -> None:
        self.text = copies.text
        texts = int(copies.text.max(initial=-1)) + 1
        self.counted = (np.bincount(copies.text, minlength=texts) > 1) | (np.bincount(copies.a, minlength=texts) > 0)
        own = np.flatnonzero(self.counted)  # a text's own visits count in full
        to, of = np.concatenate((own, copies.a)), np.concatenate((own, copies.b))
        ranked = np.argsort(to * texts + of)
        self.of = of[ranked]
        self.kappa = np.concatenate((np.ones(len(own)), copies.kappa))[ranked]
        self.kappa_power = self.kappa ** (1 / MEETING_POWER)
        self.first = np.concatenate(([0], np.cumsum(np.bincount(to, minlength=texts))))
        self.given, self.met = np.zeros(texts), np.zeros(texts)
        self.meets = np.zeros(texts, np.uint8)

    def add(self, rows: Int64, step: Int64, worth: Float64) -> None:
        """The visits of one epoch, of which each step is."""
        mine = np.flatnonzero(self.counted[self.text[rows]] & (worth > 0))
        if not len(mine):
            return
        mine = mine[np.lexsort((rows[mine], step[mine], self.text[rows[mine]]))]
        text, step, worth = self.text[rows[mine]], step[mine], worth[mine]
        self.given += np.bincount(text, worth, minlength=len(self.given))
        heads = np.flatnonzero((np.diff(text, prepend=-1) != 0) | (np.diff(step, prepend=-1) != 0))
        power = np.add.reduceat(worth ** (1 / MEETING_POWER), heads)
        many = np.diff(heads, append=len(text)) > 1
        begin = np.searchsorted(text[heads], np.arange(len(self.given) + 1))
        room = int(step.max()) + 1
        meet(
            self.first, self.of, self.kappa, self.kappa_power, begin, step[heads], np.add.reduceat(worth, heads), power,
            many, MEETING_POWER, np.zeros(room, np.int64), np.empty(room, np.int64), np.empty(room), np.empty(room),
            self.met, self.meets,
        )  # fmt: skip

    def together(self) -> Float64:
        """(n,) what is left of the sum, per row; exactly 1 where no two ever meet."""
        to = np.repeat(np.arange(len(self.given)), np.diff(self.first))
        total = np.bincount(to, self.kappa * self.given[self.of], minlength=len(self.given))
        share = np.divide(self.met, total, out=np.ones_like(self.met), where=(self.meets > 0) & (self.met > 0))
        return np.asarray(np.minimum(share, 1.0)[self.text])


def steps_taken(epochs: float, epoch: int, steps: int) -> int:
    """Steps of epoch `epoch` (from 0), which has `steps`, in a training of `epochs`: a part of one is rounded up."""
    part = min(1.0, epochs - epoch)
    return math.ceil(part * steps - 1e-9)  # as transformers counts `max_steps`


def _ranked(order: npt.NDArray[np.uint64], supervised: Int64, length: Int64, weight: Float64 | None) -> Int64:
    """(n,) positions in the order of the hashes; rows of one hash by lengths and weights, should these differ."""
    ranked = np.argsort(order, kind="stable")
    twins = np.flatnonzero(np.diff(order[ranked]) == 0)
    columns = [length, supervised] if weight is None else [weight, length, supervised]
    if any((column[ranked[twins]] != column[ranked[twins + 1]]).any() for column in columns):
        return np.lexsort((*columns, order))
    return ranked


def _by_content(copies: Copies, ranked: Int64) -> Copies:
    """The same copies with rows in the order `ranked` and texts numbered as they first come in it."""
    text = copies.text[ranked]
    place = np.empty(int(text.max(initial=-1)) + 1, np.int64)
    place[text[::-1]] = np.arange(len(text))[::-1]  # of the first row with each text
    number = np.empty_like(place)
    number[np.argsort(place)] = np.arange(len(place))
    return Copies(number[text], number[copies.a], number[copies.b], copies.kappa)


def _twins(group: npt.NDArray[np.uint64] | Int64) -> Int64:
    """The rows that are not alone in their group, group by group: few, most of the time."""
    ranked = np.argsort(group, kind="stable")
    twin = np.concatenate(([False], np.diff(group[ranked]) == 0, [False]))
    return ranked[twin[1:] | twin[:-1]]


def _equal_within(values: Float64, group: npt.NDArray[np.uint64] | Int64, twins: Int64) -> Float64:
    """Each value replaced by the mean of its group, added up in an order that does not depend on the rows'.

    twins: `_twins` of the groups.
    """
    equal = values.copy()
    if len(twins):
        equal[twins] = _group_means(values[twins], group[twins])
    return equal


def _group_means(values: Float64, group: npt.NDArray[np.uint64] | Int64) -> Float64:
    """(n,) the mean of each value's group; the smallest are added first."""
    ranked = np.lexsort((values, group))
    starts = np.flatnonzero(np.diff(group[ranked], prepend=group[ranked[:1]] ^ 1))
    means = np.add.reduceat(values[ranked], starts) / np.diff(starts, append=len(values))
    equal = np.empty_like(values)
    equal[ranked] = np.repeat(means, np.diff(starts, append=len(values)))
    return equal


def near_copy_share(replaced: npt.ArrayLike) -> Float64:
    """rho(R): what a near copy with R of 100 tokens replaced is worth in exact copies; 1 at 0, 0 at 100.

    Mosaic Memory (2405.15523), fitted on four models to about 0.02, shifted so that nothing in common is worth nothing.
    """
    at = np.clip(np.asarray(replaced, dtype=np.float64), 0, 100)
    none = math.exp(-0.069 * 100**0.84)
    return np.asarray((np.exp(-0.069 * at**0.84) - none) / (1 - none))


def replaced_of_100(jaccard: npt.ArrayLike, shingle: int) -> Float64:
    """Tokens of 100 replaced between two rows whose sets of word shingles have this Jaccard similarity.

    With a share r replaced at random a shingle of w tokens survives with q = (1 - r)^w, and J = q / (2 - q).
    """
    similarity = np.clip(np.asarray(jaccard, dtype=np.float64), 0, 1)
    survived = 2 * similarity / (1 + similarity)
    return np.asarray(100 * (1 - survived ** (1 / shingle)))


def copies_of(
    group: Int64,
    near_a: Int64 | None = None,
    near_b: Int64 | None = None,
    jaccard: npt.ArrayLike = (),
    shingle: int = 3,
) -> Copies:
    """Exact copies (kappa 1) and near copies (kappa = rho(R) ** NEAR_POWER) of each row.

    group (n,): equal numbers are exact copies. near_a, near_b (p,): positions of verified near pairs; each end stands
    for all its copies, a pair named twice counts once, and pairs within a group are ignored, as its rows count in full.
    """
    text = np.unique(group, return_inverse=True)[1].astype(np.int64)
    if near_a is None or near_b is None or len(near_a) == 0:
        none = np.zeros(0, np.int64)
        return Copies(text, none, none, np.zeros(0))
    # A near pair stands between two texts: each copy of the one gains from every copy of the other.
    pairs = np.sort(np.stack((text[near_a], text[near_b]), axis=1), axis=1)
    kappa = near_copy_share(replaced_of_100(jaccard, shingle)) ** NEAR_POWER
    apart = pairs[:, 0] != pairs[:, 1]
    pairs, first = np.unique(pairs[apart], axis=0, return_index=True)
    kappa = kappa[apart][first]
    a, b = np.concatenate((pairs, pairs[:, ::-1])).T
    return Copies(text, a, b, np.concatenate((kappa, kappa)))


def with_copies(own: Float64, copies: Copies, together: Float64 | float = 1.0) -> Float64:
    """Dose of each row with the visits of its copies added; together (n,): see `Exposure`."""
    if len(own) == 0:
        return own.copy()
    text = copies.text
    of_text = _equal_within(own, text, _twins(text)) * copies.number
    dose = np.zeros(int(text.max()) + 1)
    dose[text] = of_text
    gain = copies.kappa * dose[copies.b]
    ranked = np.lexsort((gain, copies.a))  # the same sum, bit for bit, whatever order the pairs come in
    dose += np.bincount(copies.a[ranked], gain[ranked], minlength=len(dose))
    largest = np.zeros(len(dose))  # no meeting takes more than what the others add
    np.maximum.at(largest, text, own)
    return np.asarray(np.maximum(dose[text] * together, largest[text]))


def asked_alone(plan: TrainingPlan, own: Float64, total: Float64) -> Float64:
    """(n,) what is left of the dose of each row when it is asked for without the rows that stood before it; 1 where
    rows do not see one another.

    own: dose of its own visits; total: with its copies, of which each stands behind another row.
    """
    if plan.batching != "wrapped":
        return np.ones(len(own))
    times = np.maximum(1.0, np.divide(total, own, out=np.ones_like(total), where=own > 0))
    return np.asarray(times / (times + NEIGHBOURS))
