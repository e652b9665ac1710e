"""Repeated passages: spans of at least N tokens that stand in more than one place, and the rows that share them.

    boilerplate  in many rows (1 % of them, at least 5, at most 20), or in a system prompt or tool schema
    leakage      in a few rows: one row's answer in another's prompt, the same text under several questions
    filler       anywhere, but made of few different tokens: ruled lines, padding, a word over and over
    echo         in two strings of one row, as an answer that repeats its input
    within       twice in one string of one row: a chorus, an answer that runs in circles

A token counts where it lies in a window of N consecutive tokens (lower case, of one string) that stands in two places
or more; a span is a maximal run of such windows of one kind. Rows of a cluster of duplicates count once, through the
row that is kept for them: that copies share their text is told by the other signals. Spans are given for the other
rows too, so that another plan may keep them. What a few rows share is leakage only without the boilerplate around it:
a window that touches boilerplate does not count.

Spans of leakage make pairs: of the rows that hold a window, each with the first of them in content order (a star).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner import running
from scanner.kernels import passages as sharing
from scanner.kernels import spans as kernels
from scanner.kernels.tokens import tokenise
from scanner.objects import ROLE_CODE, ROLES, Clusters, Fingerprints, Int32, Int64, Pairs, Rows, SegmentBatch
from scanner.storedtext import SegmentReader
from scanner.text import code_point_classes, folded_code_points

BOILERPLATE_SHARE, FEWEST_ROWS, MOST_ROWS = 0.01, 5, 20
"""Share of the rows from which on a passage is boilerplate, and the bounds of that in rows: a choice, not a
measurement. Five rows are more than a leak between splits makes, and a passage in 20 rows is known by any model."""
CONTAINED = 0.95
"""Share of the smaller row's tokens in passages of the other from which on it counts as contained."""
RULES = {
    kernels.BOILERPLATE: "repeated/boilerplate",
    kernels.LEAKAGE: "repeated/leakage",
    kernels.FILLER: "repeated/filler",
    kernels.ECHO: "repeated/echo",
    kernels.WITHIN: "repeated/within",
}
SCHEMA = {
    "row_id": pl.Int64,
    "segment": pl.Int32,
    "start": pl.Int64,  # code points of the segment's text
    "end": pl.Int64,  # first code point after the span
    "rule_id": pl.String,
    "kind": pl.String,
    "score": pl.Float32,  # 1: the texts were compared
    "preview": pl.String,  # length only
    "role": pl.String,  # of the segment
    "tokens": pl.Int32,
    "rows": pl.Int32,  # kept rows that hold the part of it which the most of them hold
    "passage": pl.Int32,  # spans with N tokens in common, directly or through others, have the same number
}


@dataclass(frozen=True)
class Repeated:
    """What repeated passages gave."""

    spans: pl.DataFrame  # columns of SCHEMA, sorted
    pairs: Pairs  # similarity: share of the smaller row's tokens that stand in the other row
    answer_ab: np.ndarray  # (p,) share of a's learned tokens that stand in b; NaN where a has none
    answer_ba: np.ndarray
    covered: Int64  # (n,) tokens of each row in any span
    leaked: Int64  # (n,) tokens of each row in spans of leakage
    longest: Int64  # (n,) tokens of the row's longest span


@dataclass(frozen=True)
class _Places:
    """Where the segments that were looked at stand: (s,), beside kernels.Segments."""

    batch: Int64  # number of the record batch
    index: Int64  # within the batch
    segment: Int32  # within the row
    role: np.ndarray  # (s,) index into ROLES


def boilerplate_rows(rows: int) -> int:
    """Rows from which on a passage is boilerplate, in a data set of so many rows."""
    return int(np.clip(np.ceil(BOILERPLATE_SHARE * rows), FEWEST_ROWS, MOST_ROWS))


