"""Pairs of rows compared on the words they do not owe to a template: no wrapper, no punctuation.

    payload   rows that share a wrapper are no copies for that: their payloads must be alike, too
    words     rows may be copies though punctuation keeps their tokens apart, or one word more does in a short answer

Both are Jaccard similarities of shingles of words (kernels/templates.py). What is template is judged by the row's
source; two rows of different sources are read with the templates of the one, then of the other, and the smaller
similarity counts: else the same text would differ from itself where only one source repeats a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from scanner.contrast import traits
from scanner.kernels import templates as kernels
from scanner.objects import Bool, Fingerprints, Float32, Int64, Rows, UInt64
from scanner.storedtext import TextReader
from scanner.templating import NO_TEMPLATES, Gathered, Marked, each, payload_sets

LEAST_SHINGLES = 5
"""Shingles of an answer, of seven words then, that may have one word more; in a shorter one a word is too much."""


@dataclass(frozen=True)
class Wording:
    """What the pairs of rows have in common, (p,) each; Jaccard similarity, NaN where not measured."""

    payload: Float32  # of the whole payloads, and of the answers' if these follow a template: the smaller
    words: Float32  # of prompts and answers apart, the smaller; answers with one word more count as the whole rows


def compare(
    reader: TextReader,
    rows: Rows,
    prints: Fingerprints,
    marked: Marked | None,
    a: Int64,
    b: Int64,
    wanted: Bool,
    width: int,
    threads: int,
) -> Wording:
    """Compare the rows at positions a and b (p,) on shingles of `width` words.

    payload: NaN where neither row follows a template, or both are nothing but template · words: of these pairs and of
    the `wanted` ones.
    """
    payload, words = np.full((2, len(a)), np.nan, np.float32)
    fixed = np.zeros((len(rows), kernels.PARTS), np.bool_) if marked is None else marked.fixed > 0
    templated: Bool = np.asarray((fixed[a, 1:] | fixed[b, 1:]).any(axis=1), np.bool_)
    involved = np.flatnonzero(templated | wanted)
    judged = templated[involved]
    if not len(involved):
        return Wording(payload, words)
    a, b = a[involved], b[involved]
    here, there = (rows.source[side].astype(np.int64) for side in (a, b))
    across = np.flatnonzero(here != there) if marked is not None else np.zeros(0, np.int64)
    sources = len(rows.layout)
    left = np.concatenate((a * sources + here, a[across] * sources + there[across]))
    right = np.concatenate((b * sources + (there if marked is None else here), b[across] * sources + there[across]))
    views, ends = np.unique(np.concatenate((left, right)), return_inverse=True)
    sets, bounds = payloads(reader, rows, prints, marked, views // sources, views % sources, width, threads)
    found = np.empty((len(left), 2), np.float32)
    kernels.compare(*ends.reshape(2, -1).astype(np.int64), sets, bounds, found)
    size = np.diff(bounds).reshape(-1, 2)[ends.reshape(2, -1)]  # (2, views, 2) shingles of prompts and answers
    prompts = _rest(found, size)
    measured = np.column_stack((found, prompts))[: len(a)]
    measured[across] = np.fmin(measured[across], np.column_stack((found, prompts))[len(a) :])
    whole, answer, prompt = measured.T
    in_answers = np.where(fixed[a, 2] | fixed[b, 2], answer, np.nan)
    payload[involved] = np.where(judged, np.fmin(whole, in_answers), np.nan)
    more = _has_one_word_more(size[:, : len(a), 1], found[: len(a), 1], width)
    more[~(answer < whole)] = False
    at = np.flatnonzero(more)
    more[at] = _agree(reader, rows.row_id[a[at]], rows.row_id[b[at]])
    words[involved] = np.fmin(np.fmin(whole, prompt), np.where(more, whole, answer))
    return Wording(payload, words)


def _shared(jaccard: Float32, size: Int64) -> Int64:
    """(p,) shingles in common, from J = shared / (|a| + |b| - shared); size (2, p)."""
    known = np.nan_to_num(jaccard).astype(np.float64)
    shared: Int64 = np.rint(known * size.sum(axis=0) / (1 + known)).astype(np.int64)
    return shared


def _rest(found: Float32, size: Int64) -> Float32:
    """(p,) Jaccard similarity of the prompts, from those of both parts and of answers (p, 2); NaN for no prompts."""
    shared = _shared(found[:, 0], size.sum(axis=2)) - _shared(found[:, 1], size[:, :, 1])
    with np.errstate(invalid="ignore"):
        return np.asarray(shared / (size[:, :, 0].sum(axis=0) - shared), np.float32)


def _has_one_word_more(size: Int64, jaccard: Float32, width: int) -> Bool:
    """Pairs of answers of which one is the other with a word added, as their shingles tell.

    size (2, p): shingles. A word put between others replaces width - 1 shingles by width new ones.
    """
    smaller = size.min(axis=0)
    one = (np.abs(size[0] - size[1]) == 1) & (smaller - _shared(jaccard, size) < width) & (smaller >= LEAST_SHINGLES)
    return np.asarray(one, np.bool_)


def _agree(reader: TextReader, a: Int64, b: Int64) -> Bool:
    """Pairs of row ids whose numbers and negations agree."""
    ids = np.union1d(a, b)
    if not len(ids):
        return np.zeros(0, np.bool_)
    text = reader.rows(ids.tolist(), ["row_id", "role", "text"])
    said: dict[tuple[int, bool], str] = {}
    for row, role, string in text.with_columns(pl.col("role").cast(pl.String)).iter_rows():
        key = (row, role == "assistant")
        said[key] = f"{said[key]}\n{string}" if key in said else string
    seen = {(row, side): traits(said.get((row, side), "")) for row in ids.tolist() for side in (False, True)}
    return np.array(
        [
            all((seen[x, side].numbers, seen[x, side].negated) == (seen[y, side].numbers, seen[y, side].negated)
                for side in (False, True))
            for x, y in zip(a.tolist(), b.tolist(), strict=True)
        ],
        np.bool_,
    )  # fmt: skip


def payloads(
    reader: TextReader,
    rows: Rows,
    prints: Fingerprints,
    marked: Marked | None,
    position: Int64,
    source: Int64,
    width: int,
    threads: int,
) -> tuple[UInt64, Int64]:
    """Payload sets of rows (ascending, each as often as it is read) with the templates of these sources."""
    templates = NO_TEMPLATES if marked is None else marked.templates

    def work(some: Gathered) -> tuple[UInt64, Int64]:
        mine = slice(*np.searchsorted(position, (some.position[0], some.position[-1] + 1)).tolist())
        chosen = some.take(np.searchsorted(some.position, position[mine]))
        return payload_sets(replace(chosen, source=source[mine].astype(np.int32)), prints, templates, width)

    done = each(reader, rows, np.unique(position), threads, work)
    sets = np.concatenate([sets for sets, _ in done])
    return sets, np.concatenate([np.zeros(1, np.int64), *(np.diff(bounds) for _, bounds in done)]).cumsum()
