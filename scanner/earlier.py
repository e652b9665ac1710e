"""Rows x an earlier run's index -> matches: what of the new data that run already holds, without its text.

    exact  keyed hashes agree: of the whole row (its signature is compared too), of prompt and answer, of the prompt, of
           the first turn, of a longer answer
    near   banded signatures propose, the share of their columns that agree estimates the Jaccard similarity; its
           standard error is sqrt(s (1 - s) / permutations). The earlier text is not there to verify it, so such a row
           is never dropped for it.

Of several earlier rows that match in the same way, the first in the earlier run's order of contents is named and
`items` says how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner import running
from scanner.kernels.agreement import agreement
from scanner.objects import Int64, UInt64
from scanner.ordering import distinct, stable_order
from scanner.pairing import packed, unpacked
from scanner.ranges import laid_out
from scanner.signatures import ANSWER, OPENING, PAIR, PROMPT, ROW_A, ROW_B, Index, is_sketched

KIND = "earlier"
"""`kind` of these matches in matches.parquet, beside those with benchmarks."""
MATCHES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "row_id": pl.Int64,
    "source": pl.String,  # the earlier run's folder
    "item": pl.String,  # row_id there; text, as items of benchmarks have names
    "part": pl.String,  # question, answer, both
    "how": pl.String,  # exact, near
    "similarity": pl.Float32,  # 1 for exact; estimated for near
    "kind": pl.String,
    "items": pl.Int64,  # earlier rows that match in this way; for near at least so many
    "same_context": pl.Boolean,  # part both, exact: system prompt and tools are the same too
    "first_turn": pl.Boolean,  # only what stands before the first answer is the same
}
NONE = pl.DataFrame(schema=MATCHES_SCHEMA)
NEIGHBOURS = 8
"""Earlier rows of a bucket that a new row is compared with, first in order of content; only the best one counts."""
ROWS_PER_BLOCK = 1 << 16
ROWS_IN_CACHE = 1 << 12


@dataclass(frozen=True)
class Matched:
    """Matches with one earlier run, and what is to be said about the search."""

    frame: pl.DataFrame
    notes: dict[str, Any]


def match(
    row_id: Int64,
    hashes: UInt64,
    signature: np.ndarray,
    has_shingles: np.ndarray,
    index: Index,
    name: str,
    bands: tuple[int, int],
    floor: float,
    threads: int,
) -> Matched:
    """Matches of new rows with an earlier run.

    hashes (n, columns): signatures.row_hashes under the earlier run's key · signature (n, permutations): made with
    the earlier run's permutations · has_shingles (n,) · name: what the earlier run is called in the table · bands:
    (bands, rows per band) · floor: least estimated similarity of a near match.
    """
    order = np.argsort(index.rank)  # content order, so that the first of equals is the same for any order of rows
    there = index.hashes[order]
    item = index.row_id[order]
    same_row, rows_alike = _first_equal(hashes[:, ROW_A], there[:, ROW_A])
    # subtle: a second 64-bit function and the whole signature must agree before a row may be dropped for it
    found = np.flatnonzero(same_row >= 0)
    at = same_row[found]
    equal = np.empty(len(found), np.int32)
    agreement(signature, index.signature, packed(found, order[at]), equal)
    agree = (hashes[found, ROW_B] == there[at, ROW_B]) & (equal == index.permutations)
    same_row[found[~agree]] = -1
    whole = same_row >= 0
    pair, pairs_alike = _first_equal(hashes[:, PAIR], there[:, PAIR])
    pair[whole] = -1
    copied = whole | (pair >= 0)
    prompt, prompts_alike = _first_equal(hashes[:, PROMPT], there[:, PROMPT])
    prompt[copied] = -1
    opening, openings_alike = _first_equal(hashes[:, OPENING], there[:, OPENING])
    opening[copied | (prompt >= 0)] = -1
    answer, answers_alike = _first_equal(hashes[:, ANSWER], there[:, ANSWER])
    answer[copied] = -1
    near = _near(signature, np.flatnonzero(~copied & has_shingles), index, order, bands, floor, threads)

    def frame(place: Int64, items: Int64, part: str, how: str = "exact", **more: Any) -> pl.DataFrame:
        rows = np.flatnonzero(place >= 0)
        values = {
            "row_id": row_id[rows], "source": name, "item": item[place[rows]], "part": part, "how": how,
            "similarity": more.pop("similarity", np.ones(len(place), np.float32))[rows], "kind": KIND,
            "items": items[rows], "same_context": more.get("same_context"), "first_turn": more.get("first_turn", False),
        }  # fmt: skip
        columns = {k: pl.Series(v) if isinstance(v, np.ndarray) else pl.lit(v) for k, v in values.items()}
        made = pl.DataFrame({k: v for k, v in columns.items() if isinstance(v, pl.Series)})
        made = made.with_columns(**{k: v for k, v in columns.items() if not isinstance(v, pl.Series)})
        return made.select(pl.col(k).cast(v) for k, v in MATCHES_SCHEMA.items())

    frames = [
        frame(same_row, rows_alike, "both", same_context=True),
        frame(pair, pairs_alike, "both", same_context=False),
        frame(prompt, prompts_alike, "question"),
        frame(opening, openings_alike, "question", first_turn=True),
        frame(answer, answers_alike, "answer"),
        frame(near.place, near.items, "both", "near", similarity=near.similarity),
    ]
    notes = {
        "rows": len(index.row_id),
        "permutations": index.permutations,
        "standard_error_at_0.8": round(math.sqrt(0.8 * 0.2 / index.permutations), 4),
        "candidates": near.candidates,
        "candidates_not_compared_at_least": near.cut,
    }
    return Matched(pl.concat(frames).sort("row_id", "how", "part", maintain_order=True), notes)


def _first_equal(here: UInt64, there: UInt64) -> tuple[Int64, Int64]:
    """For each hash of `here`: the first place in `there` with the same one (-1: none, or no hash), and how many."""
    order = stable_order(np.ascontiguousarray(there[:, None]))  # equal ones by place
    ordered = there[order]
    left = np.searchsorted(ordered, here, "left")
    count = np.searchsorted(ordered, here, "right") - left
    found = (count > 0) & (here != 0)
    place = np.full(len(here), -1, np.int64)
    place[found] = order[left[found]]
    return place, np.where(found, count, 0).astype(np.int64)


@dataclass(frozen=True)
class _Near:
    """The best near match of every row."""

    place: Int64  # (n,) in the earlier run's content order, -1: none
    items: Int64  # (n,) earlier rows found at or above the floor
    similarity: np.ndarray  # (n,) float32, estimated
    candidates: int
    cut: int  # candidates that were left out because their bucket was full


def _near(
    signature: np.ndarray, rows: Int64, index: Index, order: Int64, bands: tuple[int, int], floor: float, threads: int
) -> _Near:
    """Near matches of some new rows (positions)."""
    n = len(signature)
    place, items, best = np.full(n, -1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.float32)
    theirs = index.hashes[order]
    # equal earlier rows stand for one another; the first in order of content does
    first, _ = _first_equal(theirs[:, ROW_A], theirs[:, ROW_A])
    sketched = is_sketched(index.signature[order, :8])
    heads = np.flatnonzero((first == np.arange(len(order))) & sketched)
    if not len(heads) or not len(rows):
        return _Near(place, items, best, 0, 0)
    place_there = order[heads]
    bits = max(1, len(heads).bit_length())
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)

    def words_of(band: int) -> UInt64:
        keys = _band_keys(index.signature, band, bands[1])[place_there]
        words = (keys & ~mask) | np.arange(len(heads), dtype=np.uint64)
        words.sort()
        return words

    def compared(block: Int64) -> tuple[UInt64, np.ndarray, int]:
        return _compare(signature[block], index, place_there, buckets, mask, bands[1])

    buckets = running.run(words_of, range(bands[0]), threads)
    blocks = [rows[at : at + ROWS_PER_BLOCK] for at in range(0, len(rows), ROWS_PER_BLOCK)]
    candidates = cut = 0
    for block, (pairs, equal, left_out) in zip(blocks, running.in_order(compared, blocks, threads), strict=True):
        candidates += len(pairs)
        cut += left_out
        estimate = (equal / index.permutations).astype(np.float32)
        close = estimate >= np.float32(floor)
        new, b = unpacked(pairs[close])
        a = block[new]
        # subtle: pairs are sorted, so the first of the best ones is the first in order of content
        best_first = np.lexsort((np.arange(len(a)), -estimate[close], a))
        chosen = best_first[np.concatenate(([True], np.diff(a[best_first]) > 0))] if len(a) else best_first
        place[a[chosen]] = heads[b[chosen]]
        best[a[chosen]] = estimate[close][chosen]
        items += np.bincount(a, minlength=n)
    return _Near(place, items, best, candidates, cut)


def _compare(
    here: np.ndarray, index: Index, place_there: Int64, buckets: Sequence[UInt64], mask: np.uint64, width: int
) -> tuple[UInt64, np.ndarray, int]:
    """Distinct candidate pairs of a block of new rows, the columns in which each agrees, and how many were left out.

    A pair is a << 32 | b, row a of the block and head b of the earlier run, whose signature stands at place_there[b].
    """
    found = np.zeros(0, np.uint64)
    left_out = 0
    rows = np.arange(len(here), dtype=np.uint64)
    for band, words in enumerate(buckets):
        keys = _band_keys(here, band, width) & ~mask
        left = np.searchsorted(words, keys, "left")
        count = np.searchsorted(words, keys | mask, "right") - left
        taken = np.minimum(count, NEIGHBOURS)
        # the same buckets recur in every band: the largest cut of any band is a lower bound
        left_out = max(left_out, int((count - taken).sum()))
        at = laid_out(left, left + taken)
        found = distinct([found, packed(np.repeat(rows, taken), words[at] & mask)])
    equal = np.empty(len(found), np.int32)
    a, b = unpacked(found)
    agreement(np.ascontiguousarray(here), index.signature, packed(a, place_there[b]), equal)
    return found, equal, left_out


def _band_keys(signature: np.ndarray, band: int, width: int) -> UInt64:
    """(n,) hash of `width` columns of a band: multilinear (Carter and Wegman), then mixed so that high bits count."""
    factors = np.random.default_rng(band).integers(0, 1 << 63, width, dtype=np.uint64) | np.uint64(1)
    h = np.zeros(len(signature), np.uint64)
    for at in range(0, len(h), ROWS_IN_CACHE):  # the columns of a band share cache lines
        part = signature[at : at + ROWS_IN_CACHE, band * width : (band + 1) * width]
        for column in range(width):
            h[at : at + ROWS_IN_CACHE] += part[:, column] * factors[column]
    h ^= h >> np.uint64(32)
    h *= np.uint64(0x9FB21C651E98DF25)  # an odd constant with its bits well spread (as in kernels.hashing)
    return h ^ (h >> np.uint64(29))


def matched_rows(matches: pl.DataFrame | None) -> pl.DataFrame:
    """(row_id, source, item): rows that an earlier run holds as they are; the first run that does."""
    if matches is None or "kind" not in matches.columns:
        return NONE.select("row_id", "source", "item")
    same = (pl.col("kind") == KIND) & (pl.col("part") == "both") & (pl.col("how") == "exact") & pl.col("same_context")
    return matches.filter(same).unique("row_id", keep="first", maintain_order=True).select("row_id", "source", "item")


def summarise(matches: pl.DataFrame, notes: dict[str, Any], rows: int, jaccard: float) -> dict[str, Any]:
    """Per earlier run, how many of the new rows it holds; every row counts in the first kind that applies."""
    near = pl.when(pl.col("similarity") >= jaccard).then(pl.lit("near"))
    exact = (
        pl.when(pl.col("part") == "both")
        .then(pl.when("same_context").then(pl.lit("copies")).otherwise(pl.lit("other_context")))
        .when("first_turn")
        .then(pl.lit("first_turns"))
        .when(pl.col("part") == "question")
        .then(pl.lit("prompts"))
        .otherwise(pl.lit("answers"))
    )
    mine = matches.filter(pl.col("kind") == KIND).with_columns(
        what=pl.when(pl.col("how") == "exact").then(exact).otherwise(near)
    )
    found: dict[str, Any] = {}
    kinds = ("copies", "other_context", "prompts", "near", "first_turns", "answers")
    for name, said in notes.items():
        here = mine.filter(pl.col("source") == name).drop_nulls("what")
        place = pl.col("what").replace_strict({k: i for i, k in enumerate(kinds)}, return_dtype=pl.Int8)
        first = here.with_columns(place.alias("place")).sort("row_id", "place").unique("row_id", keep="first")
        counted = dict(first["what"].value_counts().iter_rows())
        found[name] = {
            "rows": said["rows"],
            "matched": len(first),
            "share": len(first) / rows if rows else None,
            **{kind: int(counted.get(kind, 0)) for kind in kinds},
        }
    return found
