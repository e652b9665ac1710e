"""Templates: the lines and slot patterns that many rows of a source share, told apart from their payload.

    learn      what a sample of each source's distinct rows says about every context (kernels/templates.py)
    mark       which tokens of every row are template, and a sketch of the payload of rows that are mostly template

A wrapper in common is no likeness: rows that share one are compared on what stands in its slots (wording.py). The
sample is taken in content order, so that neither the order of rows nor the number of threads matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import polars as pl

from scanner.fingerprints import parts, permutations
from scanner.kernels import template_counts as counting
from scanner.kernels import templates as kernels
from scanner.objects import ROLES, Fingerprints, Int32, Int64, Rows, SegmentBatch, UInt8, UInt64
from scanner.store import SegmentReader
from scanner.text import code_point_classes, folded_code_points

SAMPLE_ROWS = 4096
"""Rows of a source that are looked at, in content order; equal ones count once."""
SAMPLE_TOKENS = 1 << 20
"""Tokens of a source that are looked at, at most: bounds memory to about 150 MB."""
LEAST_ROWS = 20
"""Distinct rows of the sample that must hold a context before what follows it is judged ..."""
LEAST_SHARE = 0.01
"""... and their least share of the sample."""
FIXED_SHARE = 0.9
"""Share of a context's rows that go on in the same way from which the text is fixed there."""
RARE_ROWS, RARE_SHARE = 3, 0.02
"""Rows, and share of the context's rows, from which another continuation of fixed text is a slot and not an edit."""
MOSTLY = 0.5
"""Share of a row's shingled tokens inside templates from which its payload is sketched for candidates."""
PERMUTATIONS = 64
"""Of the payload sketches; they only propose pairs, and only at the threshold."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Templates:
    """What is known about contexts, as the kernels read it."""

    keys: UInt64  # (2^t,) open-addressing table of contexts and rarer continuations
    values: UInt64  # (2^t,) main continuation of a context
    held: Int32  # (2^t,) share of a source's rows that hold the context, in millionths
    seen: UInt8  # bits by a part of the key: a quick no


NO_TEMPLATES = Templates(
    np.zeros(256, np.uint64), np.zeros(256, np.uint64), np.zeros(256, np.int32), np.zeros(256, np.uint8)
)


@dataclass(frozen=True)
class Marked:
    """Template tokens of all rows, (n, ...) over rows."""

    templates: Templates
    fixed: Int32  # (n, 3) by part: system and tools, prompt, answer
    tokens: Int32  # (n, 3) all tokens, likewise
    segments: pl.DataFrame  # position, segment, role, name, tokens: of every segment that follows a template
    sketched: Int64  # (m,) positions of the rows that are mostly template, ascending
    sketch: np.ndarray = field(repr=False)  # (m, PERMUTATIONS) uint32 signatures of their payloads


@dataclass(frozen=True)
class Gathered:
    """Some rows' segments, as the kernels take them."""

    batch: SegmentBatch
    position: Int64  # (r,) of the rows
    source: Int32  # (r,)
    index: Int64  # (s,) into the batch's segments
    row_start: Int64  # (r + 1,)

    @property
    def text(self) -> tuple[UInt8, Int64, Int64, Int64, Int32]:
        """data, begin, end, row_start, voice"""
        offsets = self.batch.offsets
        return (
            self.batch.data,
            offsets[self.index],
            offsets[self.index + 1],
            self.row_start,
            self.voice,
        )

    @property
    def voice(self) -> Int32:
        """(s,) who speaks: the role, in one source."""
        return self.batch.role[self.index] + np.int32(len(ROLES)) * np.repeat(self.source, np.diff(self.row_start))

    @property
    def parts(self) -> UInt8:
        return parts(self.batch)[self.index]

    def take(self, which: Int64) -> Gathered:
        """Some of these rows, by their place among them, ascending; each as often as it is named."""
        counts = np.diff(self.row_start)[which]
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        index = np.repeat(self.row_start[which] - starts[:-1], counts) + np.arange(starts[-1])
        return Gathered(self.batch, self.position[which], self.source[which], self.index[index], starts)


def find(reader: SegmentReader, rows: Rows, prints: Fingerprints, width: int, threads: int) -> Marked | None:
    """Learn and mark; None where no source has a template. Payloads are sketched on shingles of `width` tokens."""
    templates = learn(reader, rows, prints, threads)
    return None if templates is None else mark(reader, rows, prints, templates, threads, width)


