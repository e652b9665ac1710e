"""How trainers put rows into optimizer steps, and what a token weighs in the loss of its step.

    Sampler(plan, sizes).epoch(rng) -> Visits: rows in order, the step and the micro-batch of each -> token_shares

What each way of batching copies, checked in the tests against the programs themselves:

    random           rows drawn without replacement, cut into steps (torch RandomSampler)
    length-grouped   mega-batches of 50 batches sorted by length (transformers LengthGroupedSampler, which is given the
                     rows of a step on one device, accumulation included)
    packed           whole rows in sequences of a fixed length, best fit first (TRL "bfd", its default)
    wrapped          rows one after another, cut at the ends of sequences (TRL "wrapped")

Packed sequences are put together once, in runs of 1,000 rows as these stand, and shuffled as wholes in every epoch, as
TRL does.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict, deque
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

PACKED = ("packed", "wrapped")
"""Batchings whose steps are made of packed sequences."""
MEGA_BATCHES = 50
"""Batches sorted together by a length-grouped sampler (transformers `get_length_grouped_indices`)."""
SEQUENCE_TOKENS = 2048
"""Length of a packed sequence when the plan names none (the usual default of trainers)."""
PACKED_ROWS = 1000
"""Rows packed at a time: the batches of `datasets.Dataset.map`, through which TRL packs."""
FEWEST_SEQUENCES = 4
"""Packed sequences that the rows packed at a time fill at least: of fewer, best fit would leave much room."""


class Visits(NamedTuple):
    """One epoch; v visits in their order. Steps and parts count from 0 without gaps and never fall."""

    rows: Int64  # (v,)
    step: Int64  # (v,) optimizer step
    part: Int64  # (v,) micro-batch: what goes through one device at a time; a part lies within one step
    steps: int


@dataclass(frozen=True)
class Sampler:
    """The plan's sampler over rows of these sizes, in tokens; it gives one epoch after another."""

    plan: TrainingPlan
    sizes: Int64  # (n,)
    sequence_tokens: int = SEQUENCE_TOKENS  # length of a packed sequence
    standing: Int64 | None = None  # (n,) rows in the order in which they stand where they are packed; None: as given
    packed_rows: int = PACKED_ROWS  # rows packed at a time

    @property
    def room(self) -> int:
        """Tokens that fill a packed sequence."""
        return min(self.sequence_tokens, self.plan.batch_tokens or self.sequence_tokens)

    @cached_property
    def sequence(self) -> Int64:
        """(n,) the packed sequence that holds each row, in which it begins; numbered without gaps."""
        pack = best_fit if self.plan.batching == "packed" else wrapped
        standing = np.arange(len(self.sizes)) if self.standing is None else self.standing
        sequence = np.empty(len(self.sizes), np.int64)
        count = 0
        for first in range(0, len(standing), self.packed_rows):
            run = standing[first : first + self.packed_rows]
            found = pack(self.sizes[run], self.room)
            sequence[run] = found + count
            count += int(found.max()) + 1
        return sequence

    def epoch(self, rng: np.random.Generator) -> Visits:
        """One pass over the rows; no rows, no steps."""
        if len(self.sizes) == 0:
            return Visits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), 0)
        if self.plan.batching in PACKED:
            return self._packed(rng)
        plan, count = self.plan, len(self.sizes)
        rows = rng.permutation(count)
        if plan.batching == "length-grouped":
            rows = length_grouped(self.sizes, rows, self._grouped_together())
        if plan.batch_tokens is not None:
            begin = np.cumsum(self.sizes[rows]) - self.sizes[rows]
            step = _numbered(begin // plan.batch_tokens)
            whole = int(self.sizes.sum()) >= (int(begin[-1]) // plan.batch_tokens + 1) * plan.batch_tokens
        else:
            step = np.arange(count) // plan.batch_size
            whole = count % plan.batch_size == 0
        return self._cut(rows, step, np.arange(count), whole)

    def _grouped_together(self) -> int:
        """Rows that the length-grouped sampler takes for one batch: those of a step on one device."""
        rows = self.plan.batch_size
        if self.plan.batch_tokens is not None:
            rows = round(self.plan.batch_tokens / max(1.0, float(self.sizes.mean())))
        return max(1, rows // self.plan.devices)

    def _packed(self, rng: np.random.Generator) -> Visits:
        """Sequences in random order, a fixed number to a step; the rows of one stay in their order."""
        count = int(self.sequence.max()) + 1
        place = np.argsort(rng.permutation(count))[self.sequence]  # of each row's sequence in this epoch
        rows = np.argsort(place, kind="stable")
        per_step = self.plan.batch_size
        if self.plan.batch_tokens is not None:
            per_step = max(1, round(self.plan.batch_tokens / self.sequence_tokens))
        return self._cut(rows, place[rows] // per_step, place[rows], count % per_step == 0)

    def _cut(self, rows: Int64, step: Int64, unit: Int64, whole: bool) -> Visits:
        """Cut steps into micro-batches and leave out what the plan drops.

        unit (v,): number of each visit's row, or packed sequence, within the epoch; whole: the last step is full.
        """
        plan = self.plan
        starts = np.flatnonzero(np.diff(step, prepend=-1))
        within = unit - unit[starts][step]
        micro = plan.micro_batch
        part = step if micro is None else _numbered(step * (1 + within.max() // micro) + within // micro)
        kept = len(rows)
        if plan.drop_last != "none" and not whole:
            kept = int(starts[-1])
            if plan.drop_last == "micro-batch" and micro is not None:
                together = micro * plan.devices  # each device gets a micro-batch, or none does
                filled = (int(within[-1]) + 1) // together * together
                kept += int(np.searchsorted(within[kept:], filled))
        rows, step, part = rows[:kept], step[:kept], part[:kept]
        return Visits(rows, step, part, int(step[-1]) + 1 if kept else 0)


def length_grouped(sizes: Int64, order: Int64, batch: int) -> Int64:
    """The order in which transformers' LengthGroupedSampler visits rows, given its random permutation.

    Mega-batches of 50 batches are sorted by length, longest first; the longest row of all comes first of all.
    """
    count = len(order)
    mega = max(1, min(count // (batch * 4), MEGA_BATCHES)) * batch
    block = np.arange(count) // mega
    grouped = order[np.lexsort((np.arange(count), -sizes[order], block))]
    heads = np.arange(0, count, mega)
    longest = heads[np.argmax(sizes[grouped[heads]])]
    grouped[[0, longest]] = grouped[[longest, 0]]
    return grouped


def best_fit(sizes: Int64, room: int) -> Int64:
    """(n,) sequence of each row: longest first, each into the fullest sequence that still holds it (TRL "bfd").

    A row longer than `room` is cut there, and so fills a sequence alone.
    """
    sequence = np.empty(len(sizes), np.int64)
    spaces: list[int] = []  # ascending, each once
    waiting: defaultdict[int, deque[int]] = defaultdict(deque)  # sequences with exactly this much space
    count = 0
    cut = np.minimum(sizes, room)
    for row in np.argsort(-cut, kind="stable").tolist():
        size = int(cut[row])
        at = bisect_left(spaces, size)
        if at < len(spaces):
            space = spaces[at]
            found = waiting[space].popleft()
            if not waiting[space]:
                del spaces[at]
        else:
            space, found, count = room, count, count + 1
        sequence[row] = found
        left = space - size
        if left > 0:
            if not waiting[left]:
                insort(spaces, left)
            waiting[left].append(found)
    return sequence


def wrapped(sizes: Int64, room: int) -> Int64:
    """(n,) sequence in which each row begins, when they are laid one after another and cut every `room` tokens.

    A row that is cut in two counts where it begins; sequences in which none begins are passed over.
    """
    return _numbered((np.cumsum(sizes) - sizes) // room)


def packed_at_a_time(plan: TrainingPlan, sizes: Int64, room: int, share: float) -> int:
    """Rows of a sample that are packed at a time, so that they share sequences with as near neighbours as in the whole.

    share: of the rows, that the sample is. Laid end to end, rows lie beside the next one in any case.
    """
    if plan.batching != "packed" or not len(sizes):
        return PACKED_ROWS
    filling = FEWEST_SEQUENCES * room / float(np.minimum(sizes, room).mean())
    return min(PACKED_ROWS, max(round(filling), round(share * PACKED_ROWS)))


def end_to_end(sizes: Int64, room: int) -> tuple[Int64, Int64]:
    """Sequences of rows laid one after another: (s + 1,) their ends as tokens of all rows, (s,) number of each.

    The number is that of `wrapped`, run by run of PACKED_ROWS; a sequence in which no row begins has that of the one
    before it.
    """
    edges, number = [0], [0]
    begun = np.concatenate(([0], np.cumsum(sizes)))
    for first in range(0, len(sizes), PACKED_ROWS):
        run = sizes[first : first + PACKED_ROWS]
        cuts = np.arange(0, int(run.sum()), room)
        begins = np.isin(np.arange(len(cuts)), (np.cumsum(run) - run) // room)
        number += (number[-1] + np.cumsum(begins)).tolist()
        edges += (begun[first] + np.append(cuts[1:], int(run.sum()))).tolist()
    return np.array(edges), np.array(number[1:]) - 1


def sequence_length(plan: TrainingPlan, context: int | None, max_length: int | None) -> int:
    """Tokens of a packed sequence, which is as long as rows are cut at, for a model of this context; None: not known.

    Whole rows see nothing of one another, so that their sequence may be longer than the context.
    """
    room = max_length or SEQUENCE_TOKENS
    return min(room, context) if context and plan.batching == "wrapped" else room


def token_shares(loss_average: str, tokens: Int64, step: Int64, part: Int64) -> Float64:
    """(v,) what one supervised token of each visit weighs in the loss of its optimizer step: 1 / N_sup.

    tokens (v,): supervised tokens of the visited row. step, part (v,): never falling. `token`: the mean over all
    tokens of the step (transformers from 4.46 on). `micro-batch`: the mean over the step's micro-batches of their token
    means (transformers before, and whatever does not count the tokens of the step). `row`: the same of rows.
    """
    if len(tokens) == 0:
        return np.zeros(0)
    starts = np.flatnonzero(np.diff(step, prepend=step[0] - 1))
    of_step = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(step)))
    if loss_average == "token":
        return np.asarray(1 / np.maximum(1, np.add.reduceat(tokens, starts)[of_step]))
    if loss_average == "row":
        rows = np.add.reduceat((tokens > 0).astype(np.int64), starts)
        return np.asarray(1 / np.maximum(1, rows[of_step] * tokens))
    heads = np.flatnonzero(np.diff(part, prepend=part[0] - 1))
    of_part = np.repeat(np.arange(len(heads)), np.diff(heads, append=len(part)))
    parts = np.bincount(of_step[heads])
    return np.asarray(1 / np.maximum(1, parts[of_step] * np.add.reduceat(tokens, heads)[of_part]))


def _numbered(values: Int64) -> Int64:
    """Values that never fall, numbered 0, 1, 2 ... without gaps."""
    return np.cumsum(np.diff(values, prepend=values[:1]) > 0)