def find(
    rows: Rows,
    prints: Fingerprints,
    clusters: Clusters,
    reader: SegmentReader,
    *,
    width: int,
    threads: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> Repeated:
    """Every repeated span of at least `width` tokens, and the pairs of rows that share one which few rows hold."""
    counted = clusters.keep == np.arange(len(rows))
    text, places = _long_segments(reader, rows, counted, int(prints.tokens.sum()), width, threads, advance)
    windows = kernels.find_windows(text, width, rows.content_rank, threads)
    many = boilerplate_rows(int(counted.sum()))
    kind = kernels.classes(windows, many)
    spans = kernels.find_spans(text, windows, kind)
    passage = _numbered(sharing.passages(text, windows, spans), text, places, spans, rows.content_rank)
    a, b = sharing.pairs_of_rows(text, windows, spans)
    shared = sharing.shared_tokens(text, windows, kind, len(rows), a, b)
    answers = [np.divide(shared[:, i], prints.supervised_tokens[side], where=prints.supervised_tokens[side] > 0,
                         out=np.full(len(a), np.nan)) for i, side in ((1, a), (3, b))]  # fmt: skip
    length = spans.last - spans.first + 1
    longest = np.zeros(len(rows), np.int64)
    np.maximum.at(longest, text.row[spans.segment], length)
    notes = {
        "tokens_at_least": width,
        "boilerplate_from_rows": many,
        "windows_repeated": int((kind != kernels.ONCE).sum()),
        "passages": int(passage.max(initial=-1)) + 1,
        "passages_reported_as_stars": _larger_than_pairs(passage, text, spans),
    }
    return Repeated(
        spans=_frame(reader, text, places, rows, spans, passage, length, threads),
        pairs=_pairs(rows, prints, a, b, shared, notes),
        answer_ab=answers[0].astype(np.float32),
        answer_ba=answers[1].astype(np.float32),
        covered=np.bincount(text.row, spans.covered, minlength=len(rows)).astype(np.int64),
        leaked=np.bincount(text.row, spans.leaked, minlength=len(rows)).astype(np.int64),
        longest=longest,
    )


def _long_segments(
    reader: SegmentReader,
    rows: Rows,
    counted: np.ndarray,
    most: int,
    width: int,
    threads: int,
    advance: Callable[[int], None],
) -> tuple[kernels.Segments, _Places]:
    """The tokens of all segments of `width` tokens or more; rejected answers, which are not learned, are left out.

    most: tokens of the data set, room for those that are kept.
    """
    classes, fold = code_point_classes(), folded_code_points()
    system = np.isin(np.arange(len(ROLES)), [ROLE_CODE["system"], ROLE_CODE["tools"]])

    def work(batch: SegmentBatch) -> tuple[np.ndarray, ...]:
        room = int(batch.offsets[-1] - batch.offsets[0])
        hashes, starts = np.empty(room, np.uint64), np.empty(room, np.int64)
        counts = np.empty(len(batch), np.int64)
        found = tokenise(batch.data, batch.offsets, classes, fold, 1, hashes, starts, counts)
        long = (counts >= width) & (batch.role != ROLE_CODE["rejected"])
        at = np.flatnonzero(long)
        bits = system[batch.role[at]] * kernels.SYSTEM | batch.supervised[at] * kernels.ANSWER
        return (
            hashes[:found][np.repeat(long, counts)], counts[at], np.searchsorted(rows.row_id, batch.row_id[at]),
            bits.astype(np.uint8), at, batch.segment[at], batch.role[at],
        )  # fmt: skip

    tokens = np.empty(most, np.uint64)  # one array from the start: to join parts takes twice the memory
    kinds = (np.int64, np.int64, np.uint8, np.int64, np.int32, np.uint8)
    parts: list[tuple[np.ndarray, ...]] = [tuple(np.zeros(0, kind) for kind in kinds)]
    filled = 0
    for batch, (hashes, *part) in zip(reader, running.in_order(work, reader, threads), strict=True):
        tokens[filled : filled + len(hashes)] = hashes
        filled += len(hashes)
        parts.append(tuple(part))
        advance(len(batch.row_starts()) - 1 if len(batch) else 0)
    number = np.repeat(np.arange(-1, len(parts) - 1), [len(part[0]) for part in parts])
    counts, row, bits, at, segment, role = (np.concatenate(column) for column in zip(*parts, strict=True))
    bounds = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return kernels.Segments(tokens[:filled], bounds, row, counted[row], bits), _Places(number, at, segment, role)


def _numbered(root: Int64, text: kernels.Segments, places: _Places, spans: kernels.Spans, rank: Int64) -> Int32:
    """(m,) passages numbered by their first span in content order, so that the order of rows does not matter."""
    order = np.lexsort((spans.first, places.segment[spans.segment], rank[text.row[spans.segment]]))
    _, first, inverse = np.unique(root[order], return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int32)
    number[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    passage = np.empty(len(root), np.int32)
    passage[order] = number[inverse]
    return passage


def _larger_than_pairs(passage: Int32, text: kernels.Segments, spans: kernels.Spans) -> int:
    """Passages of leakage in three or more rows: not all pairs of their rows are listed."""
    mine = (spans.kind == kernels.LEAKAGE) & text.counted[spans.segment]
    table = pl.DataFrame({"passage": passage[mine], "row": text.row[spans.segment[mine]]})
    return int((table.unique().group_by("passage").len()["len"] > 2).sum())


def _frame(
    reader: SegmentReader, text: kernels.Segments, places: _Places, rows: Rows, spans: kernels.Spans, passage: Int32,
    length: Int64, threads: int,
) -> pl.DataFrame:  # fmt: skip
    """The spans as rows of SCHEMA, their tokens mapped back to code points of the text."""
    classes, fold = code_point_classes(), folded_code_points()
    start, end = np.zeros(len(length), np.int64), np.zeros(len(length), np.int64)
    cuts = np.searchsorted(places.batch[spans.segment], np.arange(reader.batches + 1)).tolist()

    def work(part: tuple[int, SegmentBatch]) -> None:
        number, batch = part
        mine = slice(cuts[number], cuts[number + 1])
        inside, which = np.unique(spans.segment[mine], return_inverse=True)
        at = places.index[inside]
        sharing.locate(
            batch.data, batch.offsets[at], batch.offsets[at + 1], which.astype(np.int64), spans.first[mine],
            spans.last[mine], classes, fold, start[mine], end[mine],
        )  # fmt: skip

    running.run(work, enumerate(reader), threads)
    rule = pl.Series(list(RULES.values())).gather(spans.kind - 1)
    return pl.DataFrame(
        {
            "row_id": rows.row_id[text.row[spans.segment]],
            "segment": places.segment[spans.segment],
            "start": start,
            "end": end,
            "rule_id": rule,
            "kind": pl.repeat("repeated", len(length), eager=True),
            "score": np.ones(len(length)),
            "preview": pl.DataFrame({"n": length}).select(pl.format("[REPEATED] {} tokens", "n")).to_series(),
            "role": pl.Series(ROLES).gather(places.role[spans.segment]),
            "tokens": length,
            "rows": spans.rows,
            "passage": passage,
        },
        schema_overrides=SCHEMA,
    ).sort("row_id", "segment", "start", "end")


def _pairs(rows: Rows, prints: Fingerprints, a: Int64, b: Int64, shared: np.ndarray, notes: dict[str, Any]) -> Pairs:
    """Pairs with what was measured of them; both rows hold a window, so neither is empty."""
    in_b, in_a = shared[:, 0] / prints.tokens[a], shared[:, 2] / prints.tokens[b]
    smaller = np.where(prints.tokens[a] <= prints.tokens[b], in_b, in_a)
    same_prompt = (prints.prompt[a] == prints.prompt[b]) & (prints.prompt_chars[a] > 0)
    same_answer = (prints.answer[a] == prints.answer[b]) & (prints.supervised_tokens[a] > 0)
    relation = np.select(
        [same_prompt, same_answer, smaller >= CONTAINED], ["same_prompt", "same_response", "contained"], "near"
    )
    return Pairs(
        signal="span",
        row_a=rows.row_id[a],
        row_b=rows.row_id[b],
        relation=relation,
        similarity=smaller.astype(np.float32),
        containment_ab=in_b.astype(np.float32),
        containment_ba=in_a.astype(np.float32),
        notes=notes,
    )
