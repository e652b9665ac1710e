"""Templates: the lines and slot patterns that many rows of a source share, told apart from their payload.

    learn      what a sample of each source's distinct rows says about every context (kernels/templates.py)
    mark       which tokens of every row are template, and a sketch of the payload of rows that are mostly template

A wrapper in common is no likeness: rows that share one are compared on what stands in its slots (wording.py). The
sample is taken in content order, so that neither the order of rows nor the number of threads matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl

from scanner.fingerprints import PART_OF_ROLE, permutations
from scanner.kernels import template_counts as counting
from scanner.kernels import templates as kernels
from scanner.objects import ROLES, Fingerprints, Int32, Int64, Rows, UInt8, UInt64
from scanner.rowsegments import RowSegments
from scanner.running import parts_for, run
from scanner.storedtext import TextReader
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
BUCKETS = 1 << 17
"""In which contexts are counted first, so that rare ones are passed over; the count of all fits a core's cache."""
TABLE = 1 << 15
"""Places of the table of contexts, to begin with."""

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

    segments: RowSegments
    position: Int64  # (r,) of the rows
    source: Int32  # (r,)

    @property
    def text(self) -> tuple[UInt8, Int64, Int64, Int64, Int32]:
        """data, begin, end, row_start, voice"""
        some = self.segments
        return some.data, some.begin, some.end, some.row_start, self.voice

    @property
    def voice(self) -> Int32:
        """(s,) who speaks: the role, in one source."""
        owner = np.repeat(self.source, np.diff(self.segments.row_start))
        return self.segments.role + np.int32(len(ROLES)) * owner

    @property
    def parts(self) -> UInt8:
        return PART_OF_ROLE[self.segments.role]

    def take(self, which: Int64) -> Gathered:
        """Some of these rows, by their place among them, ascending; each as often as it is named."""
        return Gathered(self.segments.take(which), self.position[which], self.source[which])


class Verdicts(NamedTuple):
    """What a source's sample says about contexts, (c,) each; see kernels.template_counts.build."""

    context: UInt64
    token: UInt64  # main continuation or BRANCHES
    share: Int32  # of the sample's rows that hold the context, in millionths
    rare: UInt8  # 1: `token` is a further continuation of a fixed context that is no exception
    rows: Int64  # positions of the sample's rows with a token that goes on as a fixed context does, ascending


def find(reader: TextReader, rows: Rows, prints: Fingerprints, width: int, threads: int) -> Marked | None:
    """Learn and mark; None where no source has a template. Payloads are sketched on shingles of `width` tokens."""
    templates = learn(reader, rows, prints, threads)
    return None if templates is None else mark(reader, rows, prints, templates, threads, width)


def learn(reader: TextReader, rows: Rows, prints: Fingerprints, threads: int) -> Templates | None:
    """What the sources' samples say about contexts; None where no source has a template."""
    samples = [_sample(rows, prints, source) for source in range(len(rows.layout))]
    least = [max(LEAST_ROWS, int(np.ceil(LEAST_SHARE * len(sample)))) for sample in samples]
    judged = [(s, n) for s, n in zip(samples, least, strict=True) if len(s) >= n]
    said = [verdicts(reader, rows, prints, s, n, threads) for s, n in judged]
    if not sum(len(verdict.context) for verdict in said):
        return None
    table = table_of(said)
    for verdict, (_, enough) in zip(said, judged, strict=True):  # fixed contexts that make no line are phrases
        if len(verdict.rows) >= enough and _rows_with_a_line(reader, rows, table, verdict.rows) >= enough:
            return table
    return None


def _rows_with_a_line(reader: TextReader, rows: Rows, templates: Templates, only: Int64) -> int:
    """How many of the rows at these positions (ascending) follow a template."""
    found = 0
    for some in gathered(reader, rows, only):
        inside, *_ = marked(some, templates)
        found += int(inside.reshape(-1, kernels.PARTS).any(axis=1).sum())
    return found


