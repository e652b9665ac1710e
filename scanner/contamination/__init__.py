"""Segments x evaluation items -> matches: which rows hold an item's question, its answer, or both.

    items.build_index -> lexical.propose -> lexical.compare -> deciding.decide     words in common
    semantic.find                                                                  the same in other words

Questions and answers are looked for apart: a question alone may be common knowledge, question and answer together are
the item. Short answers ("B", "18") prove nothing by themselves and are looked for only where the question was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner.contamination import deciding, lexical
from scanner.contamination.deciding import SEMANTIC, SHORTEST_ANSWER, SHORTEST_EQUAL
from scanner.contamination.items import Items, build_index
from scanner.contamination.paraphrases import Alike
from scanner.decontaminating import HOWS, PARTS
from scanner.kernels import commonruns, ngrams
from scanner.objects import Bool, Float64, Int64, Rows
from scanner.storedtext import SegmentReader

MATCHES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "row_id": pl.Int64,
    "source": pl.String,  # the benchmark
    "item": pl.String,
    "part": pl.String,
    "how": pl.String,
    "similarity": pl.Float32,  # of the question, or of the answer where that alone was found
    "item_line": pl.Int64,
    "item_index": pl.Int64,  # the item's place among all items of the run
    "question_similarity": pl.Float32,  # NaN where the question was not found
    "answer_similarity": pl.Float32,  # NaN where the answer was not found
    "shared_ngrams": pl.Int64,  # the item's own 13-grams that stand in the row
    "confirmed_by": pl.String,  # the transformer whose cosine the similarity is (--confirm-with); null without
}


@dataclass(frozen=True)
class Pairs:
    """Rows and items that match by their words, in order of row and item; how is an index into HOWS."""

    row_id: Int64  # (p,)
    item: Int64  # (p,)
    how: Int64  # (p,)
    question: Float64  # (p,) similarity, NaN where not found
    answer: Float64  # (p,)
    grams: Int64  # (p,)
    confirmed: Bool  # (p,) by meaning, and read by the transformer that confirms


def find_words(
    reader: SegmentReader, rows: Rows, items: Items, threads: int, advance: Callable[[int], None] = lambda rows: None
) -> tuple[Pairs, dict[str, Any]]:
    """Every row that shares enough words with an item's question or answer, and notes."""
    index = build_index(items, SHORTEST_ANSWER)
    row_id, text = lexical.propose(reader, index, threads, advance)
    compared = lexical.compare(reader, items, row_id, text)
    verdicts = deciding.decide(compared, items, index, _content(rows, row_id))
    held = np.flatnonzero(verdicts.how >= 0)
    row_id, text, how = row_id[held], text[held], verdicts.how[held]
    frame = pl.DataFrame(
        {
            "row_id": row_id, "item": text >> 1, "side": text & 1, "how": how,
            "similarity": verdicts.similarity[held], "grams": verdicts.grams[held],
        }
    )  # fmt: skip
    sides = [frame.filter(pl.col("side") == side).drop("side") for side in (0, 1)]
    both = sides[0].join(sides[1], on=["row_id", "item"], how="full", coalesce=True, suffix="_answer")
    both = both.sort("row_id", "item").with_columns(
        how=pl.coalesce("how", "how_answer"),
        similarity=pl.col("similarity").fill_null(np.nan),
        similarity_answer=pl.col("similarity_answer").fill_null(np.nan),
        grams=pl.col("grams").fill_null(0) + pl.col("grams_answer").fill_null(0),
    )
    pairs = Pairs(*(both[name].to_numpy() for name in (
        "row_id", "item", "how", "similarity", "similarity_answer", "grams"
    )), confirmed=np.zeros(len(both), np.bool_))  # type: ignore[misc]  # fmt: skip
    notes = {
        "ngram_words": ngrams.GRAM, "index_bytes": index.bytes, "pairs_looked_at": len(compared),
        "phrases_left_out": int((index.proposing == 0).sum()), "common_ngrams_left_out": verdicts.common,
    }  # fmt: skip
    return pairs, notes