def learn(reader: SegmentReader, rows: Rows, prints: Fingerprints, threads: int) -> Templates | None:
    """What the sources' samples say about contexts; None where no source has a template."""
    samples = [_sample(rows, prints, source) for source in range(len(rows.layout))]
    least = [max(LEAST_ROWS, int(np.ceil(LEAST_SHARE * len(sample)))) for sample in samples]
    judged = [(s, n) for s, n in zip(samples, least, strict=True) if len(s) >= n]
    verdicts = [_verdicts(reader, rows, prints, s, n) for s, n in judged]
    if not sum(len(verdict[0]) for verdict in verdicts):
        return None
    context, token = (np.concatenate([verdict[i] for verdict in verdicts]) for i in (0, 1))
    share, rare = np.concatenate([v[2] for v in verdicts]), np.concatenate([v[3] for v in verdicts])
    table = _table(context, token, share, rare)
    for sample, enough in judged:  # fixed contexts that make no line are common phrases
        found = mark(reader, rows, prints, table, threads, only=sample)
        if int((found.fixed.sum(axis=1) > 0).sum()) >= enough:
            return table
    return None


def _sample(rows: Rows, prints: Fingerprints, source: int) -> Int64:
    """Positions of a source's distinct rows, first ones in content order, ascending."""
    order = rows.content_order
    mine = order[rows.source[order] == source][:SAMPLE_ROWS] if len(rows.layout) > 1 else order[:SAMPLE_ROWS]
    _, first = np.unique(prints.normal[mine, 0], return_index=True)
    mine = mine[np.sort(first)]
    return np.sort(mine[np.cumsum(prints.tokens[mine]) <= SAMPLE_TOKENS])


def _verdicts(
    reader: SegmentReader, rows: Rows, prints: Fingerprints, sample: Int64, least: int
) -> tuple[UInt64, UInt64, Int32, UInt8]:
    """Contexts in at least `least` rows of the sample: context, main continuation or BRANCHES, share of
    the sample in millionths, rare.

    Entries with rare = 1 name further continuations of fixed contexts that are no exceptions.
    """
    context, following, row = _contexts(reader, rows, prints, sample)
    coarse = (context >> np.uint64(20)).astype(np.int64) & 0xFFFFF  # most contexts are rare, and most of these go here
    hot = np.bincount(coarse, minlength=1 << 20)[coarse] >= least
    context, following, row = context[hot], following[hot], row[hot]
    size = 1 << max(4, int(4 * len(context)).bit_length())
    keys, tokens, counts = np.zeros(size, np.uint64), np.zeros(size, np.uint64), np.zeros(size, np.int32)
    counting.count(context, following, row, keys, tokens, counts, np.zeros(size, np.int32))
    pair = np.empty((2, len(context)), np.uint64)
    held = np.empty((2, len(context)), np.int32)
    made = counting.choose(context, following, row, keys, tokens, counts, least, *pair, *held)
    (context, token), (count, both) = pair[:, :made], held[:, :made]
    order = np.lexsort((token, -both, context))
    context, token, count, both = context[order], token[order], count[order], both[order]
    main = np.concatenate(([True], context[1:] != context[:-1])) if made else np.zeros(0, bool)
    fixed = (both >= FIXED_SHARE * count) & main
    of_fixed = fixed[np.maximum.accumulate(np.where(main, np.arange(made), 0))]
    rare = of_fixed & ~main & (both >= np.maximum(RARE_ROWS, RARE_SHARE * count))
    verdict = np.where(fixed | rare, token, counting.BRANCHES)
    share = (count / len(sample) * 1e6).astype(np.int32)
    kept = main | rare
    return context[kept], verdict[kept], share[kept], rare[kept].astype(np.uint8)


def _contexts(reader: SegmentReader, rows: Rows, prints: Fingerprints, sample: Int64) -> tuple[UInt64, UInt64, Int32]:
    """Every token of the sample with its context, see template_counts.contexts; rows are numbered by position."""
    found = []
    for some in gathered(reader, rows, sample):
        room = int(prints.tokens[some.position].sum()) + (1 + counting.TAIL) * len(some.index)
        pair, row = np.empty((2, room), np.uint64), np.empty(room, np.int32)
        made = counting.contexts(*some.text, code_point_classes(), folded_code_points(), *pair, row)
        found.append((pair[:, :made], some.position.astype(np.int32)[row[:made]]))
    context, following = np.concatenate([pair for pair, _ in found], axis=1)
    return context, following, np.concatenate([row for _, row in found])