def _sample(rows: Rows, prints: Fingerprints, source: int) -> Int64:
    """Positions of a source's distinct rows, first ones in content order, ascending."""
    order = rows.content_order
    mine = order[rows.source[order] == source][:SAMPLE_ROWS] if len(rows.layout) > 1 else order[:SAMPLE_ROWS]
    _, first = np.unique(prints.normal[mine, 0], return_index=True)
    mine = mine[np.sort(first)]
    return np.sort(mine[np.cumsum(prints.tokens[mine]) <= SAMPLE_TOKENS])


def verdicts(
    reader: TextReader,
    rows: Rows,
    prints: Fingerprints,
    sample: Int64,
    least: int,
    threads: int,
    fixed_share: float = FIXED_SHARE,
) -> Verdicts:
    """Contexts in at least `least` rows of the sample, and how they go on."""
    entries = _contexts(reader, rows, prints, sample, least, threads)
    size, taken = TABLE, -1
    while taken < 0:  # most entries stand in the table already, so it is not made for all of them
        keys, tokens = np.zeros((2, size), np.uint64)
        counts, last = np.zeros((2, size), np.int32)
        taken = counting.count(*entries, keys, tokens, counts, last)
        size *= 4
    context, token = np.empty((2, taken), np.uint64)
    share, rare, holding = np.empty(taken, np.int32), np.empty(taken, np.uint8), np.empty(len(sample), np.int32)
    made, rows_with = counting.judge(
        *entries, keys, tokens, counts, least, len(sample), fixed_share, RARE_ROWS, RARE_SHARE,
        context, token, share, rare, holding,
    )  # fmt: skip
    return Verdicts(context[:made], token[:made], share[:made], rare[:made], holding[:rows_with].astype(np.int64))


def _contexts(
    reader: TextReader, rows: Rows, prints: Fingerprints, sample: Int64, least: int, threads: int
) -> tuple[UInt64, UInt64, Int32]:
    """The sample's tokens with their contexts, see template_counts.contexts; rows are numbered by position."""

    def make(some: Gathered) -> tuple[UInt64, Int64, Int32]:
        data, begin, end, _, voice = some.text
        hashes, counts = np.empty(int(prints.tokens[some.position].sum()), np.uint64), np.empty(len(begin), np.int64)
        held = np.zeros(BUCKETS, np.int32)
        counting.tally(data, begin, end, voice, code_point_classes(), folded_code_points(), hashes, counts, held)
        return hashes, counts, held

    pieces = list(gathered(reader, rows, sample, parts_for(int(prints.tokens[sample].sum()), threads)))
    told = run(make, pieces, threads)
    held = told[0][2]
    for *_, own in told[1:]:
        held += own
    room = int(held[held >= least].sum())
    context, following = np.empty((2, room), np.uint64)
    row, made = np.empty(room, np.int32), 0
    for some, (hashes, counts, _) in zip(pieces, told, strict=True):
        made = counting.contexts(
            hashes, counts, some.segments.row_start, some.voice, some.position, held, least,
            context, following, row, made,
        )  # fmt: skip
    return context, following, row


def table_of(said: Sequence[Verdicts]) -> Templates:
    """What several samples say, as the kernels read it."""
    context, token, share, rare = (np.concatenate(columns) for columns in list(zip(*said, strict=True))[:4])
    size = 1 << max(8, int(4 * len(context)).bit_length())
    empty = np.zeros(size, np.uint64)
    table = Templates(empty, empty.copy(), np.zeros(size, np.int32), np.zeros(1 << 15, np.uint8))
    counting.build(context, token, share, rare, table.keys, table.values, table.held, table.seen)
    return table