def find_answers(reader: SegmentReader, row_id: Int64, item: Int64, items: Items) -> Float64:
    """(p,) how much of each item's answer stands in a row that holds its question, NaN for nothing; rows ascending.

    Beside the question less is enough: a few of the answer's n-grams, or a short answer that opens or ends a turn.
    """
    compared = lexical.compare(reader, items, row_id, 2 * item + 1)
    lengths = items.lengths()[2 * item + 1]
    pair = np.repeat(np.arange(len(item)), np.diff(compared.marks_at))
    hits = np.bincount(pair, (compared.marks & commonruns.GRAM_FOUND) > 0, len(item))
    share = hits / np.maximum(lengths - ngrams.GRAM + 1, 1)
    found = (hits >= deciding.QUESTION_GRAMS) & (share >= deciding.QUESTION_COVERAGE)
    whole = ((compared.flags & commonruns.WITHIN) > 0) & (lengths >= ngrams.GRAM)
    whole |= (compared.flags & commonruns.AT_END) > 0
    return np.where(whole, 1.0, np.where(found, share, np.nan))


def table(pairs: Pairs, items: Items, transformer: str | None = None) -> pl.DataFrame:
    """matches.parquet; transformer: the one that confirmed some."""
    asked, said = ~np.isnan(pairs.question), ~np.isnan(pairs.answer)
    part = np.where(asked & said, 2, np.where(said, 1, 0))
    names = pl.Series(items.benchmarks, dtype=pl.String)
    return pl.DataFrame(
        {
            "row_id": pairs.row_id,
            "source": names.gather(items.benchmark[pairs.item]),
            "item": pl.Series(items.item, dtype=pl.String).gather(pairs.item),
            "part": pl.Series(PARTS).gather(part),
            "how": pl.Series(HOWS).gather(pairs.how),
            "similarity": np.where(asked, pairs.question, pairs.answer),
            "item_line": items.line[pairs.item],
            "item_index": pairs.item,
            "question_similarity": pairs.question,
            "answer_similarity": pairs.answer,
            "shared_ngrams": pairs.grams,
            "confirmed_by": pl.Series([None, transformer], dtype=pl.String).gather(pairs.confirmed.astype(np.uint32)),
        }
    ).cast(MATCHES_SCHEMA)  # type: ignore[arg-type]


def together(pairs: Pairs, alike: Alike) -> Pairs:
    """The matches by words and, for rows and items that have none, those by meaning."""
    known = pl.DataFrame({"row_id": pairs.row_id, "item": pairs.item})
    more = pl.DataFrame(
        {"row_id": alike.row_id, "item": alike.item, "cosine": alike.cosine, "confirmed": alike.confirmed}
    ).join(known, on=["row_id", "item"], how="anti")
    size = len(more)
    joined = [
        np.concatenate(parts)
        for parts in (
            (pairs.row_id, more["row_id"].to_numpy()),
            (pairs.item, more["item"].to_numpy()),
            (pairs.how, np.full(size, SEMANTIC, np.int64)),
            (pairs.question, more["cosine"].to_numpy()),
            (pairs.answer, np.full(size, np.nan)),
            (pairs.grams, np.zeros(size, np.int64)),
            (pairs.confirmed, more["confirmed"].to_numpy()),
        )
    ]
    order = np.lexsort((joined[1], joined[0]))
    return Pairs(*(values[order] for values in joined))


def not_searched(items: Items) -> Int64:
    """(b,) items per benchmark whose question is too short, or is missing, and whose answer is too."""
    lengths = items.lengths()
    short = (lengths[::2] < SHORTEST_EQUAL) & (lengths[1::2] < SHORTEST_ANSWER)
    return np.bincount(items.benchmark[short], minlength=len(items.benchmarks)).astype(np.int64)


def _content(rows: Rows, row_id: Int64) -> Int64:
    """Equal for rows of equal content."""
    digest: Int64 = rows.digest[np.searchsorted(rows.row_id, row_id), 0].view(np.int64)
    return digest