def _table(context: UInt64, token: UInt64, share: Int32, rare: UInt8) -> Templates:
    size = 1 << max(8, int(4 * len(context)).bit_length())
    empty = np.zeros(size, np.uint64)
    table = Templates(empty, empty.copy(), np.zeros(size, np.int32), np.zeros(1 << 15, np.uint8))
    counting.build(context, token, share, rare, table.keys, table.values, table.held, table.seen)
    return table


def mark(
    reader: SegmentReader,
    rows: Rows,
    prints: Fingerprints,
    templates: Templates,
    threads: int,
    width: int = 0,
    only: Int64 | None = None,
) -> Marked:
    """Template tokens of every row, or of those at `only`; payloads are sketched on shingles of `width`, 0: not."""
    a, b = permutations(PERMUTATIONS, 1)
    fixed, sizes = (np.zeros((len(rows), kernels.PARTS), np.int32) for _ in range(2))

    def work(some: Gathered) -> tuple[pl.DataFrame, Int64, np.ndarray]:
        inside, whole = (np.empty(kernels.PARTS * len(some.position), np.int32) for _ in range(2))
        name, tokens = np.empty(len(some.index), np.uint64), np.empty(len(some.index), np.int32)
        kernels.mark(
            *some.text, some.parts, code_point_classes(), folded_code_points(),
            templates.keys, templates.values, templates.held, templates.seen, inside, whole, name, tokens,
        )  # fmt: skip
        per_row = inside.reshape(-1, kernels.PARTS)
        fixed[some.position] = per_row
        sizes[some.position] = whole.reshape(-1, kernels.PARTS)
        at = np.flatnonzero(name)
        owner = np.repeat(some.position, np.diff(some.row_start))
        found = pl.DataFrame(
            {
                "position": owner[at],
                "segment": some.batch.segment[some.index[at]],
                "role": some.batch.role[some.index[at]],
                "name": name[at],
                "tokens": tokens[at],
            }
        )
        shingled = per_row[:, 1:].sum(axis=1)
        mostly = np.flatnonzero((shingled > 0) & (shingled >= MOSTLY * prints.shingles[some.position]))
        if not width or not len(mostly):
            return found, np.zeros(0, np.int64), np.empty((0, PERMUTATIONS), np.uint32)
        chosen = some.take(mostly)
        sets, bounds = payload_sets(chosen, prints, templates, width)
        signature = np.empty((len(mostly), PERMUTATIONS), np.uint32)
        kernels.sign(sets, bounds, a, b, signature)
        some_payload = bounds[2::2] > bounds[:-1:2]
        return found, chosen.position[some_payload], signature[some_payload]

    done = each(reader, rows, only, threads, work)
    return Marked(
        templates,
        fixed,
        sizes,
        pl.concat([d[0] for d in done]),
        np.concatenate([np.zeros(0, np.int64), *(d[1] for d in done)]),
        np.concatenate([np.empty((0, PERMUTATIONS), np.uint32), *(d[2] for d in done)]),
    )


def payload_sets(some: Gathered, prints: Fingerprints, templates: Templates, width: int) -> tuple[UInt64, Int64]:
    """See kernels.payload_sets."""
    sets = np.empty(int(prints.tokens[some.position].sum()), np.uint64)
    bounds = np.empty(2 * len(some.position) + 1, np.int64)
    written = kernels.payload_sets(
        *some.text, some.parts, code_point_classes(), folded_code_points(), width,
        templates.keys, templates.values, templates.held, templates.seen, sets, bounds,
    )  # fmt: skip
    return sets[:written].copy(), bounds


def gathered(reader: SegmentReader, rows: Rows, only: Int64 | None) -> Iterator[Gathered]:
    """The segments of the rows at these positions (ascending), or of all rows, batch by batch."""
    first = 0
    for batch in reader:
        if not len(batch):
            continue
        starts = batch.row_starts()
        count = len(starts) - 1
        whole = Gathered(
            batch, np.arange(first, first + count), rows.source[first : first + count], np.arange(len(batch)), starts
        )
        if only is None:
            yield whole
        else:
            low, high = np.searchsorted(only, (first, first + count))
            if high > low:
                yield whole.take(only[low:high] - first)
        first += count


def each(
    reader: SegmentReader, rows: Rows, only: Int64 | None, threads: int, work: Callable[[Gathered], Result]
) -> list[Result]:
    """`work` on every batch of the gathered rows, on all threads; results in the rows' order."""
    with ThreadPoolExecutor(threads) as pool:
        return [job.result() for job in [pool.submit(work, some) for some in gathered(reader, rows, only)]]