def mark(
    reader: TextReader,
    rows: Rows,
    prints: Fingerprints,
    templates: Templates,
    threads: int,
    width: int,
) -> Marked:
    """Template tokens of every row; payloads are sketched on shingles of `width`."""
    a, b = permutations(PERMUTATIONS, 1)
    fixed, sizes = (np.zeros((len(rows), kernels.PARTS), np.int32) for _ in range(2))

    def work(some: Gathered) -> tuple[pl.DataFrame, Int64, np.ndarray]:
        inside, whole, name, tokens = marked(some, templates)
        segments = some.segments
        per_row = inside.reshape(-1, kernels.PARTS)
        fixed[some.position] = per_row
        sizes[some.position] = whole.reshape(-1, kernels.PARTS)
        at = np.flatnonzero(name)
        owner = np.repeat(some.position, np.diff(segments.row_start))
        found = pl.DataFrame(
            {
                "position": owner[at],
                "segment": segments.segment[at],
                "role": segments.role[at],
                "name": name[at],
                "tokens": tokens[at],
            }
        )
        shingled = per_row[:, 1:].sum(axis=1)
        mostly = np.flatnonzero((shingled > 0) & (shingled >= MOSTLY * prints.shingles[some.position]))
        if not len(mostly):
            return found, np.zeros(0, np.int64), np.empty((0, PERMUTATIONS), np.uint32)
        chosen = some.take(mostly)
        sets, bounds = payload_sets(chosen, prints, templates, width)
        signature = np.empty((len(mostly), PERMUTATIONS), np.uint32)
        kernels.sign(sets, bounds, a, b, signature)
        some_payload = bounds[2::2] > bounds[:-1:2]
        return found, chosen.position[some_payload], signature[some_payload]

    done = each(reader, rows, None, threads, work)
    return Marked(
        templates,
        fixed,
        sizes,
        pl.concat([d[0] for d in done]),
        np.concatenate([np.zeros(0, np.int64), *(d[1] for d in done)]),
        np.concatenate([np.empty((0, PERMUTATIONS), np.uint32), *(d[2] for d in done)]),
    )


def marked(some: Gathered, templates: Templates) -> tuple[Int32, Int32, UInt64, Int32]:
    """See kernels.mark: template tokens and all tokens of each row, and what each segment follows."""
    fixed, sizes = (np.empty(kernels.PARTS * len(some.position), np.int32) for _ in range(2))
    name, tokens = np.empty(len(some.segments.begin), np.uint64), np.empty(len(some.segments.begin), np.int32)
    kernels.mark(
        *some.text, some.parts, code_point_classes(), folded_code_points(),
        templates.keys, templates.values, templates.held, templates.seen, fixed, sizes, name, tokens,
    )  # fmt: skip
    return fixed, sizes, name, tokens


def payload_sets(some: Gathered, prints: Fingerprints, templates: Templates, width: int) -> tuple[UInt64, Int64]:
    """See kernels.payload_sets."""
    sets = np.empty(int(prints.tokens[some.position].sum()), np.uint64)
    bounds = np.empty(2 * len(some.position) + 1, np.int64)
    written = kernels.payload_sets(
        *some.text, some.parts, code_point_classes(), folded_code_points(), width,
        templates.keys, templates.values, templates.held, templates.seen, sets, bounds,
    )  # fmt: skip
    return sets[:written].copy(), bounds


def gathered(reader: TextReader, rows: Rows, only: Int64 | None, pieces: int = 1) -> Iterator[Gathered]:
    """The segments of the rows at these positions (ascending), in `pieces` runs; or of all rows, batch by batch."""
    if only is not None:
        for at, some in reader.segments_of(only).split(pieces):
            yield Gathered(some, only[at], rows.source[only[at]])
        return
    first = 0
    for batch in reader:
        if not len(batch):
            continue
        starts = batch.row_starts()
        after = first + len(starts) - 1
        begin, end = batch.offsets[:-1], batch.offsets[1:]
        whole = RowSegments(batch.data, begin, end, starts, batch.segment, batch.role, batch.supervised)
        yield Gathered(whole, np.arange(first, after), rows.source[first:after])
        first = after


def each(
    reader: TextReader, rows: Rows, only: Int64 | None, threads: int, work: Callable[[Gathered], Result]
) -> list[Result]:
    """`work` on every piece of the gathered rows, on all threads; results in the rows' order."""
    return run(work, gathered(reader, rows, only, threads), threads)
